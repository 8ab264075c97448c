package s3

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"sharefs/provider"
)

func TestRequestsGoThroughTheProxyOfTheURL(t *testing.T) {
	server := &asked{}
	var through atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host != "store.example:9000" {
			t.Errorf("the proxy was asked for %s", r.URL)
		}
		through.Add(1)
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	withoutAWS(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	p, err := Open(t.Context(), Config{Bucket: "bucket", Endpoint: "http://store.example:9000", PathStyle: true, Proxy: proxy.URL}, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.List(t.Context(), provider.ListOptions{}); err != nil || through.Load() != 1 {
		t.Errorf("%v, %d requests through the proxy", err, through.Load())
	}
}

func TestCertificatesAreTrustedAsToldAndNoOthers(t *testing.T) {
	srv := httptest.NewUnstartedServer(&asked{})
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // who does not trust it breaks off
	srv.StartTLS()
	t.Cleanup(srv.Close)
	other := filepath.Join(t.TempDir(), "other.pem")
	ours := certificateFile(t, srv)
	text, err := os.ReadFile(ours)
	if err != nil {
		t.Fatal(err)
	}
	noPEM := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(noPEM, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	block.Type = "OTHER"
	if err := os.WriteFile(other, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, bundle, file string
		says               string // empty: it works
	}{
		{"by the URL", "", ours, ""},
		{"by the SDK's chain", ours, "", ""},
		{"by nobody", "", "", "certificate"},
		{"a file that is not there", "", "/no/such/file", "ca_file: open /no/such/file"},
		{"a file of something else", "", noPEM, "holds no certificate"},
		{"a file of another block", "", other, "holds no certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			withoutAWS(t)
			t.Setenv("AWS_ACCESS_KEY_ID", "test")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
			if c.bundle != "" {
				t.Setenv("AWS_CA_BUNDLE", c.bundle)
			}
			p, err := Open(t.Context(), Config{Bucket: "bucket", Endpoint: srv.URL, PathStyle: true, CAFile: c.file}, Options{ReadOnly: true})
			if err == nil {
				defer p.Close()
				_, err = p.List(t.Context(), provider.ListOptions{})
			}
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

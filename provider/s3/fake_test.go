package s3

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"sharefs/provider"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake opens a driver on a server that answers as the test says, for what real servers do not do on demand.
func fake(t *testing.T, opts Options, answer http.HandlerFunc) provider.Provider {
	t.Helper()
	p, err := openFake(t, opts, answer)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func openFake(t *testing.T, opts Options, answer http.HandlerFunc) (provider.Provider, error) {
	t.Helper()
	return openFakeAs(t, Config{}, false, opts, answer)
}

// fakeAs opens a driver, without a probe, that is configured in its own way.
func fakeAs(t *testing.T, cfg Config, tls bool, answer http.Handler) provider.Provider {
	t.Helper()
	p, err := openFakeAs(t, cfg, tls, Options{ReadOnly: true}, answer)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func openFakeAs(t *testing.T, cfg Config, tls bool, opts Options, answer http.Handler) (provider.Provider, error) {
	t.Helper()
	srv := httptest.NewUnstartedServer(answer)
	if tls {
		srv.StartTLS()
		cfg.CAFile = certificateFile(t, srv)
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	cfg.Bucket, cfg.Endpoint, cfg.PathStyle, cfg.Region = "bucket", srv.URL, true, "us-east-1"
	p, err := Open(t.Context(), cfg, opts)
	if err == nil {
		t.Cleanup(func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return p, err
}

// certificateFile writes the server's certificate and returns the file's name.
func certificateFile(t *testing.T, srv *httptest.Server) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// refusal answers with a status, an S3 error document and headers.
func refusal(status int, code string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		if code != "" && r.Method != http.MethodHead {
			_, _ = w.Write([]byte(`<?xml version="1.0"?><Error><Code>` + code + `</Code><Message>as the test says</Message></Error>`))
		}
	}
}

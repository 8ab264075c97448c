package s3

import (
	"net/http"
	"net/http/httptest"
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
	srv := httptest.NewServer(answer)
	t.Cleanup(srv.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	p, err := Open(t.Context(), Config{Bucket: "bucket", Endpoint: srv.URL, PathStyle: true, Region: "us-east-1"}, opts)
	if err == nil {
		t.Cleanup(func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return p, err
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

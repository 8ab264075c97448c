package s3

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"sharefs/provider"
)

// TestAWriteThatMinIODeniesIsRepeated: it may have met the removal of a directory; other servers mean what they say.
func TestAWriteThatMinIODeniesIsRepeated(t *testing.T) {
	for _, c := range []struct {
		name, server string
		denials      int
		wantRequests int
		want         provider.Kind
	}{
		{"a race", "MinIO", 2, 3, 0},
		{"no right", "MinIO", 100, raceAttempts, provider.KindDenied},
		{"no right elsewhere", "AmazonS3", 100, 1, provider.KindDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			requests := 0
			p := fake(t, Options{ReadOnly: true}, func(w http.ResponseWriter, r *http.Request) {
				requests++
				if body, err := io.ReadAll(r.Body); string(body) != "content" {
					t.Errorf("request %d brings %q, %v", requests, body, err)
				}
				if requests <= c.denials {
					refusal(http.StatusForbidden, "AccessDenied", "Server", c.server)(w, r)
				}
			})
			_, err := p.Put(t.Context(), "k", strings.NewReader("content"), 7, provider.PutOptions{})
			if (err == nil) != (c.want == 0) || err != nil && provider.KindOf(err) != c.want {
				t.Error(err)
			}
			if requests != c.wantRequests {
				t.Errorf("%d requests, want %d", requests, c.wantRequests)
			}
		})
	}
}

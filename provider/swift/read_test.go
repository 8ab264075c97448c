package swift

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"sharefs/provider"
)

// TestAnObjectThatIsJustReplacedIsNotMissing reads from a cluster that says once that there is no object.
func TestAnObjectThatIsJustReplacedIsNotMissing(t *testing.T) {
	var missing atomic.Int64
	cluster := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/info" || r.Method == http.MethodGet && missing.Add(-1) >= 0 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, "new")
	}))
	defer cluster.Close()
	clearEnv(t)
	given := map[string]string{"OS_AUTH_TOKEN": "token", "OS_STORAGE_URL": cluster.URL + "/v1/AUTH_x"}
	p := open(t, configOf(t, "swift://c"), Options{ReadOnly: true, Secrets: func(name string) (string, bool) { v, ok := given[name]; return v, ok }})
	defer p.Close()
	missing.Store(1)
	body, _, err := p.Open(t.Context(), "k", provider.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if text, err := io.ReadAll(body); err != nil || string(text) != "new" {
		t.Errorf("%q, %v", text, err)
	}
	missing.Store(2)
	if _, _, err := p.Open(t.Context(), "k", provider.OpenOptions{}); !provider.Is(err, provider.KindNotFound) {
		t.Errorf("%v, want KindNotFound", err)
	}
}

package swift

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"sharefs/provider"
)

// fakeCluster opens a store on a cluster that answers so.
func fakeCluster(t *testing.T, answer http.HandlerFunc) provider.Provider {
	t.Helper()
	cluster := httptest.NewServer(answer)
	t.Cleanup(cluster.Close)
	clearEnv(t)
	given := map[string]string{"OS_AUTH_TOKEN": "token", "OS_STORAGE_URL": cluster.URL + "/v1/AUTH_x"}
	p := open(t, configOf(t, "swift://c"), Options{ReadOnly: true, Secrets: func(name string) (string, bool) { v, ok := given[name]; return v, ok }})
	t.Cleanup(func() { p.Close() })
	return p
}

// TestABulkDeleteWhoseAnswerBreaksOffMayGoOn: the cluster says 200 before it begins.
func TestABulkDeleteWhoseAnswerBreaksOffMayGoOn(t *testing.T) {
	p := fakeCluster(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/info":
			reply(w, http.StatusOK, map[string]any{"swift": map[string]any{}, "bulk_delete": map[string]any{"max_deletes_per_request": 10}})
		case r.Method == http.MethodPost:
			_, _ = io.WriteString(w, "   ")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	err := p.Delete(t.Context(), provider.DeleteOptions{}, "a", "b")
	if !provider.Is(err, provider.KindUnavailable) || !provider.Unanswered(err) || len(provider.Failed(err)) != 2 {
		t.Errorf("%v, want that both may yet be deleted", err)
	}
}

// TestAnObjectThatIsJustReplacedIsNotMissing reads from a cluster that says once that there is no object.
func TestAnObjectThatIsJustReplacedIsNotMissing(t *testing.T) {
	var missing atomic.Int64
	p := fakeCluster(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/info" || r.Method == http.MethodGet && missing.Add(-1) >= 0 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, "new")
	})
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

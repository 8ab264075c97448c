package swift

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"sharefs/provider"
)

// TestATokenThatWasGivenIsReplaced uses a token without anything to log in with, until the cluster refuses it and another one is
// given.
func TestATokenThatWasGivenIsReplaced(t *testing.T) {
	var good, given atomic.Value
	good.Store("one")
	given.Store("one")
	var refusals atomic.Int64
	cluster := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/info":
			w.WriteHeader(http.StatusNotFound)
		case r.Header.Get("X-Auth-Token") != good.Load():
			refusals.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.Header().Set("Content-Length", "3") // of the object
		}
	}))
	defer cluster.Close()
	clearEnv(t)
	p := open(t, configOf(t, "swift://c"), Options{ReadOnly: true, Secrets: func(name string) (string, bool) {
		switch name {
		case "OS_AUTH_TOKEN":
			return given.Load().(string), true
		case "OS_STORAGE_URL":
			return cluster.URL + "/v1/AUTH_x", true
		}
		return "", false
	}})
	defer p.Close()
	stat := func() error { _, err := p.Stat(t.Context(), "k"); return err }
	if err := stat(); err != nil {
		t.Fatal(err)
	}
	good.Store("another")
	err := stat()
	if !provider.Is(err, provider.KindAuth) || !strings.Contains(err.Error(), `stat "k"`) || !strings.Contains(err.Error(), "give a new OS_AUTH_TOKEN") {
		t.Errorf("%v, want what to do about it", err)
	}
	if n := refusals.Load(); n != 1 {
		t.Errorf("a token that was refused was sent %d times", n)
	}
	given.Store("another")
	if err := stat(); err != nil {
		t.Errorf("with another token: %v", err)
	}
}

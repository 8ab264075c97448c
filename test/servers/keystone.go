package servers

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// Keystone is what a client of OpenStack's identity service, version 3, needs of it: it gives out the tokens of a Swift for a
// password, and names the Swift in its catalog (https://docs.openstack.org/api-ref/identity/v3/, "Password authentication").
type Keystone struct {
	URL                                     string // as OS_AUTH_URL has it
	User, Password, Project, Domain, Region string

	swift *SwiftServer
}

// Keystone starts a Keystone before the Swift, which ends with the test.
func (s *SwiftServer) Keystone(tb testing.TB) *Keystone {
	tb.Helper()
	k := &Keystone{User: "user" + rand.Text()[:6], Password: rand.Text(), Project: "project" + rand.Text()[:6], Domain: "Default",
		Region: swiftRegion, swift: s}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/auth/tokens", k.issue)
	server := httptest.NewServer(mux)
	tb.Cleanup(server.Close)
	k.URL = server.URL + "/v3"
	return k
}

// keystoneNamed is something in a domain.
type keystoneNamed struct {
	Name   string `json:"name"`
	Domain struct {
		Name string `json:"name"`
		ID   string `json:"id"`
	} `json:"domain"`
	Password string `json:"password"` // of a user
}

// in reports whether it is what the name and the domain say; the id of the domain counts as its name.
func (n keystoneNamed) in(name, domain string) bool {
	return n.Name == name && (n.Domain.Name == domain || n.Domain.ID == domain)
}

// keystoneLogin is the body of a request for a token.
type keystoneLogin struct {
	Auth struct {
		Identity struct {
			Methods  []string `json:"methods"`
			Password struct {
				User keystoneNamed `json:"user"`
			} `json:"password"`
		} `json:"identity"`
		Scope struct {
			Project keystoneNamed `json:"project"`
		} `json:"scope"`
	} `json:"auth"`
}

// issue gives out a token.
func (k *Keystone) issue(w http.ResponseWriter, r *http.Request) {
	var login keystoneLogin
	if err := json.NewDecoder(r.Body).Decode(&login); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	user := login.Auth.Identity.Password.User
	if !user.in(k.User, k.Domain) || user.Password != k.Password || !login.Auth.Scope.Project.in(k.Project, k.Domain) {
		http.Error(w, `{"error": {"code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication."}}`, http.StatusUnauthorized)
		return
	}
	c := newSwiftClient(k.swift.Auth, k.swift.User, k.swift.Key)
	defer c.http.CloseIdleConnections()
	if err := c.login(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	type object = map[string]any
	now := time.Now().UTC()
	endpoint := object{"interface": "public", "region": k.Region, "region_id": k.Region, "url": c.storage}
	w.Header().Set("X-Subject-Token", c.token)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(object{"token": object{ // the client may have gone
		"methods": []string{"password"}, "issued_at": now.Format(time.RFC3339), "expires_at": now.Add(time.Hour).Format(time.RFC3339),
		"catalog": []object{{"type": "object-store", "name": "swift", "endpoints": []object{endpoint}}},
	}})
}

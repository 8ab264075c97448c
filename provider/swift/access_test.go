package swift

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sharefs/provider"
)

// keystone gives out tokens as Keystone and TempAuth do, to whom the test lets in, and remembers what it was asked.
type keystone struct {
	*httptest.Server
	asked []string // path and body, or user
	admit func(path, body string) bool
}

func newKeystone(t *testing.T, admit func(path, body string) bool) *keystone {
	k := &keystone{admit: admit}
	k.Server = httptest.NewServer(http.HandlerFunc(k.serve))
	t.Cleanup(k.Close)
	return k
}

func (k *keystone) serve(w http.ResponseWriter, r *http.Request) {
	text, _ := io.ReadAll(r.Body)
	body := string(text)
	if user := r.Header.Get("X-Auth-User"); user != "" {
		body = user + " " + r.Header.Get("X-Auth-Key")
	}
	k.asked = append(k.asked, r.URL.Path+" "+body)
	if !k.admit(r.URL.Path, body) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	storage := k.URL + "/v1/AUTH_x"
	switch r.URL.Path {
	case "/auth/v1.0":
		w.Header().Set("X-Storage-Url", storage)
		w.Header().Set("X-Auth-Token", "token 1")
	case "/v2.0/tokens":
		reply(w, http.StatusOK, map[string]any{"access": map[string]any{
			"token": map[string]any{"id": "token 2"},
			"serviceCatalog": []any{map[string]any{"type": "object-store", "endpoints": []any{
				map[string]any{"region": "one", "publicURL": storage + "1"}, map[string]any{"region": "two", "publicURL": storage + "2", "internalURL": storage + "2i"},
			}}},
		}})
	case "/v3/auth/tokens":
		w.Header().Set("X-Subject-Token", "token 3")
		reply(w, http.StatusCreated, map[string]any{"token": map[string]any{
			"expires_at": "2000-01-01T00:00:00Z", // by a clock that is not this one
			"catalog": []any{map[string]any{"type": "object-store", "endpoints": []any{
				map[string]any{"region": "one", "interface": "public", "url": storage + "1"},
				map[string]any{"region": "two", "interface": "public", "url": storage + "2"},
				map[string]any{"region": "two", "interface": "internal", "url": storage + "2i"},
			}}},
		}})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// clearEnv takes away what would be found of the machine.
func clearEnv(t *testing.T) {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "OS_") || strings.HasPrefix(name, "ST_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
}

func everybody(string, string) bool { return true }

// login logs in as the URL and the environment say.
func login(t *testing.T, rawURL string) (grant, error) {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := ParseURL(u)
	if err != nil {
		return grant{}, err
	}
	where, err := cfg.find(lookupOf(nil))
	if err != nil {
		return grant{}, err
	}
	way, err := where.way(0)
	if err != nil {
		return grant{}, err
	}
	clients := newClients(t, way)
	return newSession(clients, func() (access, error) { return where, nil }).token(t.Context(), "")
}

func TestEveryWayToLogIn(t *testing.T) {
	k := newKeystone(t, everybody)
	for _, c := range []struct {
		name, query string
		env         map[string]string
		token, asks string // asks: what the request held
		storage     string // its end
	}{
		{name: "v1", env: map[string]string{"ST_AUTH": k.URL + "/auth/v1.0", "ST_USER": "a:u", "ST_KEY": "k"},
			token: "token 1", asks: "/auth/v1.0 a:u k", storage: "AUTH_x"},
		{name: "v1, address in the URL", query: "auth_version=1&auth=" + k.URL + "/auth/v1.0", env: map[string]string{"ST_USER": "a:u", "ST_KEY": "k", "OS_AUTH_URL": "http://elsewhere/v3"},
			token: "token 1", asks: "a:u k", storage: "AUTH_x"},
		{name: "v2", env: map[string]string{"OS_AUTH_URL": k.URL + "/v2.0", "OS_USERNAME": "u", "OS_PASSWORD": "p", "OS_TENANT_NAME": "tenant", "OS_REGION_NAME": "two"},
			token: "token 2", asks: `"passwordCredentials":{"username":"u","password":"p"},"tenantName":"tenant"`, storage: "AUTH_x2"},
		{name: "v3 password", query: "region=one", env: map[string]string{"OS_AUTH_URL": k.URL, "OS_USERNAME": "u", "OS_PASSWORD": "p",
			"OS_PROJECT_NAME": "proj", "OS_USER_DOMAIN_NAME": "dom", "OS_PROJECT_DOMAIN_NAME": "pdom"},
			token: "token 3", asks: `"user":{"domain":{"name":"dom"},"name":"u","password":"p"}`, storage: "AUTH_x1"},
		{name: "v3 application credential", query: "region=two&endpoint_type=internal", env: map[string]string{"OS_AUTH_URL": k.URL + "/v3",
			"OS_APPLICATION_CREDENTIAL_ID": "id", "OS_APPLICATION_CREDENTIAL_SECRET": "s"},
			token: "token 3", asks: `"application_credential":{"id":"id","secret":"s"`, storage: "AUTH_x2i"},
		{name: "v3 token", env: map[string]string{"OS_AUTH_URL": k.URL + "/v3", "OS_AUTH_TOKEN": "tok", "OS_PROJECT_ID": "pid"},
			token: "token 3", asks: `"token":{"id":"tok"}`, storage: "AUTH_x1"},
		{name: "a token and a storage URL", env: map[string]string{"OS_STORAGE_URL": "http://store/v1/a", "OS_AUTH_TOKEN": "tok"},
			token: "tok", storage: "http://store/v1/a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			clearEnv(t)
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			k.asked = nil
			got, err := login(t, "swift://container?"+c.query)
			if err != nil {
				t.Fatal(err)
			}
			if got.token != c.token || !strings.HasSuffix(got.storage, c.storage) {
				t.Errorf("%+v, want %q at %s", got, c.token, c.storage)
			}
			if asked := strings.Join(k.asked, "\n"); !strings.Contains(asked, c.asks) {
				t.Errorf("asked with %s, want %s", asked, c.asks)
			}
		})
	}
}

func TestClouds(t *testing.T) {
	k := newKeystone(t, everybody)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "URL", k.URL)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("clouds.yaml", `
clouds:
  good:
    auth: {auth_url: URL/v3, username: u, project_name: p, user_domain_name: d}
    region_name: two
    identity_api_version: 3
  app:
    auth_type: v3applicationcredential
    auth: {auth_url: URL, application_credential_id: id, application_credential_secret: s}
    interface: internal
    region_name: two
  vendor: {profile: rackspace, auth: {username: u, password: hunter2}}
  careless: {verify: false, auth: {auth_url: URL/v3, username: u, password: hunter2}}
  exotic: {auth_type: v3oidcpassword, auth: {auth_url: URL/v3}}
  wrong: {auth: {auth_url: [hunter2]}}
`)
	secure := write("secure.yaml", "clouds: {good: {auth: {password: topsecret}}}\n")
	for _, c := range []struct{ name, cloud, file, want, not string }{
		{"with a secure.yaml", "good", file, "", ""},
		{"with an application credential", "app", file, "", ""},
		{"missing", "none", file, "has no cloud none", ""},
		{"of a vendor", "vendor", file, "vendor profile rackspace", "hunter2"},
		{"without verification", "careless", file, "cacert", "hunter2"},
		{"of an unknown type", "exotic", file, "v3oidcpassword", ""},
		{"that is wrong", "wrong", file, "line 15", "hunter2"},
		{"of a file that is missing", "good", file + "-missing", "no such file", ""},
		{"of no file", "good", "", "there is no clouds.yaml", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			clearEnv(t)
			t.Chdir(t.TempDir())
			t.Setenv("OS_CLIENT_CONFIG_FILE", c.file)
			t.Setenv("OS_CLIENT_SECURE_FILE", secure)
			t.Setenv("OS_CLOUD", c.cloud)
			k.asked = nil
			got, err := login(t, "swift://container")
			if c.want == "" {
				if err != nil || got.token != "token 3" || !strings.Contains(got.storage, "AUTH_x2") {
					t.Errorf("%+v, %v", got, err)
				}
				if c.cloud == "good" && !strings.Contains(strings.Join(k.asked, ""), "topsecret") {
					t.Errorf("asked with %q", k.asked)
				}
				return
			}
			if !provider.Is(err, provider.KindInvalid) || !strings.Contains(err.Error(), c.want) || c.not != "" && strings.Contains(err.Error(), c.not) {
				t.Errorf("%v, want it to say %q", err, c.want)
			}
		})
	}
}

func TestWhatALoginLacks(t *testing.T) {
	k := newKeystone(t, func(_, body string) bool { return !strings.Contains(body, "wrong") })
	base := map[string]string{"OS_AUTH_URL": k.URL + "/v3", "OS_USERNAME": "u", "OS_PASSWORD": "p", "OS_PROJECT_NAME": "p"}
	for _, c := range []struct {
		name, query string
		env         map[string]string
		kind        provider.Kind
		want        string
	}{
		{"nothing at all", "", map[string]string{"OS_AUTH_URL": "", "OS_USERNAME": "", "OS_PASSWORD": ""}, provider.KindInvalid, "OS_AUTH_URL"},
		{"no password", "", map[string]string{"OS_PASSWORD": ""}, provider.KindAuth, "password"},
		{"no user", "", map[string]string{"OS_USERNAME": ""}, provider.KindAuth, "user"},
		{"a wrong password", "", map[string]string{"OS_PASSWORD": "wrong"}, provider.KindAuth, "logging in"},
		{"a region without object store", "region=three", nil, provider.KindInvalid, "region three"},
		{"a wrong address", "", map[string]string{"OS_AUTH_URL": k.URL + "/none/v3"}, provider.KindInvalid, "nothing gives out tokens"},
		{"nobody there", "", map[string]string{"OS_AUTH_URL": "http://127.0.0.1:1/v3"}, provider.KindUnavailable, "127.0.0.1:1"},
		{"an address that is none", "", map[string]string{"OS_AUTH_URL": "keystone"}, provider.KindInvalid, "http://host:port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			clearEnv(t)
			for _, env := range []map[string]string{base, c.env} {
				for name, value := range env {
					t.Setenv(name, value)
				}
			}
			_, err := login(t, "swift://container?"+c.query)
			err = loginFailed(t.Context(), "open", err)
			if !provider.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q of kind %q", err, c.want, c.kind)
			}
		})
	}
}

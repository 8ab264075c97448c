package swift

import (
	"net/url"
	"strings"
	"testing"

	"sharefs/provider"
	"sharefs/provider/overhttp"
)

func newClients(t *testing.T, opts overhttp.Options) *overhttp.Clients {
	clients := overhttp.NewClients(opts)
	t.Cleanup(clients.Close)
	return clients
}

func TestParseURL(t *testing.T) {
	for text, want := range map[string]string{ // want: String's text, or ! and a part of the error
		"swift://c":           "swift://c",
		"swift://My_c.1/a/b/": "swift://My_c.1/a/b",
		"swift://c/p?region=R&auth=https%3A%2F%2Fk%2Fv3":       "swift://c/p?auth=https%3A%2F%2Fk%2Fv3&region=R",
		"swift://c?cloud=x&auth_version=3&endpoint_type=admin": "swift://c?auth_version=3&cloud=x&endpoint_type=admin",
		"s3://c":                              "!scheme",
		"swift://":                            "!no container",
		"swift://c:80/p":                      "!port",
		"swift://u:hunter2@c":                 "!OS_PASSWORD",
		"swift://c?password=hunter2":          "!do not belong in a URL",
		"swift://c?auth_version=4":            "!want 1, 2 or 3",
		"swift://c?endpoint_type=secret":      "!public, internal or admin",
		"swift://c?auth=keystone":             "!http://host:port",
		"swift://c?auth=http://u:hunter2@k":   "!credentials",
		"swift://c/a//b":                      "!empty component",
		"swift://" + strings.Repeat("c", 250): "!at most 247 bytes",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := ParseURL(u)
		if part, bad := strings.CutPrefix(want, "!"); bad {
			if !provider.Is(err, provider.KindInvalid) || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v, want an error with %q", text, err, part)
			}
			continue
		}
		if err != nil || cfg.String() != want {
			t.Errorf("%s: %s, %v; want %s", text, cfg, err, want)
		}
	}
}

func TestIDIsThatOfTheStore(t *testing.T) {
	clearEnv(t)
	t.Setenv("OS_AUTH_URL", "https://k/v3")
	t.Setenv("OS_USERNAME", "u")
	t.Setenv("OS_PASSWORD", "hunter2")
	t.Setenv("OS_PROJECT_NAME", "p")
	id := func(text string) string {
		id, err := configOf(t, text).ID(nil)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	here := id("swift://c/p")
	for text, same := range map[string]bool{
		"swift://c/p?auth=https%3A%2F%2Fk%2Fv3&endpoint_type=internal": true, "swift://c/p?project=p": true,
		"swift://c/q": false, "swift://d/p": false, "swift://c/p?project=other": false, "swift://c/p?region=R": false,
	} {
		if got := id(text); (got == here) != same || strings.Contains(got, "hunter2") {
			t.Errorf("%s: %s; that of the first is %s", text, got, here)
		}
	}
}

func TestTheIDTellsWhoseContainerItIsBySecrets(t *testing.T) {
	cfg := configOf(t, "swift://container?auth=http://swift:8080/auth/v1.0&auth_version=1")
	of := func(user string) string {
		t.Helper()
		secrets := map[string]string{"ST_USER": user, "ST_KEY": "HUSH"}
		id, err := cfg.ID(func(name string) (string, bool) { v, ok := secrets[name]; return v, ok })
		if err != nil || strings.Contains(id, "HUSH") {
			t.Fatal(id, err)
		}
		return id
	}
	if of("one:me") == of("two:me") {
		t.Errorf("the containers of two accounts are both %s", of("one:me"))
	}
}

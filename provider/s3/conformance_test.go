package s3

import (
	"net/url"
	"testing"

	"sharefs/provider"
	"sharefs/provider/providertest"
	"sharefs/test/servers"
)

// configOf returns how the driver reaches a bucket of the server.
func configOf(t testing.TB, rawURL string) Config {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := ParseURL(u)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func open(t testing.TB, cfg Config, opts Options) provider.Provider {
	t.Helper()
	p, err := Open(t.Context(), cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestConformanceMinIO(t *testing.T) {
	conform(t, servers.MinIO(t), providertest.Config{
		Refused: map[string]string{`..\up`: "a backslash counts as a slash in the check for .. components"},
	})
}

func TestConformanceVersityGW(t *testing.T) {
	conform(t, servers.VersityGW(t), providertest.Config{
		Refused: map[string]string{
			"control\x01":    "it is not percent-encoded in listings",
			"escape\x1b[31m": "it is not percent-encoded in listings",
		},
		SelfCopyKeepsRevision: true,
	})
}

func conform(t *testing.T, srv *servers.Server, suite providertest.Config) {
	srv.SetEnv(t)
	cfg := configOf(t, srv.URL(srv.Bucket(t), ""))
	suite.New = func(t *testing.T) provider.Provider {
		return open(t, cfg, Options{})
	}
	suite.Reopen = suite.New
	suite.Missing = func(t *testing.T) provider.Provider {
		missing := cfg
		missing.Bucket += "-missing"
		return open(t, missing, Options{ReadOnly: true})
	}
	providertest.Run(t, suite)
}

package s3

import (
	"net/url"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/provider/providertest"
	"sharefs/test/servers"
	"sharefs/test/soak"
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

// The servers run side by side: what takes long is to wait until their clocks go on.

func TestConformanceMinIO(t *testing.T) {
	t.Parallel()
	conform(t, servers.MinIO(t), providertest.Config{Refused: minioRefuses()})
}

func TestConformanceCustomerKeys(t *testing.T) {
	t.Parallel()
	// Every combination is tried without keys.
	conform(t, servers.MinIOTLS(t), providertest.Config{Refused: minioRefuses(), Slow: !soak.Long()},
		func(cfg *Config) { cfg.CustomerKeyFile = customerKeyFile(t) })
}

func minioRefuses() map[string]string {
	return map[string]string{`..\up`: "a backslash counts as a slash in the check for .. components"}
}

func TestConformanceVersityGW(t *testing.T) {
	t.Parallel()
	conform(t, servers.VersityGW(t), providertest.Config{
		Refused: map[string]string{
			"control\x01":    "it is not percent-encoded in listings",
			"escape\x1b[31m": "it is not percent-encoded in listings",
		},
		SelfCopyKeepsRevision: true,
	})
}

func TestConformanceSwift(t *testing.T) {
	t.Parallel()
	// It takes 50 requests a second.
	conform(t, servers.Swift(t, servers.SwiftOptions{}).S3(), providertest.Config{Slow: !soak.Long(), Timeout: 5 * time.Minute})
}

// conform runs the suite on a bucket of the server, configured as the changes say.
func conform(t *testing.T, srv *servers.Server, suite providertest.Config, changes ...func(*Config)) {
	cfg := configOf(t, srv.URL(srv.Bucket(t), ""))
	for _, change := range changes {
		change(&cfg)
	}
	opts := Options{Secrets: secretsOf(srv)}
	suite.New = func(t *testing.T) provider.Provider {
		return open(t, cfg, opts)
	}
	suite.Reopen = suite.New
	suite.Missing = func(t *testing.T) provider.Provider {
		missing := cfg
		missing.Bucket += "-missing"
		return open(t, missing, Options{ReadOnly: true, Secrets: opts.Secrets})
	}
	providertest.Run(t, suite)
}

// secretsOf gives the server's credentials without the environment, which all tests share.
func secretsOf(srv *servers.Server) func(name string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := map[string]string{"AWS_ACCESS_KEY_ID": srv.AccessKey, "AWS_SECRET_ACCESS_KEY": srv.SecretKey}[name]
		return value, ok
	}
}

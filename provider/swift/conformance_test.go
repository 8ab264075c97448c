package swift

import (
	"net/url"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/provider/providertest"
	"sharefs/test/servers"
	"sharefs/test/soak"
)

// smallLimit is the largest object of the cluster on which large ones are tested.
const smallLimit = 4 << 20

// configOf returns how the driver reaches a container of the server.
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

// TestConformance runs on a cluster whose objects are small, so that what is beyond the limit is tried.
func TestConformance(t *testing.T) {
	conform(t, cluster(t))
}

// TestSoakConformanceWithSwiftsOwnLimits differs from it in little else than what cannot be tried.
func TestSoakConformanceWithSwiftsOwnLimits(t *testing.T) {
	if !soak.Long() {
		t.Skip("this is one of the long tests, which make soak runs: TestConformance runs the suite at a small limit")
	}
	conform(t, servers.Swift(t, servers.SwiftOptions{}))
}

func conform(t *testing.T, srv *servers.SwiftServer) {
	srv.SetEnv(t)
	providertest.Run(t, suiteOn(configOf(t, srv.URL(srv.Container(t), ""))))
}

// suiteOn returns the suite for an empty container.
func suiteOn(cfg Config) providertest.Config {
	// A request takes 15 ms of a processor.
	suite := providertest.Config{Slow: !soak.Long(), Timeout: 10 * time.Minute, Settle: time.Minute,
		New: func(t *testing.T) provider.Provider { return open(t, cfg, Options{}) }}
	suite.Reopen = suite.New
	suite.Missing = func(t *testing.T) provider.Provider {
		missing := cfg
		missing.Container += "-missing"
		return open(t, missing, Options{ReadOnly: true})
	}
	return suite
}

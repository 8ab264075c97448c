package harness

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"sharefs/test/servers"
)

// Kind is a kind of store.
type Kind string

// The kinds of stores.
const (
	File      Kind = "file"
	MinIO     Kind = "minio"
	VersityGW Kind = "versitygw"
)

// Kinds are all kinds.
func Kinds() []Kind { return []Kind{File, MinIO, VersityGW} }

// Store is an empty store of a test's own: a directory, or a bucket on a server.
type Store struct {
	Kind Kind
	URL  string // as sharefs takes it
	Dir  string // of the kind File: where the files are

	// Of the other kinds:
	Server *servers.Server
	Bucket string

	tb testing.TB
}

// NewStore makes a store.
func NewStore(tb testing.TB, kind Kind) *Store {
	tb.Helper()
	s := &Store{Kind: kind, tb: tb}
	if kind == File {
		s.Dir = filepath.Join(scratch(tb), "store")
		if err := os.Mkdir(s.Dir, 0o755); err != nil {
			tb.Fatal(err)
		}
		s.URL = (&url.URL{Scheme: "file", Path: s.Dir}).String()
		return s
	}
	s.Server = shared.server(tb, kind)
	s.Bucket = s.Server.Bucket(tb)
	s.URL = s.Server.URL(s.Bucket, "")
	return s
}

// Behind returns the same store, reached through a proxy that ends with the test.
func (s *Store) Behind(tb testing.TB) (*Store, *servers.ReverseProxy) {
	tb.Helper()
	if s.Server == nil {
		tb.Fatalf("a store of the kind %s has no server", s.Kind)
	}
	proxy := servers.Proxy(tb, s.Server.Endpoint)
	behind := *s
	behind.URL = s.Server.URLAt(proxy.Endpoint, s.Bucket, "")
	return &behind, proxy
}

// env is what sharefs must find in its environment to use the store.
func (s *Store) env() []string {
	if s.Server == nil {
		return nil
	}
	return s.Server.Env()
}

// OnEach runs a test on a store of each kind. The kinds run at the same time.
func OnEach(t *testing.T, test func(t *testing.T, s *Store)) {
	for _, kind := range Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(t, NewStore(t, kind))
		})
	}
}

// scratch makes a directory with a short name, which is removed with the test unless something is mounted below.
func scratch(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "t-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if left := mountsBelow(dir); len(left) > 0 {
			tb.Errorf("left mounted: %q", left)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

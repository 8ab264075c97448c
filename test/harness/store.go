package harness

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sharefs/test/servers"
	"sharefs/test/soak"
)

// Kind is a kind of store.
type Kind string

// The kinds of stores.
const (
	File      Kind = "file"
	MinIO     Kind = "minio"
	VersityGW Kind = "versitygw"
	Swift     Kind = "swift"
	// SwiftSmall is a Swift whose objects have at most SmallObject bytes.
	SwiftSmall Kind = "swift-small"
	// SwiftS3 is a Swift by its S3 layer, which checks no conditions.
	SwiftS3 Kind = "swift-s3api"
)

// SmallObject is the largest object of SwiftSmall, in bytes.
const SmallObject = 4 << 20

// Count is soak.Count, with a tenth of the long count on a Swift: in one process, it is that much slower.
func (k Kind) Count(short, long int) int {
	if k == Swift || k == SwiftSmall || k == SwiftS3 {
		long = max(short, long/10)
	}
	return soak.Count(short, long)
}

// Kinds are all kinds, but for those of Swift where the short counts are wanted: it is so slow that a few tests must do there.
func Kinds() []Kind { return KindsOr(File, MinIO, VersityGW) }

// KindsOr are the kinds for a test whose short count has those that it names: else all, or those that the environment asks for.
func KindsOr(short ...Kind) []Kind {
	if wanted := os.Getenv(kindsEnv); wanted != "" {
		var kinds []Kind
		for name := range strings.SplitSeq(wanted, ",") {
			kinds = append(kinds, Kind(name))
		}
		return kinds
	}
	if soak.Long() {
		return []Kind{File, MinIO, VersityGW, Swift, SwiftSmall, SwiftS3}
	}
	return short
}

// Served are those of the kinds that have a server.
func Served() []Kind {
	return slices.DeleteFunc(Kinds(), func(k Kind) bool { return k == File })
}

// InsteadOf is the kind on which a test runs that does with one server: this one, or the first that the environment asks for.
func InsteadOf(kind Kind) Kind {
	if served := Served(); os.Getenv(kindsEnv) != "" && len(served) > 0 {
		return served[0]
	}
	return kind
}

// Store is an empty store of a test's own: a directory, a bucket on a server, or a container.
type Store struct {
	Kind Kind
	URL  string // as sharefs takes it
	Dir  string // of the kind File: where the files are

	// Of the other kinds. A Swift is looked at by S3's protocol, which is not that of the mount.
	Server *servers.Server
	Bucket string

	Swift *servers.SwiftServer // of the kinds of Swift

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
	if kind == Swift || kind == SwiftSmall {
		s = NewSwift(tb, shared.swift(tb, kind))
		s.Kind = kind
		return s
	}
	if kind == SwiftS3 {
		return s.on(shared.swift(tb, Swift).S3())
	}
	return s.on(shared.server(tb, kind))
}

// NewStoreOn makes a store on a server that is the test's own, such as the S3 side of a Swift.
func NewStoreOn(tb testing.TB, server *servers.Server) *Store {
	tb.Helper()
	return (&Store{Kind: Kind(server.Name), tb: tb}).on(server)
}

func (s *Store) on(server *servers.Server) *Store {
	s.tb.Helper()
	s.Server, s.Bucket = server, server.Bucket(s.tb)
	s.URL = server.URL(s.Bucket, "")
	return s
}

// NewSwift makes a store on a Swift of the test's own.
func NewSwift(tb testing.TB, swift *servers.SwiftServer) *Store {
	tb.Helper()
	s := &Store{Kind: Swift, tb: tb, Swift: swift, Server: swift.S3(), Bucket: swift.Container(tb)}
	s.URL = swift.URL(s.Bucket, "")
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
	if s.Swift != nil {
		behind.URL = s.Swift.URLAt(proxy.Endpoint, s.Bucket, "")
	} else {
		behind.URL = s.Server.URLAt(proxy.Endpoint, s.Bucket, "")
	}
	return &behind, proxy
}

// env is what sharefs must find in its environment to use the store.
func (s *Store) env() []string {
	switch {
	case s.Server == nil:
		return nil
	case s.Swift != nil:
		return s.Swift.Env()
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

package harness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sharefs/test/servers"
)

// binaryName is the program in the directory of the suite.
const binaryName = "sharefs"

// suiteFile reports whether an entry of the directory of the suite belongs there.
func suiteFile(name string) bool { return name == binaryName }

// shared is what the tests of a program use together: the built binary and the servers, made at first use.
var shared suite

type suite struct {
	build func() (string, error)
	once  sync.Once

	mu      sync.Mutex
	servers map[Kind]*servers.Server
	swifts  map[Kind]*servers.SwiftServer
}

// Binary returns the path of the sharefs program, built once from this checkout: with the race detector if
// SHAREFS_RACE is set.
func Binary(tb testing.TB) string {
	tb.Helper()
	shared.once.Do(func() { shared.build = sync.OnceValues(buildBinary) })
	path, err := shared.build()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// Race reports whether the program is built with the race detector.
func Race() bool { return os.Getenv(raceEnv) != "" }

func buildBinary() (string, error) {
	if path := os.Getenv(binaryEnv); path != "" {
		return path, nil
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	if err := NoteSources(root); err != nil {
		return "", err
	}
	path := filepath.Join(os.Getenv(suiteEnv), binaryName)
	args := []string{"build", "-o", path}
	if Race() {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/sharefs")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building sharefs: %w\n%s", err, out)
	}
	return path, nil
}

// Root returns the top of the checkout.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = parent
	}
}

// NoteSources looks at every source file of the program. The go command sees that, and does not take the result of an
// earlier run for good when one of them has changed: it does not know that the test depends on them.
func NoteSources(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case strings.HasSuffix(path, ".go"):
			if _, err := os.Stat(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

// server returns the one server of its kind, started at first use.
func (s *suite) server(tb testing.TB, kind Kind) *servers.Server {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if running := s.servers[kind]; running != nil {
		return running
	}
	start := map[Kind]func(context.Context) (*servers.Server, error){
		MinIO: servers.StartMinIO, VersityGW: servers.StartVersityGW,
	}[kind]
	running, err := start(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	if s.servers == nil {
		s.servers = map[Kind]*servers.Server{}
	}
	s.servers[kind] = running
	return running
}

// swift is the same for the kinds of Swift.
func (s *suite) swift(tb testing.TB, kind Kind) *servers.SwiftServer {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if running := s.swifts[kind]; running != nil {
		return running
	}
	running, err := servers.StartSwift(context.Background(),
		map[Kind]servers.SwiftOptions{Swift: {}, SwiftSmall: {MaxFileSize: SmallObject}}[kind])
	if err != nil {
		tb.Fatal(err)
	}
	if s.swifts == nil {
		s.swifts = map[Kind]*servers.SwiftServer{}
	}
	s.swifts[kind] = running
	return running
}

func (s *suite) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, running := range s.swifts {
		if err := running.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "harness:", err)
		}
	}
	for _, running := range s.servers {
		if err := running.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "harness:", err)
		}
	}
}

package servers

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small is a program that builds in a second.
func small() software {
	return software{name: "txtar-c", pkg: "github.com/rogpeppe/go-internal/cmd/txtar-c", version: "v1.16.0"}
}

// emptyCache makes the programs' cache an empty directory. Go's own cache stays, or every build would begin with the
// standard library.
func emptyCache(t *testing.T) string {
	t.Helper()
	gocache, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Setenv("GOCACHE", strings.TrimSpace(string(gocache)))
	t.Setenv("XDG_CACHE_HOME", dir)
	return dir
}

func TestProgramIsBuiltOnceForAll(t *testing.T) {
	cache := emptyCache(t)
	const callers = 4
	var built [callers]os.FileInfo
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			path, err := small().binary(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if built[i], err = os.Stat(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, fi := range built {
		if !os.SameFile(fi, built[0]) {
			t.Error("callers that came at the same time got different builds")
		}
	}
	left, err := filepath.Glob(filepath.Join(cache, "sharefs-test", "servers", "*.half"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestBuildThatFailsLeavesNoProgram(t *testing.T) {
	cache := emptyCache(t)
	broken := small()
	broken.pkg += "-that-is-not-there"
	if path, err := broken.binary(t.Context()); err == nil {
		t.Errorf("built %s", path)
	}
	entries, err := os.ReadDir(filepath.Join(cache, "sharefs-test", "servers"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

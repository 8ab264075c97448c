package fusefs

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

// leftOut are tests of what a mount does not do by design, one that fails on every filesystem, and one that is long under the
// race detector and runs below test/.
var leftOut = map[string]bool{
	"Link":                true, // EPERM: an object has one name
	"LinkUnlinkRename":    true,
	"OpenSymlinkRace":     true,
	"FcntlFlockLocksFile": true, // expects locks of one process to exclude each other, which POSIX says they do not
}

// namespaces are what the tests of POSIX run on: the model shows what the kernel side alone does.
var namespaces = []struct {
	name  string
	mount func(*testing.T) *mounted
}{
	{"model", func(t *testing.T) *mounted { return mountModel(t, serveSpec{}) }},
	{"tree", mountStore},
}

func TestPosixSetPasses(t *testing.T) {
	for _, ns := range namespaces {
		t.Run(ns.name, func(t *testing.T) {
			dir := ns.mount(t).dir
			for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
				if leftOut[name] {
					continue
				}
				t.Run(name, func(t *testing.T) {
					sub := filepath.Join(dir, name)
					if err := os.Mkdir(sub, 0o755); err != nil {
						t.Fatal(err)
					}
					posixtest.All[name](t, sub)
					if err := os.RemoveAll(sub); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

func TestHardLinksAreRefused(t *testing.T) {
	for _, ns := range namespaces {
		t.Run(ns.name, func(t *testing.T) {
			file := filepath.Join(ns.mount(t).dir, "file")
			write(t, file, "")
			if err := os.Link(file, file+"2"); !errors.Is(err, syscall.EPERM) {
				t.Errorf("link: got %v, want EPERM", err)
			}
		})
	}
}

func TestWhatWasWrittenIsStoredInTheEnd(t *testing.T) {
	m := mountStore(t)
	if err := os.MkdirAll(filepath.Join(m.dir, "dir/sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(m.dir, "dir/file"), "content")
	write(t, filepath.Join(m.dir, "name"), "another")
	if err := os.Rename(filepath.Join(m.dir, "name"), filepath.Join(m.dir, "dir/sub/renamed")); err != nil {
		t.Fatal(err)
	}
	m.stdin.Close()
	if got, want := m.line(t), "stored dir/file:7 dir/sub/renamed:7"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

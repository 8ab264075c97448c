package test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"

	"sharefs/test/harness"
)

// leftOut are the tests of hard links, which are refused (see tools), and one that no filesystem passes: it expects locks
// of one process to exclude each other.
var leftOut = []string{"Link", "LinkUnlinkRename", "FcntlFlockLocksFile"}

func TestThePosixSetPassesOnTheMount(t *testing.T) {
	t.Parallel()
	harness.OnEach(t, func(t *testing.T, s *harness.Store) {
		m := harness.NewMount(t, s)
		for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
			if slices.Contains(leftOut, name) {
				continue
			}
			t.Run(name, func(t *testing.T) {
				dir := m.Path(name)
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				posixtest.All[name](t, dir)
			})
		}
		names, err := filepath.Glob(m.Path("*/*"))
		if err != nil || len(names) == 0 {
			t.Errorf("the set has left %d files, error %v: did it run?", len(names), err)
		}
	})
}

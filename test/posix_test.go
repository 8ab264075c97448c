package test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"

	"sharefs/test/harness"
)

// leftOut are the tests of hard links, which are refused (see tools), and one that no filesystem passes: it expects locks
// of one process to exclude each other.
var leftOut = []string{"Link", "LinkUnlinkRename", "FcntlFlockLocksFile"}

// posixDir is the environment variable that tells a child process where to run the set.
const posixDir = "SHAREFS_TEST_POSIX_DIR"

// TestThePosixSetPassesOnTheMount runs the set in a child process: it opens files without O_CLOEXEC, which programs that
// other tests start meanwhile would inherit, and so keep the mount in use.
func TestThePosixSetPassesOnTheMount(t *testing.T) {
	if dir := os.Getenv(posixDir); dir != "" {
		runPosixSet(t, dir)
		return
	}
	t.Parallel()
	harness.OnEach(t, func(t *testing.T, s *harness.Store) {
		m := harness.NewMount(t, s)
		cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run=^TestThePosixSetPassesOnTheMount$")
		cmd.Env = append(os.Environ(), posixDir+"="+m.Dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		names, err := filepath.Glob(m.Path("*/*"))
		if err != nil || len(names) == 0 {
			t.Errorf("the set has left %d files, error %v: did it run?\n%s", len(names), err, out)
		}
	})
}

func runPosixSet(t *testing.T, root string) {
	for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
		if slices.Contains(leftOut, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(root, name)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			posixtest.All[name](t, dir)
		})
	}
}

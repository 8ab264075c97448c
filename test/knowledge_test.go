package test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"sharefs/test/harness"
	"sharefs/test/servers"
	"sharefs/test/soak"
)

// attributes prints everything that a stat tells, but for access times and directories' sizes.
const attributes = `find . -mindepth 1 -printf '%p %y %m %U %G %s %T@ %l\n' | LC_ALL=C sort`

// TestSoakWhatIsKnownOfAStoreSurvivesARemount: a mount of an unchanged store asks for nothing, and a new machine with an empty
// disk has the attributes of all files from the checkpoint.
func TestSoakWhatIsKnownOfAStoreSurvivesARemount(t *testing.T) {
	t.Parallel()
	for _, kind := range harness.Served() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			files := kind.Count(300, 10_000)
			s, proxy := harness.NewStore(t, kind).Behind(t)
			m := harness.NewMount(t, s)
			furnish(t, m, files)
			want := harness.Script(t, m.Dir, attributes)
			m.Unmount()

			m.Remount()
			proxy.Reset()
			if got := harness.Script(t, m.Dir, attributes); got != want {
				t.Errorf("after a remount: %s", firstDifference(got, want))
			}
			if total := proxy.Counts().Total(); total.Requests > 0 {
				t.Errorf("after a remount, looking at everything takes requests: %v", proxy.Counts())
			}
			m.Unmount()

			proxy.Reset()
			m.RemountEmpty()
			if got := harness.Script(t, m.Dir, attributes); got != want {
				t.Errorf("on a new machine: %s", firstDifference(got, want))
			}
			counts := proxy.Counts()
			if heads, lists := counts[servers.Head].Requests, counts[servers.List].Requests; heads > 2 || lists > files/1000+files/dirFiles+10 {
				t.Errorf("on a new machine, looking at everything takes %v", counts)
			}
			soak.Record(t, "files; requests of a new machine that looks at all", fmt.Sprint(files, "; ", counts))
			m.Unmount()
		})
	}
}

// dirFiles is how many files furnish puts in a directory.
const dirFiles = 100

// furnish makes files of several modes, owners and times, symlinks and directories, as root.
func furnish(t *testing.T, m *harness.Mount, files int) {
	t.Helper()
	harness.Script(t, m.Dir, fmt.Sprintf(`
		for d in $(seq %d); do
			mkdir d$d d$d/empty
			for f in $(seq %d); do echo $d $f >d$d/f$f; done
			ln -s ../d1/f$d d$d/link
			chmod 600 d$d/f1; chmod 4755 d$d/f2; chown 1000:1001 d$d/f3; chmod 750 d$d
			touch -d '2001-02-03 04:05:06.789 UTC' d$d/f4 d$d
		done`, files/dirFiles, dirFiles))
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("%q, want %q", g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// TestWhatAnotherProgramChangedIsSeenAfterReconcile, and after a mount whose daemon was killed, without being asked for.
func TestWhatAnotherProgramChangedIsSeenAfterReconcile(t *testing.T) {
	t.Parallel()
	s := harness.NewStore(t, harness.InsteadOf(harness.MinIO))
	m := harness.NewMount(t, s)
	harness.Script(t, m.Dir, "mkdir d e; echo 1 >d/one; echo 2 >d/two; echo 3 >e/three; cat d/* e/*; sync d/one d/two e/three")
	m.Flush()
	change := func(n int) {
		s.Put(t, "d/one", fmt.Appendf(nil, "theirs %d\n", n), nil)
		s.Put(t, fmt.Sprintf("e/new/%d", n), []byte("new\n"), nil)
	}
	check := func(n int) {
		t.Helper()
		if got := harness.Script(t, m.Dir, fmt.Sprintf("cat d/one e/new/%d d/two", n)); got != fmt.Sprintf("theirs %d\nnew\n2\n", n) {
			t.Errorf("the mount shows %q", got)
		}
	}
	change(1)
	if out, err := m.Sharefs("reconcile", m.Dir); err != nil || !strings.Contains(out, "changed by another program") {
		t.Fatal(out, err)
	}
	check(1)
	m.Kill()
	change(2)
	m.Remount()
	await(t, "the comparison", func() bool {
		b, err := os.ReadFile(m.Path("e/new/2"))
		return err == nil && string(b) == "new\n"
	})
	check(2)
	m.Unmount()
}

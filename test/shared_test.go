package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"sharefs/test/harness"
	"sharefs/test/soak"
)

// onShared runs a test with two mounts that share a store, on servers that check versions.
func onShared(t *testing.T, test func(t *testing.T, s *harness.Store, a, b *harness.Mount)) {
	for _, kind := range []harness.Kind{harness.MinIO, harness.VersityGW} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := harness.NewStore(t, kind)
			test(t, s, harness.NewMount(t, s, "--shared"), harness.NewMount(t, s, "--shared"))
		})
	}
}

// TestSoakSharedMountsLoseNoLine has two mounts append lines to one file, each again until its close succeeds.
func TestSoakSharedMountsLoseNoLine(t *testing.T) {
	t.Parallel()
	lines := soak.Count(10, 500)
	onShared(t, func(t *testing.T, s *harness.Store, a, b *harness.Mount) {
		if err := os.WriteFile(a.Path("log"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		await(t, "the file at the other mount", func() bool { _, err := os.Stat(b.Path("log")); return err == nil })
		var wg sync.WaitGroup
		lost := [2]int{}
		for i, m := range []*harness.Mount{a, b} {
			wg.Go(func() {
				for n := range lines {
					for appendLine(m.Path("log"), fmt.Sprintf("mount %d line %d\n", i, n)) != nil {
						lost[i]++
					}
				}
			})
		}
		wg.Wait()
		got := strings.Split(strings.TrimSuffix(string(s.Contents(t)["log"]), "\n"), "\n")
		slices.Sort(got)
		var want []string
		for i := range 2 {
			for n := range lines {
				want = append(want, fmt.Sprintf("mount %d line %d", i, n))
			}
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("the lines are\n%s", strings.Join(got, "\n"))
		}
		soak.Record(t, "lines that two mounts appended, and races that one lost", fmt.Sprintf("%d, %d", 2*lines, lost[0]+lost[1]))
	})
}

// appendLine appends a line in one open, write and close, as a shell does.
func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}

func TestWhoIsSecondOnASharedMountGetsESTALE(t *testing.T) {
	t.Parallel()
	onShared(t, func(t *testing.T, s *harness.Store, a, b *harness.Mount) {
		write := func(m *harness.Mount, name, content string) {
			t.Helper()
			if err := os.WriteFile(m.Path(name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		write(a, "f", "first")
		await(t, "the file at the other mount", func() bool { _, err := os.Stat(b.Path("f")); return err == nil })
		f, err := os.OpenFile(b.Path("f"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		write(a, "f", "longer than before")
		if _, err := f.WriteAt([]byte("mine!"), 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); !errors.Is(err, syscall.ESTALE) {
			t.Errorf("fsync: %v, want ESTALE", err)
		}
		if err := f.Close(); !errors.Is(err, syscall.ESTALE) {
			t.Errorf("close: %v, want ESTALE", err)
		}
		for _, m := range []*harness.Mount{a, b} {
			if got, err := os.ReadFile(m.Path("f")); err != nil || string(got) != "longer than before" {
				t.Errorf("the file holds %q, %v", got, err)
			}
		}
		conflicts := b.Status().Conflicts
		if len(conflicts) != 1 || conflicts[0].Path != "/f" {
			t.Fatalf("the conflicts are %+v", conflicts)
		}
		if got, err := os.ReadFile(b.Path(filepath.Join(".sharefs/conflicts", filepath.Base(conflicts[0].Kept)))); err != nil || string(got) != "mine!" {
			t.Errorf("kept is %q, %v", got, err)
		}
		// A rename over what has changed since it was seen here.
		write(b, "new", "new")
		write(a, "f", "third")
		if err := os.Rename(b.Path("new"), b.Path("f")); !errors.Is(err, syscall.ESTALE) {
			t.Errorf("rename: %v, want ESTALE", err)
		}
		if got := s.Contents(t); string(got["f"]) != "third" || string(got["new"]) != "new" {
			t.Errorf("the store has %q", got)
		}
		if got, err := os.ReadFile(b.Path("f")); err != nil || string(got) != "third" {
			t.Errorf("after the rename the file holds %q, %v", got, err)
		}
	})
}

func TestSharedMountsSeeEachOther(t *testing.T) {
	t.Parallel()
	onShared(t, func(t *testing.T, s *harness.Store, a, b *harness.Mount) {
		harness.Script(t, a.Dir, "mkdir -p d/e; echo 1 >d/f; echo 2 >d/e/g; ln -s f d/link")
		same := func() bool { return view(a) == view(b) }
		await(t, "the same at both mounts", same)
		harness.Script(t, b.Dir, "mv d/f d/e/f; chmod 600 d/e/g; rm d/link; mkdir new; echo more >>d/e/g")
		await(t, "the same at both mounts", same)
		if got := string(s.Contents(t)["d/e/g"]); got != "2\nmore\n" {
			t.Errorf("the store has %q", got)
		}
		if c := b.Status().Claim; len(c.Shared) != 2 {
			t.Errorf("the status says of the claim %+v", c)
		}
	})
}

// view is what a mount shows: names, types, modes, targets and contents. While the other mount's change comes to be known here it
// may lack something.
func view(m *harness.Mount) string {
	cmd := exec.Command("bash", "-c", `find . -printf '%P %y %m %l\n' | sort; find . -type f | sort | xargs -r head -v -c 1000`)
	cmd.Dir = m.Dir
	out, _ := cmd.Output()
	return string(out)
}

func TestAStoreIsEitherSharedOrClaimed(t *testing.T) {
	t.Parallel()
	s := harness.NewStore(t, harness.MinIO)
	shared, claimed := harness.PrepareMount(t, s, "--shared"), harness.PrepareMount(t, s)
	third := harness.PrepareMount(t, s, "--shared")
	refused := func(m *harness.Mount, words ...string) {
		t.Helper()
		err := m.TryMount()
		if err == nil {
			t.Fatal("there is a mount")
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("the refusal does not say %q: %v", word, err)
			}
		}
	}
	for range 2 {
		if err := shared.TryMount(); err != nil {
			t.Fatal(err)
		}
		refused(claimed, "shared by", fmt.Sprintf("(process %d)", shared.PID()), "--shared", "--take-over")
		shared.Unmount()
		if err := claimed.TryMount(); err != nil {
			t.Fatal(err)
		}
		refused(shared, fmt.Sprintf("(process %d) holds it", claimed.PID()), "--take-over")
		claimed.Unmount()
	}
	// A shared mount that was killed is no obstacle to another shared one, nor to one with its cache directory.
	if err := shared.TryMount(); err != nil {
		t.Fatal(err)
	}
	shared.Kill()
	shared.Detach()
	if err := third.TryMount(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(third.Path("f"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	refused(claimed, "shared by")
}

func TestAStoreThatChecksNoVersionsIsNotShared(t *testing.T) {
	t.Parallel()
	m := harness.PrepareMount(t, harness.NewStore(t, harness.File), "--shared")
	err := m.TryMount()
	if err == nil || !strings.Contains(err.Error(), "cannot be shared") || !strings.Contains(err.Error(), "--read-only") {
		t.Errorf("the refusal is %v", err)
	}
}

package test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"sharefs/test/harness"
)

// capacity is that of the mounts of these tests, in bytes; the last block is not a whole one.
const capacity = 8<<20 + 1000

// checkSpace compares what df and status tell with the lengths of all files in the mount, which it looks at.
func checkSpace(t *testing.T, m *harness.Mount, when string) {
	t.Helper()
	var bytes, files, dirs int64
	err := filepath.WalkDir(m.Dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == m.Dir:
		case d.IsDir():
			dirs++
		default:
			files++
			info, err := d.Info()
			if err != nil {
				return err
			}
			bytes += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	checkCount(t, m, when, bytes, files, dirs)
}

func checkCount(t *testing.T, m *harness.Mount, when string, bytes, files, dirs int64) {
	t.Helper()
	const block = 4096
	if s := m.Status().Space; s.Used != bytes || s.Files != files || s.Dirs != dirs || !s.Counted || s.Capacity != capacity/block*block {
		t.Errorf("%s: status says %+v, want %d bytes in %d files and %d directories", when, s, bytes, files, dirs)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(m.Dir, &st); err != nil {
		t.Fatal(err)
	}
	if used, want := int64(st.Blocks-st.Bfree), (bytes+block-1)/block; used != want || st.Blocks != capacity/block || st.Bavail != st.Bfree || st.Bsize != block {
		t.Errorf("%s: statfs says %d of %d blocks, want %d of %d", when, used, st.Blocks, want, capacity/block)
	}
	if inodes := int64(st.Files - st.Ffree); inodes != files+dirs+1 {
		t.Errorf("%s: statfs says %d inodes, want %d", when, inodes, files+dirs+1)
	}
}

// TestDfIsExact stores, overwrites, renames, deletes and crashes.
func TestDfIsExact(t *testing.T) {
	t.Parallel()
	for _, kind := range harness.KindsOr(harness.File, harness.MinIO) {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			m := harness.NewMount(t, harness.NewStore(t, kind), "--capacity", fmt.Sprint(capacity), "--writeback", "100ms")
			checkSpace(t, m, "empty")
			harness.Script(t, m.Dir, "mkdir -p d/e; head -c 5000 /dev/urandom >d/a; head -c 1 /dev/zero >d/e/b; : >c")
			checkSpace(t, m, "written")
			f, err := os.OpenFile(m.Path("d/a"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt(make([]byte, 10_000), 1_000_000); err != nil {
				t.Fatal(err)
			}
			checkCount(t, m, "open, with a hole", 1_010_001, 3, 2)
			m.Flush()
			checkSpace(t, m, "stored")
			harness.Script(t, m.Dir, "head -c 7000 /dev/urandom >c; head -c 3 c >d/e/b; mv d/e/b c")
			checkSpace(t, m, "overwritten and replaced")
			if err := os.Remove(m.Path("d/a")); err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(make([]byte, 20_000), 2_000_000); err != nil {
				t.Fatal(err)
			}
			checkCount(t, m, "unlinked, still open and growing", 3, 1, 2)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			checkSpace(t, m, "closed")
			crashWhileWriting(t, m)
			m.Unmount()
			m.RemountEmpty()
			checkSpace(t, m, "with an empty cache")
			filled := harness.NewStore(t, kind) // by another program
			filled.Seed(t, "theirs", false, make([]byte, 5000))
			m = harness.NewMount(t, filled, "--capacity", "8MiB")
			if s := m.Status().Space; s.Counted {
				t.Errorf("before anybody has looked into a directory status says %+v", s)
			}
			checkSpace(t, m, "of another program's files")
		})
	}
}

// crashWhileWriting kills the daemon under a file that grows.
func crashWhileWriting(t *testing.T, m *harness.Mount) {
	t.Helper()
	g, err := os.Create(m.Path("g"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for range 5 {
		if _, err := g.Write(make([]byte, 12_345)); err != nil {
			t.Fatal(err)
		}
	}
	m.Kill()
	m.Remount()
	if info, err := os.Stat(m.Path("g")); err != nil || info.Size() != 5*12_345 {
		t.Errorf("after the crash: %v, %v", info, err)
	}
	checkSpace(t, m, "after a crash")
}

// TestAWriteBeyondCapacityFails fills the store up, in every way that makes a file longer.
func TestAWriteBeyondCapacityFails(t *testing.T) {
	t.Parallel()
	m := harness.NewMount(t, harness.NewStore(t, harness.InsteadOf(harness.MinIO)), "--capacity", fmt.Sprint(capacity))
	const whole = capacity / 4096 * 4096
	f, err := os.Create(m.Path("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	written := 0
	for err == nil {
		var n int
		n, err = f.Write(make([]byte, 1_000_000))
		written += n
	}
	if !errors.Is(err, unix.ENOSPC) || written != whole {
		t.Errorf("%d bytes were written, then %v; want %d, then ENOSPC", written, err, whole)
	}
	checkCount(t, m, "full", whole, 1, 0)
	for _, tc := range []struct {
		name string
		grow func() error
	}{
		{"truncate", func() error { return f.Truncate(whole + 1) }},
		{"fallocate", func() error { return unix.Fallocate(int(f.Fd()), 0, whole-10, 20) }},
		{"pwrite", func() error { _, err := f.WriteAt([]byte("x"), whole); return err }},
		{"another file", func() error { return os.WriteFile(m.Path("g"), []byte("x"), 0o644) }},
		{"a hole in it", func() error { return os.Truncate(m.Path("g"), 1) }},
		{"a link", func() error { return linkNew(m, "linked", "x") }},
	} {
		if err := tc.grow(); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: %v, want ENOSPC", tc.name, err)
		}
	}
	if _, err := f.WriteAt(make([]byte, 4096), 100); err != nil {
		t.Errorf("a write in place: %v", err)
	}
	checkSpace(t, m, "full, after what failed")
	if err := f.Truncate(whole - 5); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.Path("g"), []byte("12345"), 0o644); err != nil {
		t.Errorf("in the room that was given back: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	m.Flush()
	checkSpace(t, m, "full again, and stored")
}

// linkNew writes a file that has no name, and then gives it one.
func linkNew(m *harness.Mount, name, content string) error {
	f, err := os.OpenFile(m.Dir, unix.O_TMPFILE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		return fmt.Errorf("without a name: %v", err)
	}
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, m.Path(name), unix.AT_SYMLINK_FOLLOW)
}

// TestAServerThatReservesSpaceStopsInTime asks before each share, as Tahoe-LAFS's storage server does, with half a megabyte reserved.
func TestAServerThatReservesSpaceStopsInTime(t *testing.T) {
	t.Parallel()
	m := harness.NewMount(t, harness.NewStore(t, harness.File), "--capacity", fmt.Sprint(capacity))
	const reserved, share = 512 << 10, 300_000
	shares := 0
	for ; ; shares++ {
		var st unix.Statfs_t
		if err := unix.Statfs(m.Dir, &st); err != nil {
			t.Fatal(err)
		}
		if int64(st.Bavail)*st.Frsize-reserved < share {
			break
		}
		if err := os.WriteFile(m.Path(fmt.Sprint(shares)), make([]byte, share), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := (capacity/4096*4096 - reserved) / share; shares != want {
		t.Errorf("the server took %d shares, want %d", shares, want)
	}
}

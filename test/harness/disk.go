package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Disk is a small filesystem of a test's own.
type Disk struct {
	Dir string // where it is mounted
}

// Filesystem is a kind of Disk.
type Filesystem string

// The kinds of disks.
const (
	Ext4  Filesystem = "ext4" // in a file, by a loop device that goes with the mount
	Tmpfs Filesystem = "tmpfs"
)

// NewDisk makes a filesystem of size bytes and mounts it until the end of the test.
func NewDisk(tb testing.TB, kind Filesystem, size int64) *Disk {
	tb.Helper()
	base := scratch(tb)
	d := &Disk{Dir: filepath.Join(base, "disk")}
	if err := os.Mkdir(d.Dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if len(mountsBelow(base)) == 0 {
			return
		}
		if err := unix.Unmount(d.Dir, 0); err != nil {
			tb.Errorf("unmounting the small disk: %v", err)
			_ = unix.Unmount(d.Dir, unix.MNT_DETACH)
		}
	})
	run := func(name string, args ...string) {
		tb.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			tb.Fatalf("%s %q: %v: %s", name, args, err, out)
		}
	}
	if kind == Tmpfs {
		run("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d,mode=0700", size), "tmpfs", d.Dir)
		return d
	}
	image := filepath.Join(base, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		tb.Fatal(err)
	}
	run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
	run("mount", "-o", "loop", image, d.Dir)
	return d
}

// Free returns how many bytes the disk has left.
func (d *Disk) Free(tb testing.TB) int64 {
	tb.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(d.Dir, &st); err != nil {
		tb.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PowerDisk is a small ext4 of a test's own, on a loop device over memory, whose power can fail.
//
// What a power failure leaves is what ext4 had sent to the device by then: its caches are dropped, the mount is gone, and the
// next Plug replays the journal and checks the filesystem. The loop device passes writes on at once (direct I/O), so a write that was sent counts
// as durable, in the order in which it was sent: a device with a volatile cache of its own may lose more.
//
// The device and the mount end with the test, and with a test program that is cut off: the memory has no name, and the
// device is freed by the kernel with its last mount, which the harness takes away.
type PowerDisk struct {
	Dir string // where it is mounted

	tb    testing.TB
	image string // as losetup and mkfs find it
}

// NewPowerDisk makes a disk of so many bytes and mounts it.
func NewPowerDisk(tb testing.TB, size int64, options string) *PowerDisk {
	tb.Helper()
	memory, err := unix.MemfdCreate("disk", unix.MFD_CLOEXEC)
	if err != nil {
		tb.Fatal(err)
	}
	d := &PowerDisk{tb: tb, Dir: filepath.Join(scratch(tb), "disk"), image: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), memory)}
	tb.Cleanup(func() { _ = unix.Close(memory) })
	if err := errors.Join(os.Mkdir(d.Dir, 0o700), unix.Ftruncate(memory, size)); err != nil {
		tb.Fatal(err)
	}
	d.run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", d.image)
	tb.Cleanup(func() {
		if Mounted(d.Dir) {
			d.Unplug()
		}
	})
	d.Plug(options)
	return d
}

// Plug mounts the disk, with options of ext4's, after it lost its power or was unplugged.
func (d *PowerDisk) Plug(options string) {
	d.tb.Helper()
	d.check()
	device := strings.TrimSpace(d.run("losetup", "--find", "--show", "--direct-io=on", d.image))
	err := unix.Mount(device, d.Dir, "ext4", 0, options)
	d.run("losetup", "--detach", device) // by the kernel, when it is unmounted
	if err != nil {
		d.tb.Fatalf("mounting %s (%s): %v", d.image, options, err)
	}
}

// check replays the journal and repairs what it leaves to be repaired, as the start of a system does.
func (d *PowerDisk) check() {
	d.tb.Helper()
	out, err := exec.Command("e2fsck", "-f", "-y", d.image).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 { // repaired, such as the counts of what is free
		err = nil
	}
	if err != nil {
		d.tb.Fatalf("e2fsck of %s: %v: %s", d.image, err, out)
	}
}

// The ioctl by which ext4 stops at once, as the kernel's fs/ext4/ext4.h has it: nothing more is sent to the device.
const (
	ext4Shutdown     = 0x8004587d // EXT4_IOC_SHUTDOWN
	ext4NoFlushOfLog = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
)

// LosePower makes the disk forget what it has not written yet, and unmounts it. Whoever uses it must be gone.
func (d *PowerDisk) LosePower() {
	d.tb.Helper()
	dir, err := os.Open(d.Dir)
	if err != nil {
		d.tb.Fatal(err)
	}
	how := uint32(ext4NoFlushOfLog)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), ext4Shutdown, uintptr(unsafe.Pointer(&how)))
	runtime.KeepAlive(&how)
	if err := dir.Close(); errno != 0 || err != nil {
		d.tb.Fatalf("cutting the power of %s: %v, %v", d.Dir, errno, err)
	}
	d.Unplug()
}

// Unplug unmounts the disk. The kernel may need a moment to close what a killed process had open.
func (d *PowerDisk) Unplug() {
	d.tb.Helper()
	err := unix.Unmount(d.Dir, 0)
	for limit := time.Now().Add(time.Minute); err == unix.EBUSY && time.Now().Before(limit); err = unix.Unmount(d.Dir, 0) {
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		d.tb.Errorf("unmounting %s: %v", d.Dir, err)
		_ = unix.Unmount(d.Dir, unix.MNT_DETACH) // nothing more can be done
	}
}

func (d *PowerDisk) run(name string, args ...string) string {
	d.tb.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		d.tb.Fatalf("%s %q, which needs root and test/packages: %v: %s", name, args, err, out)
	}
	return string(out)
}

package fusefs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ownPath is a directory of ours that a mount must neither hide nor lie in.
type ownPath struct {
	what string // "the cache directory"
	path string
}

// prepareMountpoint checks that dir can be mounted on, detaches dead mounts of ours from it, and returns its absolute
// path without symlinks. Errors say what to do.
func prepareMountpoint(ctx context.Context, dir string, own []ownPath, log *slog.Logger) (string, error) {
	resolved, err := resolve(dir)
	if err != nil {
		return "", fmt.Errorf("mountpoint %s: %w", dir, err)
	}
	if err := clearMountpoint(ctx, resolved, log); err != nil {
		return "", err
	}
	if err := checkDirectory(resolved, log); err != nil {
		return "", err
	}
	for _, o := range own {
		if err := checkApart(resolved, o); err != nil {
			return "", err
		}
	}
	return resolved, nil
}

// resolve returns the absolute path without symlinks. Only the part that exists can have any; the last component is not
// looked at when that fails, for it may be a dead mount.
func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	resolved, err := filepath.EvalSymlinks(abs)
	if err == nil {
		return resolved, nil
	}
	parent := filepath.Dir(abs)
	if parent == abs || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTCONN) {
		return "", err
	}
	parent, err = resolve(parent)
	return filepath.Join(parent, filepath.Base(abs)), err
}

// clearMountpoint detaches dead mounts of sharefs from dir and refuses living ones.
func clearMountpoint(ctx context.Context, dir string, log *slog.Logger) error {
	for {
		at, err := mountedAt(dir)
		if err != nil || len(at) == 0 {
			return err
		}
		top := at[len(at)-1]
		dead := IsDead(ctx, dir)
		switch {
		case top.Ours() && dead:
			log.Warn("detaching a dead mount: its daemon ended without unmounting", "mountpoint", dir, "source", top.Source)
			if err := Detach(dir); err != nil {
				return err
			}
		case top.Ours():
			return fmt.Errorf("%s is already mounted: sharefs serves %s there; unmount it first: sharefs umount %s", dir, top.Source, dir)
		case dead:
			return fmt.Errorf("a dead mount of %s (%s) is at %s; take it away first: umount -l %s", top.Source, top.FSType, dir, dir)
		default:
			return nil // over another filesystem, such as a tmpfs made for it
		}
	}
}

// deadLimit is how long a mount may take to say that it lives.
const deadLimit = 2 * time.Second

// IsDead reports whether dir is a FUSE mount whose daemon is gone: then the kernel answers at once, by itself. A daemon
// that does not answer is not gone: it may be busy, or hang.
func IsDead(ctx context.Context, dir string) bool {
	result := make(chan error, 1)
	go func() { // left behind when the daemon hangs
		var st unix.Statfs_t
		result <- unix.Statfs(dir, &st)
	}()
	limit := time.NewTimer(deadLimit)
	defer limit.Stop()
	select {
	case err := <-result:
		return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED)
	case <-limit.C:
	case <-ctx.Done():
	}
	return false
}

// detachDead takes away what a mount that failed left at dir.
func detachDead(dir string) {
	at, err := mountedAt(dir)
	if err == nil && len(at) > 0 && at[len(at)-1].Ours() {
		_ = Detach(dir) // the error to report is that of the mount
	}
}

// checkDirectory checks that dir is a directory, and warns when it has entries, which the mount hides.
func checkDirectory(dir string, log *slog.Logger) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("mountpoint %s does not exist: make it first (mkdir -p %s), or name another", dir, dir)
	case err != nil:
		return fmt.Errorf("mountpoint %s cannot be used: %w", dir, err)
	case !info.IsDir():
		return fmt.Errorf("mountpoint %s is not a directory: name one that is", dir)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil // it may be mounted on without being readable
	}
	defer f.Close()
	if _, err := f.Readdirnames(1); !errors.Is(err, io.EOF) {
		log.Warn("the mountpoint is not empty; the mount hides what is in it", "mountpoint", dir)
	}
	return nil
}

// checkApart refuses a mountpoint that is, lies in, or hides a directory of ours: the mount would wait for itself.
func checkApart(dir string, own ownPath) error {
	path, err := resolve(own.path)
	if err != nil {
		return fmt.Errorf("%s %s: %w", own.what, own.path, err)
	}
	switch {
	case dir == path:
		return fmt.Errorf("mountpoint %s is %s: name another mountpoint", dir, own.what)
	case within(dir, path):
		return fmt.Errorf("mountpoint %s lies in %s %s: name a mountpoint outside", dir, own.what, path)
	case within(path, dir):
		return fmt.Errorf("mountpoint %s would hide %s %s, which lies in it: name another mountpoint, or move the latter", dir, own.what, path)
	}
	return nil
}

// within reports whether path lies below dir; both are absolute and clean.
func within(path, dir string) bool {
	return strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// checkPermitted checks what can be known before mounting: the device, and for users the helper and its rules.
func checkPermitted(dir string, allowOther bool) error {
	if err := checkDevice("/dev/fuse"); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		return nil
	}
	if _, err := mountHelper(); err != nil {
		return err
	}
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return fmt.Errorf("mountpoint %s is not writable by this user, who therefore may not mount there: name a directory of your own", dir)
	}
	if allowOther && !othersAllowed("/etc/fuse.conf") {
		return errors.New("allow-other is for root only, unless /etc/fuse.conf has the line user_allow_other: ask for it, or mount without")
	}
	return nil
}

// checkDevice checks that the FUSE device is there and may be used. (fusermount3 opens it with its user's rights.)
func checkDevice(device string) error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return fmt.Errorf("this user may not open %s, which is open to all as systems are set up: as root, chmod 0666 %s; or mount as root", device, device)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("not permitted to open %s: a container must be started with --device %s --cap-add SYS_ADMIN", device, device)
	}
	return fmt.Errorf("the kernel offers no FUSE (%w): load its module with modprobe fuse; a container must be started with --device %s --cap-add SYS_ADMIN", err, device)
}

// othersAllowed reports whether fuse.conf lets users choose allow_other.
func othersAllowed(conf string) bool {
	f, err := os.Open(conf)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.TrimSpace(lines.Text()) == "user_allow_other" {
			return true
		}
	}
	return false
}

// mountError says what a failed mount means.
func mountError(dir string, err error) error {
	switch {
	case os.Geteuid() != 0:
		return fmt.Errorf("cannot mount at %s: fusermount3 refused, and said why on standard error: %s", dir, strings.TrimSpace(err.Error()))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("not permitted to mount at %s: needs the capability CAP_SYS_ADMIN (for a container --cap-add SYS_ADMIN): %w", dir, err)
	}
	return fmt.Errorf("cannot mount at %s: %w", dir, err)
}

package fusefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"sharefs/fusefs/tree"
)

const (
	fsName = "sharefs"
	fsType = "fuse." + fsName

	// maxIO is the size of a request's data at most, 1 MiB: the kernel's own limit unless it is tuned.
	maxIO = 1 << 20
	// maxBackground bounds the read-ahead and asynchronous requests that the kernel sends before their answers.
	maxBackground = 128
	// readAhead is how far the kernel reads ahead of a sequential reader, and around a page fault in a mapped file. It
	// takes more than its default (128 KiB) only by a file in /sys that root may write.
	readAhead = maxIO

	// answerLimit is how long a new mount may take to answer statfs(2).
	answerLimit = 10 * time.Second
)

// kernelOptions say how the kernel mounts a namespace.
type kernelOptions struct {
	config
	source     string
	allowOther bool
	debug      bool // log every request, at slog.LevelDebug
}

// kernelMount is a mount that is being served.
type kernelMount struct {
	dir    string
	device string // major:minor, which tells the mount from others at the same place
	server *fuse.Server
	gone   chan struct{} // closed when the kernel side is gone and all requests are answered
}

// mountNamespace mounts ns at dir, which prepareMountpoint returned, and serves it. It returns when the mount answers.
func mountNamespace(ctx context.Context, ns tree.Namespace, dir string, o kernelOptions) (*kernelMount, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	server, err := fuse.NewServer(newRawFS(ns, o.config), dir, mountOptions(o))
	if err != nil {
		detachDead(dir) // go-fuse leaves a mount whose first request failed
		return nil, mountError(dir, err)
	}
	m := &kernelMount{dir: dir, server: server, gone: make(chan struct{})}
	go func() {
		defer close(m.gone)
		server.Serve()
	}()
	if err := m.settle(ctx, o); err != nil {
		return nil, errors.Join(err, m.abandon())
	}
	return m, nil
}

// settle waits until the mount answers and finds out its device.
func (m *kernelMount) settle(ctx context.Context, o kernelOptions) error {
	if err := m.answer(ctx); err != nil {
		return err
	}
	at, err := mountedAt(m.dir)
	if err != nil {
		return err
	}
	if len(at) == 0 {
		return fmt.Errorf("%s was unmounted while it was being mounted", m.dir)
	}
	m.device = at[len(at)-1].Device
	if os.Geteuid() == 0 {
		if err := setReadAhead(m.device); err != nil {
			o.log.Debug("read-ahead stays at the kernel's default", "error", err)
		}
	}
	return nil
}

// doubt makes the kernel forget what it believes of a name and its inode, or, without a name, of an inode: somebody else has
// changed the store. It returns at once: the kernel may wait for requests under way.
func (m *kernelMount) doubt(parent uint64, name string, ino uint64) {
	go func() { // it may know neither
		if name != "" {
			_ = m.server.EntryNotify(parent, name)
		}
		if ino != 0 {
			_ = m.server.InodeNotify(ino, 0, 0)
		}
	}()
}

// answer waits until the mount has answered statfs(2).
func (m *kernelMount) answer(ctx context.Context) error {
	answered := make(chan error, 1)
	go func() {
		// Makes the kernel ask for poll(2) once, in vain, before Go's scheduler could depend on the answer. A root
		// directory that this user may not search answers EACCES, which is as good.
		if err := m.server.WaitMount(); err != nil && !errors.Is(err, syscall.EACCES) {
			answered <- err
			return
		}
		var st unix.Statfs_t
		answered <- unix.Statfs(m.dir, &st)
	}()
	limit := time.NewTimer(answerLimit)
	defer limit.Stop()
	select {
	case err := <-answered:
		if err != nil {
			return fmt.Errorf("the new mount at %s does not work: %w", m.dir, err)
		}
		return nil
	case <-limit.C:
		return fmt.Errorf("the new mount at %s did not answer within %v", m.dir, answerLimit)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// abandon takes away a mount that nobody has used yet.
func (m *kernelMount) abandon() error {
	if err := Detach(m.dir); err != nil {
		return err
	}
	<-m.gone
	return nil
}

// unmount detaches the mount from the kernel, and waits until the requests under way are answered. It is no error when
// somebody else was faster.
func (m *kernelMount) unmount(ctx context.Context) error {
	at, err := mountedAt(m.dir)
	if err != nil {
		return err
	}
	if n := len(at); n > 0 && at[n-1].Device != m.device {
		for _, below := range at[:n-1] {
			if below.Device == m.device {
				return fmt.Errorf("cannot unmount %s: %s is mounted over it; unmount that first", m.dir, at[n-1].Source)
			}
		}
	} else if n > 0 {
		if err := detach(m.dir, 0); err != nil {
			return unmountError(m.dir, err)
		}
	}
	select {
	case <-m.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Detach takes a mount from its directory even if it is in use or its daemon is gone (a lazy umount(8)).
func Detach(dir string) error {
	if err := detach(dir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("cannot detach the mount at %s: %w", dir, err)
	}
	return nil
}

// mountOptions are what the kernel and go-fuse are told.
func mountOptions(o kernelOptions) *fuse.MountOptions {
	level := slog.LevelWarn
	if o.debug {
		level = slog.LevelDebug
	}
	options := []string{"default_permissions"}
	// ATOMIC_O_TRUNC makes open with O_TRUNC one request. HANDLE_KILLPRIV_V2 leaves it to us to clear set-user-id, as
	// attr.go does; without it the kernel asks for security.capability before each write. Not ASYNC_DIO: with it a process
	// that reads past the kernel's cache cannot even be killed before the answer.
	capabilities := uint64(fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_HANDLE_KILLPRIV_V2)
	if o.readOnly {
		options = append(options, "ro")
	}
	if !o.others {
		capabilities |= fuse.CAP_NO_OPENDIR_SUPPORT // see dir.go
	}
	return &fuse.MountOptions{
		FsName:            o.source,
		Name:              fsName,
		Options:           options,
		AllowOther:        o.allowOther,
		DirectMountStrict: os.Geteuid() == 0,
		MaxWrite:          maxIO,
		MaxBackground:     maxBackground,
		// Contents and symlinks change by the kernel's own doing only: a new mtime is then no reason to drop pages.
		ExplicitDataCacheControl: !o.others,
		EnableSymlinkCaching:     !o.others,
		ExtraCapabilities:        capabilities,
		// Contents come from memory; the pipe of a splice has no room for the largest answer and its header.
		DisableSplice: true,
		Debug:         o.debug,
		Logger:        slog.NewLogLogger(o.log.Handler(), level),
	}
}

// setReadAhead sets the kernel's read-ahead for a mount's device.
func setReadAhead(device string) error {
	return os.WriteFile(filepath.Join("/sys/class/bdi", device, "read_ahead_kb"), []byte(strconv.Itoa(readAhead>>10)), 0)
}

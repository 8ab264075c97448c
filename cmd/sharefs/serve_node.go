package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/cmd/sharefs/internal/mountpoint"
	"sharefs/cmd/sharefs/internal/nodedir"
	"sharefs/provider/all"
)

// mountName is where in a node directory the store is mounted that serve --store mounts itself.
const mountName = "mount"

// openNode opens the node that the flags name, and makes it when there is none. It is locked for this process.
func (f *serveFlags) openNode() (*nodedir.Node, *nodedir.Locks, error) {
	dir, err := f.nodeDir()
	if err != nil {
		return nil, nil, err
	}
	node, err := nodedir.Open(dir)
	if errors.Is(err, nodedir.ErrNone) {
		node, err = f.createNode(dir)
	}
	if err != nil {
		return nil, nil, err
	}
	if f.store != "" {
		node.Storage.Dir = f.storageDir(dir)
	}
	locks, err := nodedir.Lock(dir)
	if err != nil {
		return nil, nil, err
	}
	if err := locks.Run(node); err != nil {
		locks.Unlock()
		return nil, nil, err
	}
	return node, locks, nil
}

// nodeDir checks --node and --store, and returns the node directory.
func (f *serveFlags) nodeDir() (string, error) {
	if f.isURL() {
		if _, err := all.Parse(f.store); err != nil {
			return "", exit.With(exit.Store, err)
		}
	} else if f.store != "" {
		var err error
		if f.store, err = filepath.Abs(f.store); err != nil {
			return "", err
		}
	}
	if f.node != "" {
		return filepath.Abs(f.node)
	}
	if f.store == "" {
		return "", exit.Errorf(exit.Usage, "serve needs --node DIR, --store, or both (see sharefs serve --help)")
	}
	dir, err := places().Node(f.store)
	return dir, exit.With(exit.Usage, err)
}

func (f *serveFlags) isURL() bool { return strings.Contains(f.store, ":") && !filepath.IsAbs(f.store) }

// storageDir is where the shares of --store are.
func (f *serveFlags) storageDir(node string) string {
	if f.isURL() {
		return filepath.Join(node, mountName)
	}
	return f.store
}

// createNode makes a node.
func (f *serveFlags) createNode(dir string) (*nodedir.Node, error) {
	host, port, err := net.SplitHostPort(f.location)
	if err != nil {
		return nil, exit.Errorf(exit.Usage, "--location: %w", err)
	}
	n := nodedir.New{Dir: dir, Nickname: f.nickname, Location: f.location, Listen: f.listen}
	if n.Listen == "" {
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			host = ""
		}
		n.Listen = net.JoinHostPort(host, port)
	}
	if f.store != "" {
		n.Store = f.storageDir(dir)
	}
	return nodedir.Create(n)
}

// mounting is a store that is mounted for a node by commands of their own: a server and its own mount are two processes.
type mounting struct {
	store, dir string
	runtimeDir string
}

// mount mounts the store. A mount that a killed server has left is unmounted first: another store may be meant now.
func (m *mounting) mount(ctx context.Context) error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return exit.Errorf(exit.Mountpoint, "mountpoint: %w", err)
	}
	if mounted, err := m.mounted(); err != nil {
		return err
	} else if mounted {
		if err := m.run(ctx, "umount", m.dir); err != nil {
			return err
		}
	}
	return m.run(ctx, "mount", "--profile", "tahoe", m.store, m.dir)
}

func (m *mounting) unmount(ctx context.Context) error { return m.run(ctx, "umount", m.dir) }

// run runs this program with other arguments. It says itself what goes wrong.
func (m *mounting) run(ctx context.Context, args ...string) error {
	if m.runtimeDir != "" {
		args = append(args, "--"+runtimeDirFlag, m.runtimeDir)
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is for the server, which unmounts in its turn
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	err := cmd.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return exit.Errorf(exit.Code(ended.ExitCode()), "the store of this node: sharefs %s failed", args[0])
	}
	return err
}

// mounted returns whether anything is mounted on the directory.
func (m *mounting) mounted() (bool, error) {
	name, err := mountpoint.Resolve(m.dir)
	if err != nil {
		return false, err
	}
	_, mounted, err := mountpoint.Top(name)
	return mounted, err
}

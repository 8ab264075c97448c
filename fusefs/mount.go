package fusefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"sharefs/fusefs/tree"
	"sharefs/provider"
)

// Options say what to mount and how. Store, Dir and CacheDir must be set.
type Options struct {
	Store      provider.Provider // the stacked store; the caller closes it after Close
	StoreName  string            // what identifies the store, shown by mount(8); the cache directory is bound to it. Empty: Store.String()
	Dir        string            // the mountpoint, an existing directory
	CacheDir   string            // catalog, staged files and read cache of this store; made when it is missing, locked
	Tree       tree.Options      // its Store, StoreName, CacheDir and Logger are set from here
	AllowOther bool              // other users than the mounting one may use the mount
	Revalidate time.Duration     // how long the kernel trusts what it knows of a read-only or shared mount. 0: DefaultRevalidate
	Debug      bool              // log every request of the kernel, at slog.LevelDebug
	Logger     *slog.Logger      // nil: nothing is logged
}

const (
	// DefaultRevalidate is how old names and attributes of a mount may be whose store others may change.
	DefaultRevalidate = 10 * time.Second

	// trustOwn is how long the kernel trusts what it knows of a read-write mount, which changes by the kernel's own doing
	// only: as long as it has room.
	trustOwn = time.Hour
	// defaultIOTimeout is that of tree.Options.
	defaultIOTimeout = time.Minute
)

// Mounted is a mount that is being served.
type Mounted struct {
	kernel   *kernelMount
	tree     *tree.Tree
	cacheDir string
	log      *slog.Logger
}

// Mount mounts and serves a store. It returns when the mount works: a statfs(2) through it was answered. When it
// fails, or ctx ends before, nothing is left mounted. Once mounted, ctx is of no more importance.
func Mount(ctx context.Context, o Options) (_ *Mounted, err error) {
	o = o.withDefaults()
	dir, err := prepareMountpoint(ctx, o.Dir, o.ownPaths(), o.Logger)
	if err != nil {
		return nil, err
	}
	if err := checkPermitted(dir, o.AllowOther); err != nil {
		return nil, err
	}
	t, err := tree.Open(ctx, o.Tree)
	if err != nil {
		return nil, err
	}
	kernel, err := mountNamespace(ctx, withOwn(t, t.ConflictsDir()), dir, o.kernelOptions())
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	t.OnNews(kernel.doubt)
	return &Mounted{kernel: kernel, tree: t, cacheDir: o.CacheDir, log: o.Logger}, nil
}

// Tree returns what is mounted.
func (m *Mounted) Tree() *tree.Tree { return m.tree }

// Dir returns the mountpoint: absolute, without symlinks.
func (m *Mounted) Dir() string { return m.kernel.dir }

// Wait returns when the mount is gone, whoever unmounted it, and every request is answered.
func (m *Mounted) Wait() { <-m.kernel.gone }

// Gone is closed when Wait would return.
func (m *Mounted) Gone() <-chan struct{} { return m.kernel.gone }

// Unmount detaches the mount from the kernel and waits as Wait does. A mount that is in use stays, with syscall.EBUSY.
// What is not stored yet is Close's business.
func (m *Mounted) Unmount(ctx context.Context) error { return m.kernel.unmount(ctx) }

// Close stores what is pending, until ctx is done, and closes the tree. It comes after Wait. An error says what is left,
// which stays in the cache directory and is stored by the next mount.
func (m *Mounted) Close(ctx context.Context) error {
	drained := m.tree.Flush(ctx, nil)
	if drained != nil {
		drained = m.leftOver(drained)
	} else if err := m.tree.Checkpoint(ctx, true); err != nil {
		m.log.Warn("the next machine asks for modes, owners and times, for want of a checkpoint", "err", err)
	}
	return errors.Join(drained, m.tree.Close())
}

// leftOver says what could not be stored.
func (m *Mounted) leftOver(cause error) error {
	status, err := m.tree.Status()
	if err != nil {
		return errors.Join(cause, err)
	}
	return fmt.Errorf("%d files (%d bytes) are not stored yet; they are kept in %s and stored when it is mounted again: %w",
		status.Pending.Files, status.Pending.Bytes, m.cacheDir, cause)
}

func (o Options) withDefaults() Options {
	if o.StoreName == "" {
		o.StoreName = o.Store.String()
	}
	if o.Revalidate <= 0 {
		o.Revalidate = DefaultRevalidate
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Tree.IOTimeout <= 0 {
		o.Tree.IOTimeout = defaultIOTimeout
	}
	o.Tree.Store, o.Tree.StoreName, o.Tree.CacheDir, o.Tree.Logger = o.Store, o.StoreName, o.CacheDir, o.Logger
	o.Tree.Revalidate = o.Revalidate
	return o
}

// ownPaths are the directories that the mount must not touch: the cache, and those of a store on this machine.
func (o Options) ownPaths() []ownPath {
	own := []ownPath{{"the cache directory", o.CacheDir}}
	if u, err := url.Parse(o.Store.String()); err == nil && u.Scheme == "file" {
		own = append(own, ownPath{"the store's directory", u.Path})
	}
	return own
}

func (o Options) kernelOptions() kernelOptions {
	trust, others := trustOwn, o.Tree.ReadOnly || o.Tree.Shared
	if others {
		trust = o.Revalidate
	}
	return kernelOptions{
		config:     config{readOnly: o.Tree.ReadOnly, others: others, trust: trust, ioTimeout: o.Tree.IOTimeout, log: o.Logger},
		source:     o.StoreName,
		allowOther: o.AllowOther,
		debug:      o.Debug,
	}
}

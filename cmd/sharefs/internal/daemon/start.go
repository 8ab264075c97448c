package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"sharefs/cmd/sharefs/internal/control"
	"sharefs/cmd/sharefs/internal/exit"
)

// Opened is what an Opener made.
type Opened struct {
	Mount           Mount
	Store, CacheDir string // for control.Entry, where Store is final only now
	ReadOnly        bool
}

// Opener opens the store and mounts it. When it fails it has left nothing mounted.
type Opener func(ctx context.Context) (Opened, error)

// closeTimeout is how long the last answers to commands may take at the end.
const closeTimeout = 5 * time.Second

// Serve registers a mount, has it opened, calls ready, and returns when it is unmounted and closed. Host.Stop ends an
// open that is under way.
func Serve(rt control.Runtime, e control.Entry, h Host, open Opener, ready func()) (err error) {
	if err := AwaitFree(h.Stop, rt, h, func(other control.Entry) bool { return other.Dir == e.Dir }); err != nil {
		return err
	}
	reg, err := control.Register(rt.Own, e)
	if err != nil {
		var taken *control.TakenError
		if errors.As(err, &taken) {
			return exit.With(exit.Mountpoint, err)
		}
		return err
	}
	defer func() { err = errors.Join(err, reg.Close()) }()
	f := &front{entry: e, host: h}
	server, err := reg.Serve(f, h.Log)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		err = errors.Join(err, server.Close(ctx))
	}()

	opened, err := open(h.Stop)
	if err != nil {
		if h.Stop.Err() != nil {
			return fmt.Errorf("told to end before the mount was ready")
		}
		return err
	}
	e.Store, e.CacheDir = opened.Store, opened.CacheDir
	if err := reg.Update(e); err != nil {
		h.Log.Warn("the file beside the control socket is not up to date", "error", err)
	}
	d := New(opened.Mount, e, opened.ReadOnly, h)
	f.daemon.Store(d)
	h.Log.Info("mounted", "store", e.Store, "dir", e.Dir, "cache_dir", e.CacheDir, "read_only", opened.ReadOnly)
	h.Notify(fmt.Sprintf("READY=1\nSTATUS=%s on %s", e.Store, e.Dir))
	ready()
	return d.Run()
}

// AwaitFree waits for a daemon that is in the way, as inWay says, and has only to store what is left after an
// umount(8). One that is mounted is an error.
func AwaitFree(ctx context.Context, rt control.Runtime, h Host, inWay func(control.Entry) bool) error {
	all, err := rt.Find()
	if err != nil {
		return err
	}
	for _, other := range all {
		if !other.Alive || !inWay(other.Entry) {
			continue
		}
		s, err := other.Status(ctx)
		if err != nil && !other.Lives() {
			continue
		}
		if err != nil {
			return exit.With(exit.Busy, err)
		}
		if s.State != control.Unmounted {
			return exit.With(exit.Mountpoint, &control.TakenError{Entry: other.Entry})
		}
		h.Log.Info("waiting for the daemon before, which stores what is left", "pid", other.PID, "files", s.Pending.Files, "bytes", s.Pending.Bytes)
		h.Note(fmt.Sprintf("waiting for the daemon before (pid %d), which stores what is left: %d files", other.PID, s.Pending.Files))
		if err := other.WaitEnd(ctx); err != nil {
			return err
		}
	}
	return nil
}

// front is the handler of a daemon from its start: until there is a mount it says that it is starting.
type front struct {
	entry  control.Entry
	host   Host
	daemon atomic.Pointer[Daemon]
}

func (f *front) Status() control.Status {
	if d := f.daemon.Load(); d != nil {
		return d.Status()
	}
	return control.Status{Entry: f.entry, State: control.Starting, Errors: f.host.Errors()}
}

func (f *front) Flush(ctx context.Context, progress func(control.Pending)) control.Outcome {
	if d := f.daemon.Load(); d != nil {
		return d.Flush(ctx, progress)
	}
	return f.starting()
}

func (f *front) Reconcile(ctx context.Context, progress func(int64)) control.Reconciled {
	if d := f.daemon.Load(); d != nil {
		return d.Reconcile(ctx, progress)
	}
	return control.Reconciled{Error: f.starting().Error}
}

func (f *front) Umount(ctx context.Context, noWait bool, progress func(control.Pending)) control.Outcome {
	if d := f.daemon.Load(); d != nil {
		return d.Umount(ctx, noWait, progress)
	}
	return f.starting()
}

func (f *front) starting() control.Outcome {
	return control.Outcome{Result: control.Failed, Mounted: true, Error: fmt.Sprintf("the mount is still starting (pid %d): try again", f.entry.PID)}
}

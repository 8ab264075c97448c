package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"sharefs/cmd/sharefs/internal/control"
	life "sharefs/cmd/sharefs/internal/daemon"
	"sharefs/cmd/sharefs/internal/mountpoint"
	"sharefs/fusefs"
	"sharefs/fusefs/stage"
	"sharefs/fusefs/tree"
	"sharefs/provider"
	"sharefs/provider/observe"
)

// adapter shows what is mounted as the daemon and the control socket see it.
type adapter struct {
	mounted *fusefs.Mounted
	store   provider.Provider
	counts  func() observe.Snapshot
	log     *slog.Logger
	scratch string // cache directory that goes with the mount; mostly empty
}

var _ life.Mount = (*adapter)(nil)

// Report says how the mount is.
func (a *adapter) Report() life.Report {
	s, err := a.mounted.Tree().Status()
	if err != nil {
		a.log.Error("the catalog cannot tell what waits to be stored", "error", err)
	}
	return report(s, a.counts())
}

func report(s tree.Status, counts observe.Snapshot) life.Report {
	r := life.Report{
		Pending: control.Pending{Files: s.Pending.Files, Bytes: s.Pending.Bytes, Uploading: s.Pending.Running},
		Kept:    control.Kept(s.Kept),
		Cache: control.Cache{Size: s.Cache.Bytes, MaxSize: s.Cache.Limit, Memory: s.Cache.MemoryBytes,
			Hits: s.Cache.Hits, Misses: s.Cache.Misses},
		Stage:    stageReport(s.Stage),
		Space:    control.Space(s.Space),
		Requests: control.Requests{ByKind: map[string]control.RequestKind{}, InFlight: counts.InFlight},
	}
	r.Hidden, r.Foreign, r.Unsure = s.Hidden, s.Foreign, s.Unsure
	r.ReadOnly, r.Claim = s.ReadOnly, claimReport(s.Claim)
	if oldest := s.Pending.Oldest; !oldest.IsZero() {
		r.Pending.Oldest = &oldest
	}
	for _, p := range s.Stuck {
		r.Stuck = append(r.Stuck, control.Problem{Path: p.Path, Error: p.Error, Since: p.Since, Tries: p.Tries})
	}
	for _, c := range s.Conflicts {
		r.Conflicts = append(r.Conflicts, control.Conflict{Path: c.Path, Why: c.Why, Kept: c.Kept, Size: c.Size, Time: c.Time})
	}
	if reads := s.Cache.Hits + s.Cache.Misses; reads > 0 {
		r.Cache.HitRate = float64(s.Cache.Hits) / float64(reads)
	}
	for _, op := range counts.Ops {
		r.Requests.ByKind[op.Op] = control.RequestKind{Count: op.Requests, Errors: op.Failed(), BytesIn: op.BytesIn,
			BytesOut: op.BytesOut, P50ms: op.Latency.P50, P99ms: op.Latency.P99}
	}
	return r
}

func stageReport(s stage.RoomStats) control.Stage {
	r := control.Stage{Size: s.Used, MaxSize: s.Size, KeepFree: s.KeepFree, Free: s.Free, Waiting: s.Waiting, Stalled: s.Stalled}
	if !s.Since.IsZero() {
		r.Since = &s.Since
	}
	return r
}

// Flush stores what waits.
func (a *adapter) Flush(ctx context.Context) error { return a.mounted.Tree().Flush(ctx, nil) }

// Reconcile compares the catalog with the store.
func (a *adapter) Reconcile(ctx context.Context, progress func(objects int64)) (control.Reconciled, error) {
	r, err := a.mounted.Tree().Reconcile(ctx, progress)
	return control.Reconciled{Objects: r.Objects, Bytes: r.Bytes, Hidden: r.Hidden, Directories: r.Directories, Seconds: r.Duration.Seconds()}, err
}

// Unmount detaches the mount unless it is in use.
func (a *adapter) Unmount(ctx context.Context) error {
	err := a.mounted.Unmount(ctx)
	if errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("%w: %w", life.ErrBusy, err)
	}
	return err
}

// Wait returns when the mount is gone.
func (a *adapter) Wait() { a.mounted.Wait() }

// Close stores what is left and frees the cache directory. A mount that processes still use, and that could not be
// disconnected from them, is left to the end of the process: its files are on disk in any case.
func (a *adapter) Close(ctx context.Context) error {
	select {
	case <-a.mounted.Gone():
		err := errors.Join(a.mounted.Close(ctx), a.store.Close())
		if a.scratch != "" {
			err = errors.Join(err, os.RemoveAll(a.scratch))
		}
		return err
	default:
		a.log.Warn("processes still have files open, whose last changes the next mount stores")
		return nil
	}
}

// disconnect takes a mount out of the tree and breaks it off for those who use it. For a user who is not root the
// latter needs the kernel's control filesystem; where that is not mounted it happens when the process ends.
func disconnect(dir string) error {
	if os.Geteuid() == 0 {
		return os.NewSyscallError("umount2", unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
	}
	m, ok, err := mountpoint.Top(dir)
	if err != nil || !ok {
		return err
	}
	if err := fusefs.Detach(dir); err != nil {
		return err
	}
	_, minor, _ := strings.Cut(m.Device, ":")
	if _, err := strconv.Atoi(minor); err != nil {
		return fmt.Errorf("the kernel names the device of %s %q", dir, m.Device)
	}
	// See the kernel's Documentation/filesystems/fuse.rst, "The control filesystem".
	err = os.WriteFile(filepath.Join("/sys/fs/fuse/connections", minor, "abort"), []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

package daemon

import (
	"context"
	"errors"

	"sharefs/cmd/sharefs/internal/control"
)

var _ control.Handler = (*Daemon)(nil)

// Status says how the mount is.
func (d *Daemon) Status() control.Status {
	r := d.report()
	d.mu.Lock()
	state := d.state
	d.mu.Unlock()
	return control.Status{Entry: d.entry, State: state, ReadOnly: d.ro || r.ReadOnly, Claim: r.Claim, Pending: r.Pending, Stuck: r.Stuck, Kept: r.Kept, Conflicts: r.Conflicts, Cache: r.Cache, Stage: r.Stage, Space: r.Space,
		Requests: r.Requests, Hidden: r.Hidden, Foreign: r.Foreign, Unsure: r.Unsure, Errors: d.host.Errors()}
}

// Reconcile compares what the mount knows with the store.
func (d *Daemon) Reconcile(ctx context.Context, progress func(objects int64)) (found control.Reconciled) {
	err := d.whileMounted(ctx, func(ctx context.Context) (err error) {
		found, err = d.mount.Reconcile(ctx, progress)
		return err
	})
	if err != nil {
		found.Error = err.Error()
	}
	return found
}

// Flush stores everything that waits now.
func (d *Daemon) Flush(ctx context.Context, progress func(control.Pending)) control.Outcome {
	err := d.drain(ctx, progress)
	return d.stillMounted(err)
}

// stillMounted is the outcome of storing everything, while the mount stays.
func (d *Daemon) stillMounted(err error) control.Outcome {
	s := d.Status()
	out := control.Outcome{Result: control.Stored, Mounted: s.State != control.Unmounted, Left: s.Pending, Stuck: s.Stuck}
	if err != nil {
		out.Result, out.Error = control.Failed, err.Error()
	}
	return out
}

// Umount stores everything (unless noWait), unmounts, and returns when the mount is closed; Run returns then too. One
// umount runs at a time, others wait for it.
func (d *Daemon) Umount(ctx context.Context, noWait bool, progress func(control.Pending)) control.Outcome {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return d.stillMounted(ctx.Err())
	}
	if d.Status().State != control.Unmounted {
		if out, ok := d.detach(ctx, noWait, progress); !ok {
			return out
		}
	}
	if noWait {
		d.leaveNow()
	}
	return d.awaitEnd(ctx, progress)
}

// detach stores everything (unless noWait) and unmounts. Not ok means that the mount stays.
func (d *Daemon) detach(ctx context.Context, noWait bool, progress func(control.Pending)) (control.Outcome, bool) {
	if !noWait {
		d.advance(control.Draining)
		if err := d.drain(ctx, progress); err != nil {
			d.advance(control.Mounted)
			d.host.Log.Warn("not unmounted, because not everything can be stored", "error", err)
			return d.stillMounted(err), false
		}
	}
	d.setLeaving(noWait) // before: Run goes on as soon as the mount is gone
	err := d.mount.Unmount(ctx)
	if err == nil {
		return control.Outcome{}, true
	}
	d.setLeaving(false)
	d.advance(control.Mounted)
	out := d.stillMounted(err)
	if errors.Is(err, ErrBusy) {
		out.Result, out.Users = control.InUse, d.host.Users(d.entry.Dir)
	}
	d.host.Log.Warn("not unmounted", "error", err, "users", out.Users)
	return out, false
}

// awaitEnd returns the outcome of Run.
func (d *Daemon) awaitEnd(ctx context.Context, progress func(control.Pending)) control.Outcome {
	following, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		<-d.ended
		stop()
	}()
	d.follow(following, progress)
	if ctx.Err() != nil {
		return d.stillMounted(ctx.Err())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.outcome
}

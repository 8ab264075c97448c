// Package daemon is the life of a mounted store: starting, mounted, draining, unmounted, and the end. It decides what
// a signal, the umount command and a plain umount(8) do, and it is the handler behind the control socket. What is
// mounted, and how, is behind the interface Mount.
//
//   - umount command: everything is stored while the mount still works, then it is unmounted. When the store refuses
//     something, or somebody uses the mount, it stays mounted.
//   - SIGTERM, SIGINT: the same, but the daemon ends in any case. A mount that is in use is detached once everything
//     is stored; files that are open there fail from then on. What the store refused stays in the cache directory.
//   - A second signal: it ends now; what is not stored stays in the cache directory for the next mount.
//   - umount(8): the mount is gone already; everything is stored, then the daemon ends.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sharefs/cmd/sharefs/internal/control"
	"sharefs/cmd/sharefs/internal/exit"
)

// Mount is a mount that works.
type Mount interface {
	// Report says how the mount is. It does not wait for the store.
	Report() Report
	// Flush returns when everything that waited is stored, with the first error that will not go away by itself, or
	// when ctx is done.
	Flush(ctx context.Context) error
	// Reconcile compares what the mount knows with the store.
	Reconcile(ctx context.Context, progress func(objects int64)) (control.Reconciled, error)
	// Unmount detaches the mount; ErrBusy when it is in use. It does not store anything.
	Unmount(ctx context.Context) error
	// Wait returns when nothing is mounted and used any more, whoever unmounted it.
	Wait()
	// Close stores what is left until ctx is done, and frees the cache directory. Whoever still uses the mount gets
	// errors. It comes last.
	Close(ctx context.Context) error
}

// ErrBusy is the error of Mount.Unmount when a process uses the mount.
var ErrBusy = errors.New("the mount is in use")

// Report is a Mount's part of control.Status.
type Report struct {
	Pending   control.Pending
	Stuck     []control.Problem
	Kept      control.Kept
	Cache     control.Cache
	Stage     control.Stage
	Space     control.Space
	Requests  control.Requests
	Hidden    int64
	Foreign   int64 // objects of others that were replaced or deleted
	Unsure    int   // directories that are still to be listed once more
	Conflicts []control.Conflict
	ReadOnly  bool // for whatever reason
	Claim     *control.Claim
}

// Host is what a daemon needs of the machine it runs on.
type Host struct {
	Detach func(dir string) error    // takes a mount out of the tree that is in use
	Users  func(dir string) []string // who uses a mount: "name (pid)"
	Notify func(state string)        // tells the service manager, as sd_notify(3)
	Note   func(text string)         // tells who waits for the mount
	Errors func() []control.LogLine  // the last warnings and errors of the log
	Log    *slog.Logger

	// Stop is done after the first signal to end, Hurry after the second.
	Stop, Hurry context.Context
}

// Grace is how long a daemon that was told to end waits for those who use its detached mount.
const Grace = time.Second

// Daemon is a mount with its control.
type Daemon struct {
	host  Host
	mount Mount
	entry control.Entry
	ro    bool

	turn      chan struct{} // held by the umount that is under way
	unmounted chan struct{} // closed when the mount is gone
	ended     chan struct{} // closed when outcome holds
	leave     context.Context
	leaveNow  context.CancelFunc // ends storing: what is left stays
	closing   context.Context
	closeNow  context.CancelFunc // ends every drain, before the mount is closed
	drains    sync.WaitGroup     // under way; Add with mu held and only until final is set

	mu      sync.Mutex
	state   control.State   // guarded by mu
	leaving bool            // guarded by mu: an umount that does not wait is under way
	final   *Report         // guarded by mu; set before the mount is closed, which then cannot be asked
	outcome control.Outcome // guarded by mu until ended is closed
}

// New returns the daemon of a mount that works.
func New(m Mount, e control.Entry, readOnly bool, h Host) *Daemon {
	d := &Daemon{host: h, mount: m, entry: e, ro: readOnly, state: control.Mounted,
		turn: make(chan struct{}, 1), unmounted: make(chan struct{}), ended: make(chan struct{})}
	d.leave, d.leaveNow = context.WithCancel(h.Hurry)
	d.closing, d.closeNow = context.WithCancel(context.Background())
	go func() {
		m.Wait()
		d.setState(control.Unmounted)
		close(d.unmounted)
	}()
	return d
}

// Run returns when the mount is unmounted and closed. The error says what is not stored.
func (d *Daemon) Run() error {
	defer d.leaveNow()
	defer d.closeNow()
	select {
	case <-d.unmounted:
		d.host.Notify("STOPPING=1")
	case <-d.host.Stop.Done():
		d.host.Notify("STOPPING=1")
		d.stop()
	}
	out := d.finish()
	d.mu.Lock()
	d.outcome = out
	d.mu.Unlock()
	close(d.ended)
	switch out.Result {
	case control.Stored:
		d.host.Log.Info("unmounted, everything is stored", "scratch_files", out.Kept.Scratch, "scratch_bytes", out.Kept.ScratchBytes)
		return nil
	case control.Left:
		d.host.Log.Warn("unmounted as asked, not everything is stored", "files", out.Left.Files, "bytes", out.Left.Bytes, "cache_dir", d.entry.CacheDir)
		return nil
	}
	err := exit.Errorf(exit.NotStored, "%s is unmounted, but %d files (%d bytes) are not stored: %s: they are kept in %s for the next mount",
		d.entry.Dir, out.Left.Files, out.Left.Bytes, out.Error, d.entry.CacheDir)
	d.host.Log.Error(err.Error())
	return err
}

// stop ends the mount after a signal, in any case.
func (d *Daemon) stop() {
	d.host.Log.Info("told to end: storing what is not stored; a second signal leaves it to the next mount")
	d.advance(control.Draining)
	if err := d.drain(d.leave, func(control.Pending) {}); err != nil {
		d.host.Log.Warn("not everything is stored", "error", err)
	}
	select {
	case <-d.unmounted: // by somebody else, meanwhile
		return
	default:
	}
	if err := d.mount.Unmount(d.host.Hurry); errors.Is(err, ErrBusy) {
		d.host.Log.Warn("the mount is in use: it is detached, and files that are open there fail from now on", "users", d.host.Users(d.entry.Dir))
		if err := d.host.Detach(d.entry.Dir); err != nil {
			d.host.Log.Error("the mount cannot be detached", "error", err)
		}
	} else if err != nil {
		d.host.Log.Error("the mount cannot be unmounted", "error", err)
	}
	select {
	case <-d.unmounted:
	case <-d.host.Hurry.Done():
	case <-time.After(Grace):
	}
}

// finish stores what is left after unmounting, and closes the mount.
func (d *Daemon) finish() control.Outcome {
	if d.isLeaving() {
		d.leaveNow()
	}
	var err error
	if p := d.report().Pending; p.Files > 0 && d.leave.Err() == nil {
		d.host.Log.Info("storing what is left", "files", p.Files, "bytes", p.Bytes)
		err = d.drain(d.leave, func(control.Pending) {})
	}
	last := d.report()
	d.mu.Lock()
	d.final = &last
	d.mu.Unlock()
	d.closeNow()
	d.drains.Wait()
	ctx, cancel := context.WithCancel(d.host.Hurry)
	defer cancel()
	if last.Pending.Files > 0 {
		cancel() // it has been tried, or shall not be: Close need not try again
	}
	out := control.Outcome{Result: control.Stored, Left: last.Pending, Kept: last.Kept, Stuck: last.Stuck}
	closeErr := d.mount.Close(ctx)
	switch {
	case last.Pending.Files > 0 && d.leave.Err() != nil && d.host.Hurry.Err() == nil:
		out.Result = control.Left
	case last.Pending.Files > 0:
		out.Result, out.Error = control.Failed, reason(err, d.leave.Err(), last.Stuck)
	case closeErr != nil:
		out.Result, out.Error = control.Failed, closeErr.Error()
	}
	return out
}

// reason says why files are left.
func reason(err, left error, stuck []control.Problem) string {
	switch {
	case left != nil:
		return "told not to wait"
	case len(stuck) > 0:
		return fmt.Sprintf("%s: %s", stuck[0].Path, stuck[0].Error)
	case err != nil:
		return err.Error()
	}
	return "they changed while the mount was closed"
}

// logEvery is the pace of progress in the log, tellEvery that of what a command sees.
const (
	logEvery  = 5 * time.Second
	tellEvery = 200 * time.Millisecond
)

// errUnmounted is the error of storing when somebody else has unmounted meanwhile.
var errUnmounted = errors.New("it has been unmounted meanwhile")

// drain stores everything, while it tells how far that is.
func (d *Daemon) drain(ctx context.Context, progress func(control.Pending)) error {
	following, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	log := drainLog{host: d.host, logged: time.Now(), least: -1}
	go func() {
		defer close(stopped)
		d.follow(following, func(p control.Pending) {
			progress(p)
			log.line(p)
		})
	}()
	err := d.whileMounted(ctx, d.mount.Flush)
	stop()
	<-stopped
	return err
}

// whileMounted does something that takes time with the mount, which is not closed before it has ended.
func (d *Daemon) whileMounted(ctx context.Context, f func(context.Context) error) error {
	d.mu.Lock()
	if d.final != nil {
		d.mu.Unlock()
		return errUnmounted
	}
	d.drains.Add(1)
	d.mu.Unlock()
	defer d.drains.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(d.closing, func() { cancel(errUnmounted) })()
	err := f(ctx)
	if err != nil && context.Cause(ctx) == errUnmounted {
		return errUnmounted
	}
	return err
}

// follow calls progress with what is pending, at once and then every tellEvery, until ctx is done.
func (d *Daemon) follow(ctx context.Context, progress func(control.Pending)) {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		progress(d.report().Pending)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// drainLog tells the log and the service manager how far draining is.
type drainLog struct {
	host   Host
	logged time.Time
	least  int64 // bytes that were pending at the least; -1: not known yet
}

// line writes, every logEvery. The service manager is asked for more time as long as there is less and less to store.
func (l *drainLog) line(p control.Pending) {
	now := time.Now()
	if now.Sub(l.logged) < logEvery {
		return
	}
	l.logged = now
	l.host.Log.Info("storing", "files", p.Files, "bytes", p.Bytes, "uploading", p.Uploading)
	l.host.Notify(fmt.Sprintf("STATUS=storing %d files, %d bytes", p.Files, p.Bytes))
	if l.least < 0 || p.Bytes < l.least {
		l.least = p.Bytes
		l.host.Notify("EXTEND_TIMEOUT_USEC=60000000")
	}
}

// report asks the mount, or returns what it said last before it was closed.
func (d *Daemon) report() Report {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.final != nil {
		return *d.final
	}
	return d.mount.Report()
}

func (d *Daemon) setState(s control.State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state = s
}

// advance goes from Mounted to Draining, or back; from Unmounted nothing leads back.
func (d *Daemon) advance(s control.State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state != control.Unmounted {
		d.state = s
	}
}

func (d *Daemon) setLeaving(leaving bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaving = leaving
}

func (d *Daemon) isLeaving() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.leaving
}

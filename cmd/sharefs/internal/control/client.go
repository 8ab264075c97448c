package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// AnswerTimeout is how long a daemon may take to begin an answer before it counts as hanging.
const AnswerTimeout = 5 * time.Second

// client returns an HTTP client to the daemon.
func (d Daemon) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives:     true,
		ResponseHeaderTimeout: AnswerTimeout,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			address, release, err := socketAddress(d.base + ".sock")
			if err != nil {
				return nil, err
			}
			defer release()
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", address)
		},
	}}
}

// Status asks the daemon.
func (d Daemon) Status(ctx context.Context) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, AnswerTimeout)
	defer cancel()
	body, err := d.request(ctx, http.MethodGet, "/v1/status")
	if err != nil {
		return Status{}, err
	}
	defer body.Close()
	var s Status
	if err := json.NewDecoder(body).Decode(&s); err != nil {
		return Status{}, d.silent(err)
	}
	return s, nil
}

// Flush has the daemon store everything that waits now.
func (d Daemon) Flush(ctx context.Context, progress func(Pending)) (Outcome, error) {
	return d.store(ctx, "/v1/flush", progress)
}

// Reconcile has the daemon compare what it knows with the store.
func (d Daemon) Reconcile(ctx context.Context, progress func(objects int64)) (found Reconciled, err error) {
	err = d.stream(ctx, "/v1/reconcile", func(e Event) (done bool) {
		if e.Reconciled != nil {
			found = *e.Reconciled
		} else {
			progress(e.Objects)
		}
		return e.Reconciled != nil
	})
	return found, err
}

// Umount has the daemon store everything and unmount, or with noWait just unmount. When it returns with an outcome
// that is not Mounted, the daemon has ended and its cache directory is free.
func (d Daemon) Umount(ctx context.Context, noWait bool, progress func(Pending)) (Outcome, error) {
	end, err := d.watchEnd()
	if err != nil {
		return Outcome{}, err
	}
	defer end.close()
	out, err := d.store(ctx, fmt.Sprintf("/v1/umount?no_wait=%v", noWait), progress)
	if err != nil || out.Mounted {
		return out, err
	}
	return out, end.wait(ctx)
}

// store sends an order to store what waits, and follows it.
func (d Daemon) store(ctx context.Context, path string, progress func(Pending)) (out Outcome, err error) {
	err = d.stream(ctx, path, func(e Event) (done bool) {
		if e.Done != nil {
			out = *e.Done
		} else if e.Progress != nil && progress != nil {
			progress(*e.Progress)
		}
		return e.Done != nil
	})
	return out, err
}

// stream sends an order and follows what becomes of it, until event returns true. A daemon that hangs is not sent any: it
// would find it in its socket when it goes on, long after the user has turned to something else.
func (d Daemon) stream(ctx context.Context, path string, event func(Event) (done bool)) error {
	if _, err := d.Status(ctx); err != nil {
		return err
	}
	body, err := d.request(ctx, http.MethodPost, path)
	if err != nil {
		return err
	}
	defer body.Close()
	for dec := json.NewDecoder(body); ; {
		var e Event
		if err := dec.Decode(&e); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("the daemon of %s (pid %d) broke off: %w: look into its log%s", d.Dir, d.PID, err, d.logName())
		}
		if event(e) {
			return nil
		}
	}
}

func (d Daemon) request(ctx context.Context, method, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://daemon"+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := d.client().Do(req)
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, ctx.Err()
		}
		return nil, d.silent(err)
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return nil, fmt.Errorf("the daemon of %s (pid %d, version %s) does not know %s: it is of another version than this command", d.Dir, d.PID, d.Version, path)
	}
	return res.Body, nil
}

// SilentError says that a daemon that lives does not answer.
type SilentError struct {
	Daemon Daemon
	Err    error
}

// Error names the daemon and says what to do.
func (e *SilentError) Error() string {
	return fmt.Sprintf("the daemon of %s (pid %d) lives but does not answer (%v): look into its log%s; if it hangs, kill it and run sharefs umount %s",
		e.Daemon.Dir, e.Daemon.PID, cause(e.Err), e.Daemon.logName(), e.Daemon.Dir)
}

// Unwrap returns the cause.
func (e *SilentError) Unwrap() error { return e.Err }

func (d Daemon) silent(err error) error {
	if !d.Lives() {
		return fmt.Errorf("the daemon of %s (pid %d) has just ended", d.Dir, d.PID)
	}
	return &SilentError{d, err}
}

func (d Daemon) logName() string {
	if d.LogFile == "" {
		return ""
	}
	return " " + d.LogFile
}

// cause leaves out the made-up URL of a request.
func cause(err error) error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		var errno syscall.Errno
		if errors.As(inner, &errno) {
			return errno
		}
	}
	if os.IsTimeout(err) {
		return fmt.Errorf("no answer within %v", AnswerTimeout)
	}
	return err
}

// end watches for the end of a daemon's process.
type end struct{ pidfd int }

// watchEnd begins to watch, before the daemon is told to end.
func (d Daemon) watchEnd() (end, error) {
	fd, err := unix.PidfdOpen(d.PID, 0)
	if err != nil {
		return end{}, fmt.Errorf("the daemon of %s (pid %d): %w", d.Dir, d.PID, err)
	}
	return end{fd}, nil
}

// wait returns when the process has ended.
func (e end) wait(ctx context.Context) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(e.pidfd), Events: unix.POLLIN}}, 100)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (e end) close() { _ = unix.Close(e.pidfd) }

// WaitEnd returns when the daemon's process has ended.
func (d Daemon) WaitEnd(ctx context.Context) error {
	end, err := d.watchEnd()
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer end.close()
	return end.wait(ctx)
}

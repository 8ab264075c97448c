package daemon

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sharefs/cmd/sharefs/internal/control"
	"sharefs/cmd/sharefs/internal/exit"
)

// fakeMount is a mount whose store takes files when it is told to.
type fakeMount struct {
	mu      sync.Mutex
	files   int
	refuses error         // the store's answer to a flush
	hangs   bool          // the store does not answer
	busy    bool          // a process uses it
	gone    chan struct{} // closed when it is unmounted
	calls   []string
	closed  context.Context // of Close
}

func newFake(files int) *fakeMount { return &fakeMount{files: files, gone: make(chan struct{})} }

func (m *fakeMount) called(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, name)
}

func (m *fakeMount) Report() Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed != nil {
		panic("a closed mount was asked")
	}
	r := Report{Pending: control.Pending{Files: m.files, Bytes: int64(m.files)}}
	if m.refuses != nil && m.files > 0 {
		r.Stuck = []control.Problem{{Path: "a", Error: m.refuses.Error()}}
	}
	return r
}

func (m *fakeMount) Flush(ctx context.Context) error {
	m.called("flush")
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.closed != nil {
			panic("the mount was closed during a flush")
		}
	}()
	if m.hangs {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuses != nil {
		return m.refuses
	}
	m.files = 0
	return nil
}

func (m *fakeMount) Reconcile(ctx context.Context, progress func(int64)) (control.Reconciled, error) {
	m.called("reconcile")
	progress(1)
	if m.hangs {
		<-ctx.Done()
	}
	return control.Reconciled{Objects: 1}, ctx.Err()
}

func (m *fakeMount) Unmount(context.Context) error {
	m.called("unmount")
	if m.busy {
		return ErrBusy
	}
	m.vanish()
	return nil
}

// vanish is what umount(8) does.
func (m *fakeMount) vanish() { close(m.gone) }

func (m *fakeMount) Wait() { <-m.gone }

func (m *fakeMount) Close(ctx context.Context) error {
	m.called("close")
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = ctx
	return nil
}

// scene is a daemon that runs, with the user's two signals.
type scene struct {
	*Daemon
	mount       *fakeMount
	ctx         context.Context // of the bubble
	stop, hurry context.CancelFunc
	detached    []string
	notes       []string
	ended       chan error
}

// play runs the daemon of m in a synctest bubble; act does what happens, and must lead to the end of the daemon,
// whose error play returns.
func play(t *testing.T, m *fakeMount, act func(s *scene)) (err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{mount: m, ctx: t.Context(), ended: make(chan error, 1)}
		h := Host{
			Detach: func(dir string) error { s.detached = append(s.detached, dir); return nil },
			Users:  func(string) []string { return []string{"sh (7)"} },
			Notify: func(state string) { s.notes = append(s.notes, state) },
			Note:   func(string) {},
			Errors: func() []control.LogLine { return nil },
			Log:    slog.New(slog.DiscardHandler),
		}
		h.Stop, s.stop = context.WithCancel(t.Context())
		h.Hurry, s.hurry = context.WithCancel(t.Context())
		m.gone = make(chan struct{}) // of this bubble
		s.Daemon = New(m, control.Entry{Dir: "/mnt/a", CacheDir: "/c"}, false, h)
		go func() { s.ended <- s.Run() }()
		act(s)
		err = <-s.ended
		select {
		case <-m.gone:
		default:
			close(m.gone) // the end of the process
		}
		s.stop()
		s.hurry()
		if m.closed == nil {
			t.Error("the mount was not closed")
		}
	})
	return err
}

func ignore(control.Pending) {}

func checkCalls(t *testing.T, m *fakeMount, want string) {
	t.Helper()
	if got := strings.Join(m.calls, " "); got != want {
		t.Errorf("calls: %s, want %s", got, want)
	}
}

func TestUmountStoresThenUnmountsThenCloses(t *testing.T) {
	m := newFake(3)
	err := play(t, m, func(s *scene) {
		if out := s.Umount(s.ctx, false, ignore); out.Result != control.Stored || out.Mounted {
			t.Errorf("outcome %+v", out)
		}
	})
	if err != nil {
		t.Error(err)
	}
	checkCalls(t, m, "flush unmount close")
}

func TestUmountThatTheStoreRefusesLeavesTheMount(t *testing.T) {
	m := newFake(3)
	m.refuses = errors.New("access denied")
	err := play(t, m, func(s *scene) {
		out := s.Umount(s.ctx, false, ignore)
		if out.Result != control.Failed || !out.Mounted || out.Left.Files != 3 || out.Error != "access denied" || len(out.Stuck) != 1 {
			t.Errorf("outcome %+v", out)
		}
		if st := s.Status(); st.State != control.Mounted {
			t.Errorf("state %s", st.State)
		}
		m.mu.Lock()
		m.refuses = nil // somebody mends the store
		m.mu.Unlock()
		if out := s.Umount(s.ctx, false, ignore); out.Result != control.Stored || out.Mounted {
			t.Errorf("the second time: %+v", out)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func TestUmountOfAMountInUseNamesTheUsersAndLeavesIt(t *testing.T) {
	m := newFake(3)
	m.busy = true
	_ = play(t, m, func(s *scene) {
		out := s.Umount(s.ctx, false, ignore)
		if out.Result != control.InUse || !out.Mounted || out.Left.Files != 0 || !slices.Equal(out.Users, []string{"sh (7)"}) {
			t.Errorf("outcome %+v", out)
		}
		if st := s.Status(); st.State != control.Mounted {
			t.Errorf("state %s", st.State)
		}
		s.stop()
	})
}

func TestUmountWithoutWaitingSaysWhatIsLeft(t *testing.T) {
	m := newFake(3)
	m.hangs = true
	err := play(t, m, func(s *scene) {
		out := s.Umount(s.ctx, true, ignore)
		if out.Result != control.Left || out.Mounted || out.Left.Files != 3 {
			t.Errorf("outcome %+v", out)
		}
	})
	if err != nil {
		t.Errorf("what was asked for is no error: %v", err)
	}
	if m.closed.Err() == nil {
		t.Error("Close was told to wait")
	}
}

func TestUmountShowsProgress(t *testing.T) {
	m := newFake(3)
	m.hangs = true
	_ = play(t, m, func(s *scene) {
		ctx, cancel := context.WithCancel(s.ctx)
		seen := 0
		out := s.Umount(ctx, false, func(p control.Pending) {
			if p.Files != 3 {
				t.Errorf("progress %+v", p)
			}
			if seen++; seen == 10 {
				cancel() // the user's ^C
			}
		})
		if out.Result != control.Failed || !out.Mounted {
			t.Errorf("outcome %+v", out)
		}
		if s.Status().State != control.Mounted {
			t.Error("an umount that was given up has unmounted")
		}
		s.hurry()
		s.stop()
	})
}

func TestTwoUmountsAtATimeBothSeeTheEnd(t *testing.T) {
	m := newFake(3)
	err := play(t, m, func(s *scene) {
		outs := make(chan control.Outcome, 2)
		for range 2 {
			go func() { outs <- s.Umount(s.ctx, false, ignore) }()
		}
		for range 2 {
			if out := <-outs; out.Result != control.Stored || out.Mounted {
				t.Errorf("outcome %+v", out)
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
	checkCalls(t, m, "flush unmount close")
}

func TestPlainUmountStoresWhatIsLeft(t *testing.T) {
	m := newFake(3)
	err := play(t, m, func(*scene) { m.vanish() })
	if err != nil {
		t.Error(err)
	}
	checkCalls(t, m, "flush close")
}

func TestPlainUmountOfWhatTheStoreRefusesSaysSo(t *testing.T) {
	m := newFake(3)
	m.refuses = errors.New("access denied")
	err := play(t, m, func(*scene) { m.vanish() })
	if exit.CodeOf(err) != exit.NotStored {
		t.Errorf("exit code %d", exit.CodeOf(err))
	}
	for _, part := range []string{"/mnt/a", "3 files", "a: access denied", "/c"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %s", err, part)
		}
	}
}

func TestSignalStoresAndUnmounts(t *testing.T) {
	m := newFake(3)
	err := play(t, m, func(s *scene) { s.stop() })
	if err != nil {
		t.Error(err)
	}
	checkCalls(t, m, "flush unmount close")
}

func TestSignalDetachesAMountInUse(t *testing.T) {
	m := newFake(3)
	m.busy = true
	var s *scene
	err := play(t, m, func(now *scene) { s = now; s.stop() })
	if err != nil {
		t.Error(err)
	}
	if !slices.Equal(s.detached, []string{"/mnt/a"}) {
		t.Errorf("detached %v", s.detached)
	}
	checkCalls(t, m, "flush unmount close")
}

func TestSignalEndsTheDaemonEvenIfTheStoreRefuses(t *testing.T) {
	m := newFake(3)
	m.refuses = errors.New("access denied")
	err := play(t, m, func(s *scene) { s.stop() })
	if exit.CodeOf(err) != exit.NotStored || !strings.Contains(err.Error(), "a: access denied") {
		t.Errorf("got %v", err)
	}
}

func TestSecondSignalStopsWaiting(t *testing.T) {
	for _, c := range []struct {
		name  string
		first func(*scene)
	}{
		{"after a first one", func(s *scene) { s.stop() }},
		{"after umount(8)", func(s *scene) { s.mount.vanish(); s.stop() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newFake(3)
			m.hangs = true
			err := play(t, m, func(s *scene) {
				c.first(s)
				time.Sleep(time.Hour) // of the bubble
				select {
				case err := <-s.ended:
					t.Fatalf("it did not wait for the store: %v", err)
				default:
				}
				s.hurry()
			})
			if exit.CodeOf(err) != exit.NotStored || !strings.Contains(err.Error(), "3 files") || !strings.Contains(err.Error(), "told not to wait") {
				t.Errorf("got %v", err)
			}
			if m.closed.Err() == nil {
				t.Error("Close was told to wait")
			}
		})
	}
}

func TestServiceManagerIsGivenMoreTimeOnlyWhileThereIsProgress(t *testing.T) {
	m := newFake(3)
	m.hangs = true
	var s *scene
	_ = play(t, m, func(now *scene) {
		s = now
		s.stop()
		time.Sleep(logEvery + time.Second)
		m.mu.Lock()
		m.files = 2
		m.mu.Unlock()
		time.Sleep(time.Hour)
		s.hurry()
	})
	extended := 0
	for _, n := range s.notes {
		if strings.HasPrefix(n, "EXTEND_TIMEOUT_USEC=") {
			extended++
		}
	}
	if s.notes[0] != "STOPPING=1" || extended != 2 {
		t.Errorf("told %d times to extend: %q", extended, s.notes[:3])
	}
}

func TestFlushThatIsUnderWayEndsBeforeTheMountIsClosed(t *testing.T) {
	m := newFake(3)
	m.hangs = true
	_ = play(t, m, func(s *scene) {
		out := make(chan control.Outcome)
		go func() { out <- s.Flush(s.ctx, ignore) }()
		synctest.Wait()
		if out := s.Umount(s.ctx, true, ignore); out.Result != control.Left {
			t.Errorf("umount: %+v", out)
		}
		if out := <-out; out.Result != control.Failed || out.Error != errUnmounted.Error() || out.Mounted {
			t.Errorf("flush: %+v", out)
		}
		if out := s.Flush(s.ctx, ignore); out.Result != control.Failed {
			t.Errorf("a flush afterwards: %+v", out)
		}
	})
}

package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sharefs/cmd/sharefs/internal/control"
	"sharefs/cmd/sharefs/internal/exit"
)

// stage is where daemons are served: a runtime directory and a way to end them.
type stage struct {
	rt    control.Runtime
	host  Host
	stop  context.CancelFunc
	notes []string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	s := &stage{rt: control.Runtime{Own: dir, Search: []string{dir}}}
	s.host = Host{
		Detach: func(string) error { return nil },
		Users:  func(string) []string { return nil },
		Notify: func(string) {},
		Note:   func(text string) { s.notes = append(s.notes, text) },
		Errors: func() []control.LogLine { return nil },
		Log:    slog.New(slog.DiscardHandler),
		Hurry:  t.Context(),
	}
	s.host.Stop, s.stop = context.WithCancel(t.Context())
	t.Cleanup(func() {
		if left, err := os.ReadDir(dir); err == nil && len(left) > 0 {
			t.Errorf("left in the runtime directory: %v", left)
		}
	})
	return s
}

// find returns the daemon that is registered, as a command sees it.
func (s *stage) find(t *testing.T) control.Daemon {
	t.Helper()
	all, err := s.rt.Find()
	if err != nil || len(all) != 1 {
		t.Fatalf("found %v, %v", all, err)
	}
	return all[0]
}

func entry(dir string) control.Entry { return control.Entry{PID: os.Getpid(), Dir: dir, Store: "mem:"} }

func TestServeIsReadyWhenTheMountWorksAndEndsWithIt(t *testing.T) {
	s, m := newStage(t), newFake(0)
	ready := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(s.rt, entry("/mnt/a"), s.host, func(context.Context) (Opened, error) {
			if st, err := s.find(t).Status(t.Context()); err != nil || st.State != control.Starting {
				t.Errorf("while it opens: %s, %v", st.State, err)
			}
			if out, err := s.find(t).Flush(t.Context(), nil); err != nil || out.Result != control.Failed || !strings.Contains(out.Error, "still starting") {
				t.Errorf("a flush while it opens: %+v, %v", out, err)
			}
			return Opened{Mount: m, Store: "mem:x", CacheDir: "/c", ReadOnly: true}, nil
		}, func() { close(ready) })
	}()
	<-ready
	st, err := s.find(t).Status(t.Context())
	if err != nil || st.State != control.Mounted || st.Store != "mem:x" || st.CacheDir != "/c" || !st.ReadOnly {
		t.Errorf("status %+v, %v", st, err)
	}
	m.vanish()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestServeReturnsWhyTheStoreCannotBeOpened(t *testing.T) {
	s := newStage(t)
	err := Serve(s.rt, entry("/mnt/a"), s.host, func(context.Context) (Opened, error) {
		return Opened{}, exit.Errorf(exit.Store, "no such bucket")
	}, func() { t.Error("ready") })
	if exit.CodeOf(err) != exit.Store || err.Error() != "no such bucket" {
		t.Errorf("got %v", err)
	}
}

func TestServeCanBeToldToEndWhileItOpens(t *testing.T) {
	s := newStage(t)
	err := Serve(s.rt, entry("/mnt/a"), s.host, func(ctx context.Context) (Opened, error) {
		s.stop()
		<-ctx.Done()
		return Opened{}, ctx.Err()
	}, func() { t.Error("ready") })
	if err == nil || !strings.Contains(err.Error(), "told to end") {
		t.Errorf("got %v", err)
	}
}

// other registers a daemon of this process whose status is st.
func (s *stage) other(t *testing.T, st control.Status) {
	t.Helper()
	r, err := control.Register(s.rt.Own, st.Entry)
	if err != nil {
		t.Fatal(err)
	}
	server, err := r.Serve(says(st), s.host.Log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(server.Close(context.Background()), r.Close()); err != nil {
			t.Error(err)
		}
	})
}

// says is a daemon that has nothing but a status.
type says control.Status

func (s says) Status() control.Status { return control.Status(s) }
func (s says) Flush(context.Context, func(control.Pending)) control.Outcome {
	panic("not asked")
}
func (s says) Umount(context.Context, bool, func(control.Pending)) control.Outcome {
	panic("not asked")
}
func (s says) Reconcile(context.Context, func(int64)) control.Reconciled { panic("not asked") }

func TestAMountThatIsThereIsNotWaitedFor(t *testing.T) {
	s := newStage(t)
	s.other(t, control.Status{Entry: entry("/mnt/a"), State: control.Mounted})
	err := Serve(s.rt, entry("/mnt/a"), s.host, nil, nil)
	var taken *control.TakenError
	if !errors.As(err, &taken) || exit.CodeOf(err) != exit.Mountpoint {
		t.Errorf("got %v", err)
	}
}

func TestADaemonThatStoresWhatIsLeftIsWaitedFor(t *testing.T) {
	s := newStage(t)
	// The other is this process, which does not end: so it is waited for until the user gives up.
	s.other(t, control.Status{Entry: entry("/mnt/a"), State: control.Unmounted, Pending: control.Pending{Files: 3}})
	ctx, cancel := context.WithCancel(t.Context())
	s.host.Note = func(text string) {
		s.notes = append(s.notes, text)
		cancel()
	}
	err := AwaitFree(ctx, s.rt, s.host, func(e control.Entry) bool { return e.Dir == "/mnt/a" })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if len(s.notes) != 1 || !strings.Contains(s.notes[0], "3 files") {
		t.Errorf("notes %q", s.notes)
	}
	if err := AwaitFree(t.Context(), s.rt, s.host, func(e control.Entry) bool { return e.Dir == "/mnt/b" }); err != nil {
		t.Errorf("another directory: %v", err)
	}
}

package control

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a daemon that does what it is told.
type fake struct {
	status Status
	work   func(ctx context.Context, progress func(Pending)) Outcome
	noWait bool
}

func (f *fake) Status() Status { return f.status }
func (f *fake) Flush(ctx context.Context, progress func(Pending)) Outcome {
	return f.work(ctx, progress)
}
func (f *fake) Umount(ctx context.Context, noWait bool, progress func(Pending)) Outcome {
	f.noWait = noWait
	return f.work(ctx, progress)
}
func (f *fake) Reconcile(_ context.Context, progress func(int64)) Reconciled {
	progress(1000)
	return Reconciled{Objects: 1500, Directories: 2}
}

// serve registers and serves f as the daemon of dir until the test ends, and returns how commands see it.
func serve(t *testing.T, runtimeDir, dir string, f *fake) Daemon {
	t.Helper()
	f.status.Entry = Entry{PID: os.Getpid(), Dir: dir, Store: "mem:", CacheDir: "/c"}
	r, err := Register(runtimeDir, f.status.Entry)
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.Serve(f, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(s.Close(ctx), r.Close()); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(runtimeDir); err != nil || len(left) > 0 {
			t.Errorf("left in the runtime directory: %v, %v", left, err)
		}
	})
	return one(t, runtimeDir)
}

// one returns the one daemon in a runtime directory.
func one(t *testing.T, runtimeDir string) Daemon {
	t.Helper()
	all, err := Runtime{Search: []string{runtimeDir}}.Find()
	if err != nil || len(all) != 1 {
		t.Fatalf("found %v, %v, want one daemon", all, err)
	}
	return all[0]
}

func TestStatusOfADaemon(t *testing.T) {
	for _, c := range []struct{ name, dir string }{
		{"in a short runtime directory", "run"},
		{"in one too long for the name of a socket", strings.Repeat("long/", 40)},
	} {
		t.Run(c.name, func(t *testing.T) {
			oldest := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
			f := &fake{status: Status{State: Mounted, Pending: Pending{Files: 3, Bytes: 7, Oldest: &oldest}}}
			d := serve(t, filepath.Join(t.TempDir(), c.dir), "/mnt/a", f)
			if !d.Alive || d.Dir != "/mnt/a" || d.CacheDir != "/c" {
				t.Errorf("found %+v", d)
			}
			s, err := d.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if s.Dir != "/mnt/a" || s.State != Mounted || s.Pending.Files != 3 || !s.Pending.Oldest.Equal(oldest) {
				t.Errorf("got %+v", s)
			}
		})
	}
}

func TestFlushTellsProgressAndOutcome(t *testing.T) {
	f := &fake{work: func(_ context.Context, progress func(Pending)) Outcome {
		progress(Pending{Files: 2})
		progress(Pending{Files: 1})
		return Outcome{Result: Failed, Mounted: true, Error: "no", Stuck: []Problem{{Path: "a", Error: "no"}}}
	}}
	d := serve(t, filepath.Join(t.TempDir(), "run"), "/mnt/a", f)
	var seen []int
	out, err := d.Flush(t.Context(), func(p Pending) { seen = append(seen, p.Files) })
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2 || seen[0] != 2 || seen[1] != 1 {
		t.Errorf("progress %v", seen)
	}
	if out.Result != Failed || !out.Mounted || out.Error != "no" || len(out.Stuck) != 1 {
		t.Errorf("outcome %+v", out)
	}
}

func TestReconcileTellsWhatItFound(t *testing.T) {
	d := serve(t, t.TempDir(), "/mnt/a", &fake{})
	var seen []int64
	found, err := d.Reconcile(t.Context(), func(n int64) { seen = append(seen, n) })
	if err != nil || found != (Reconciled{Objects: 1500, Directories: 2}) || len(seen) != 1 || seen[0] != 1000 {
		t.Errorf("%+v, %v, progress %v", found, err, seen)
	}
}

func TestUmountSaysWhetherToWait(t *testing.T) {
	f := &fake{work: func(context.Context, func(Pending)) Outcome { return Outcome{Result: InUse, Mounted: true} }}
	d := serve(t, filepath.Join(t.TempDir(), "run"), "/mnt/a", f)
	for _, noWait := range []bool{true, false} {
		if _, err := d.Umount(t.Context(), noWait, nil); err != nil || f.noWait != noWait {
			t.Errorf("no_wait %v arrived as %v (%v)", noWait, f.noWait, err)
		}
	}
}

func TestACommandThatGoesAwayEndsItsWork(t *testing.T) {
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	f := &fake{work: func(ctx context.Context, progress func(Pending)) Outcome {
		progress(Pending{Files: 1})
		<-ctx.Done()
		ended <- ctx.Err()
		return Outcome{Result: Failed, Mounted: true}
	}}
	d := serve(t, filepath.Join(t.TempDir(), "run"), "/mnt/a", f)
	if _, err := d.Flush(ctx, func(Pending) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("the command got %v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the daemon got %v", err)
	}
}

func TestTwoDaemonsCannotHaveOneMountpoint(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	serve(t, dir, "/mnt/a", &fake{})
	_, err := Register(dir, Entry{PID: 1, Dir: "/mnt/a"})
	var taken *TakenError
	if !errors.As(err, &taken) || taken.Entry.PID != os.Getpid() {
		t.Fatalf("got %v, want a TakenError with this process", err)
	}
	other, err := Register(dir, Entry{PID: 1, Dir: "/mnt/b"})
	if err != nil {
		t.Fatalf("another mountpoint: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}

// kill leaves what a daemon that was killed leaves: its files, without the lock.
func kill(t *testing.T, runtimeDir, dir string) {
	t.Helper()
	r, err := Register(runtimeDir, Entry{PID: 1, Dir: dir, CacheDir: "/c"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := listen(r.base + ".sock")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Close(), r.file.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(r.base + ".sock"); err != nil {
		t.Fatalf("this test needs a stale socket: %v", err)
	}
}

func TestAKilledDaemonIsFoundAndForgotten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	kill(t, dir, "/mnt/a")
	d := one(t, dir)
	if d.Alive || d.CacheDir != "/c" {
		t.Errorf("found %+v", d)
	}
	if err := d.Forget(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := d.Forget(); err != nil {
		t.Errorf("once more: %v", err)
	}
}

func TestANewDaemonTakesThePlaceOfAKilledOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	kill(t, dir, "/mnt/a")
	dead := one(t, dir)
	d := serve(t, dir, "/mnt/a", &fake{status: Status{State: Mounted}})
	if err := dead.Forget(); err != nil {
		t.Fatal(err)
	}
	if s, err := d.Status(t.Context()); err != nil || s.PID != os.Getpid() {
		t.Errorf("the new daemon: %+v, %v", s, err)
	}
}

func TestADaemonThatHangsIsNamed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	r, err := Register(dir, Entry{PID: 4711, Dir: "/mnt/a", LogFile: "/l"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l, err := listen(r.base + ".sock") // connects, and nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // instead of AnswerTimeout
	defer cancel()
	_, err = one(t, dir).Status(ctx)
	var silent *SilentError
	if !errors.As(err, &silent) {
		t.Fatalf("got %v, want a SilentError", err)
	}
	for _, part := range []string{"/mnt/a", "4711", "/l", "no answer within"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %s", err, part)
		}
	}
}

func TestSocketIsForItsUserOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	d := serve(t, dir, "/mnt/a", &fake{})
	for name, want := range map[string]os.FileMode{dir: 0o700, d.base + ".sock": 0o600, d.base + ".pid": 0o600} {
		if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: mode %v (%v), want %v", name, fi.Mode().Perm(), err, want)
		}
	}
	for _, c := range []struct {
		peer uint32
		own  int
		want bool
	}{{1000, 1000, true}, {0, 1000, true}, {1001, 1000, false}, {1000, 0, false}, {0, 0, true}} {
		if got := mayTalk(c.peer, c.own); got != c.want {
			t.Errorf("user %d to a daemon of user %d: %v", c.peer, c.own, got)
		}
	}
}

func TestRuntimeDirectories(t *testing.T) {
	run := t.TempDir()
	own := filepath.Join(run, "user", "0")
	if err := os.MkdirAll(own, 0o700); err != nil {
		t.Fatal(err)
	}
	xdg := t.TempDir()
	uid := os.Geteuid()
	for _, c := range []struct {
		name string
		dir  string
		env  map[string]string
		want string
	}{
		{"one given", "/given", map[string]string{"XDG_RUNTIME_DIR": xdg}, "/given"},
		{"XDG", "", map[string]string{"XDG_RUNTIME_DIR": xdg}, xdg + "/sharefs"},
		{"XDG that is not there", "", map[string]string{"XDG_RUNTIME_DIR": "/no/such"}, run + "/sharefs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := func(name string) (string, bool) { v, ok := c.env[name]; return v, ok }
			r, err := FindRuntime(RuntimeOptions{Dir: c.dir, Env: env, UID: uid, Run: run})
			if uid != 0 && c.want == run+"/sharefs" {
				c.want = filepath.Join(run, "user", "0", "sharefs")
			}
			if err != nil || r.Own != c.want {
				t.Errorf("got %q, %v, want %q", r.Own, err, c.want)
			}
		})
	}
	if _, err := FindRuntime(RuntimeOptions{Env: func(string) (string, bool) { return "", false }, UID: 12345, Run: run}); err == nil {
		t.Error("a user without any place: no error")
	}
}

func TestSomebodyElsesRuntimeDirectoryIsRefused(t *testing.T) {
	dir := "/" // of root
	if os.Geteuid() == 0 {
		dir = t.TempDir()
		if err := os.Chown(dir, 12345, 12345); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := Register(dir, Entry{Dir: "/mnt/a"}); err == nil {
		r.Close()
		t.Error("no error")
	}
}

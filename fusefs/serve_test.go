package fusefs

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"sharefs/fusefs/tree"
	"sharefs/provider"
	"sharefs/provider/mem"
	"sharefs/provider/stack"
)

// A process must not use a mount that it serves, so the tests use the mounts of child processes: the test binary, started
// again with serveEnv set.
const serveEnv = "SHAREFS_TEST_SERVE"

// serveSpec says what a child mounts.
type serveSpec struct {
	Dir        string
	ReadOnly   bool
	AllowOther bool
	Debug      bool
	IOTimeout  time.Duration
	Binary     string // not empty: a copy of the test binary, to be run as nobody
	CacheDir   string // not empty: the whole of Mount, with a store in memory, instead of a model
}

func TestMain(m *testing.M) {
	if spec := os.Getenv(serveEnv); spec != "" {
		err := serve(spec)
		if err == nil {
			err = goleak.Find(goleak.IgnoreAnyFunction("sharefs/fusefs.announce.func1")) // it may wait for input for ever
		}
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if left := leftMounts(); left != "" {
		fmt.Fprintf(os.Stderr, "mounts left behind:\n%s", left)
		code = 1
	}
	os.Exit(code)
}

// serve mounts and serves until its standard input ends or it is unmounted.
func serve(encoded string) error {
	var spec serveSpec
	if err := json.Unmarshal([]byte(encoded), &spec); err != nil {
		return err
	}
	level := slog.LevelInfo
	if spec.Debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	if spec.CacheDir != "" {
		return serveStore(spec, log)
	}
	return serveModel(spec, log)
}

func serveModel(spec serveSpec, log *slog.Logger) error {
	ctx := context.Background()
	dir, err := prepareMountpoint(ctx, spec.Dir, nil, log)
	if err != nil {
		return err
	}
	if err := checkPermitted(dir, spec.AllowOther); err != nil {
		return err
	}
	m, err := mountNamespace(ctx, newModel(), dir, kernelOptions{
		config:     config{readOnly: spec.ReadOnly, others: spec.ReadOnly, trust: time.Hour, ioTimeout: spec.IOTimeout, log: log},
		source:     "model,with comma",
		allowOther: spec.AllowOther,
		debug:      spec.Debug,
	})
	if err != nil {
		return err
	}
	announce(dir, m.unmount)
	<-m.gone
	fmt.Println("gone")
	return nil
}

// serveStore says in the end what the store has.
func serveStore(spec serveSpec, log *slog.Logger) error {
	ctx := context.Background()
	store, err := stack.New(mem.New(mem.Options{Name: "test"}), stack.Options{Logger: log})
	if err != nil {
		return err
	}
	defer store.Close()
	m, err := Mount(ctx, Options{Store: store, Dir: spec.Dir, CacheDir: spec.CacheDir, AllowOther: spec.AllowOther,
		Tree: tree.Options{ReadOnly: spec.ReadOnly, IOTimeout: spec.IOTimeout}, Debug: spec.Debug, Logger: log})
	if err != nil {
		return err
	}
	announce(m.Dir(), m.Unmount)
	m.Wait()
	if err := m.Close(ctx); err != nil {
		return err
	}
	page, err := store.List(ctx, provider.ListOptions{Flat: true})
	if err != nil {
		return err
	}
	var keys []string
	for _, o := range page.Objects {
		if !strings.HasPrefix(o.Key, provider.Reserved) {
			keys = append(keys, fmt.Sprintf("%s:%d", o.Key, o.Size))
		}
	}
	fmt.Println("stored", strings.Join(keys, " "))
	return nil
}

// announce says that dir is mounted, and unmounts it when the standard input ends.
func announce(dir string, unmount func(context.Context) error) {
	fmt.Println("mounted")
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		if err := unmount(context.Background()); err != nil {
			fmt.Println("error:", err)
			_ = Detach(dir)
		}
	}()
}

// mountpoints are the directories that this run's children were to mount on.
var mountpoints struct {
	sync.Mutex
	dirs []string
}

// leftMounts returns those that are still mounted.
func leftMounts() string {
	var left strings.Builder
	mountpoints.Lock()
	defer mountpoints.Unlock()
	for _, dir := range mountpoints.dirs {
		if at, err := mountedAt(dir); err != nil || len(at) > 0 {
			fmt.Fprintf(&left, "%s: %+v %v\n", dir, at, err)
		}
	}
	return left.String()
}

// mounted is a mount served by a child process.
type mounted struct {
	dir   string
	proc  *exec.Cmd
	dies  bool // it is meant to end badly
	stdin io.Closer
	lines chan string
	log   *lockedBuffer
}

// lockedBuffer collects what a child logs.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// mountStore mounts a tree over an empty store in a child process until the end of the test.
func mountStore(t *testing.T) *mounted {
	t.Helper()
	return mountModel(t, serveSpec{CacheDir: t.TempDir()})
}

// mountModel mounts a model in a child process until the end of the test.
func mountModel(t *testing.T, spec serveSpec) *mounted {
	t.Helper()
	if spec.Dir == "" {
		spec.Dir = t.TempDir()
	}
	m, err := startServing(t, spec)
	if err != nil {
		t.Fatalf("mounting: %v", err)
	}
	return m
}

// startServing starts a child; the error is the one that it prints.
func startServing(t *testing.T, spec serveSpec) (*mounted, error) {
	t.Helper()
	encoded, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	proc := exec.Command(os.Args[0])
	proc.Env = append(os.Environ(), serveEnv+"="+string(encoded))
	if spec.Binary != "" {
		proc.Path, proc.Dir = spec.Binary, "/"
		proc.SysProcAttr = &syscall.SysProcAttr{Credential: nobody}
	}
	mountpoints.Lock()
	mountpoints.dirs = append(mountpoints.dirs, spec.Dir)
	mountpoints.Unlock()
	m := &mounted{dir: spec.Dir, proc: proc, lines: make(chan string, 10), log: new(lockedBuffer)}
	proc.Stderr = m.log
	stdin, err := proc.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	m.stdin = stdin
	stdout, err := proc.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := proc.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(m.lines)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			m.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() { m.end(t) })
	if line := m.line(t); line != "mounted" {
		m.dies = true
		return nil, fmt.Errorf("%s", strings.TrimPrefix(line, "error: "))
	}
	return m, nil
}

// line returns the next line that the child prints.
func (m *mounted) line(t *testing.T) string {
	t.Helper()
	select {
	case line := <-m.lines:
		return line
	case <-time.After(time.Minute):
		t.Fatalf("the serving process says nothing; its log:\n%s", m.log)
		return ""
	}
}

// end unmounts and ends the child, by force if need be.
func (m *mounted) end(t *testing.T) {
	m.stdin.Close()
	done := make(chan error, 1)
	go func() { done <- m.proc.Wait() }()
	select {
	case err := <-done:
		if err != nil && !m.dies {
			t.Errorf("the serving process ended badly: %v", err)
			for line := range m.lines {
				t.Log(line)
			}
		}
	case <-time.After(time.Minute):
		t.Errorf("the serving process does not end; its log:\n%s", m.log)
		_ = m.proc.Process.Kill()
		<-done
	}
	for {
		if at, err := mountedAt(m.dir); err != nil || len(at) == 0 || !at[len(at)-1].Ours() {
			break
		}
		if err := unix.Unmount(m.dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting: %v", err)
			break
		}
	}
	if t.Failed() {
		t.Logf("log of the serving process:\n%s", m.log)
	}
}

package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// mountTimeout is how long a command of sharefs may take. Taking a claim over watches it for three minutes.
	mountTimeout = 6 * time.Minute
	// patience is how long a mount may be used before it is taken for hung, as a rule. The long tests mount anew often.
	patience = 8 * time.Minute
	// raceFactor is how much longer all of it takes with the race detector.
	raceFactor = 4
)

// limit returns a time limit for the kind of program that is tested.
func limit(d time.Duration) time.Duration {
	if Race() {
		return raceFactor * d
	}
	return d
}

// Mount is a mount of a store, served by a daemon that sharefs mount has started in the background.
type Mount struct {
	Dir      string // the mountpoint
	CacheDir string
	Store    *Store
	Env      []string // more for the environment of sharefs, at the next mount

	LeavesScratch bool          // the stage keeps files of scratch paths over an unmount
	Patience      time.Duration // how long the next mount may be used before it is taken for hung

	tb      testing.TB
	base    string // holds all of the mount's directories
	args    []string
	pid     int         // of the daemon; 0: there is none
	hung    atomic.Bool // the daemon was ended because the test took too long
	release *time.Timer
}

// NewMount mounts a store with an empty cache directory. The arguments are further flags of sharefs mount. What the test does not unmount
// is unmounted at its end.
func NewMount(tb testing.TB, s *Store, args ...string) *Mount {
	tb.Helper()
	m := PrepareMount(tb, s, args...)
	m.mount()
	return m
}

// NewMountOn is NewMount with the cache directory on a disk of its own.
func NewMountOn(tb testing.TB, s *Store, d *Disk, args ...string) *Mount {
	tb.Helper()
	m := PrepareMount(tb, s, args...)
	m.CacheDir = filepath.Join(d.Dir, "cache")
	m.mount()
	return m
}

// PrepareMount is NewMount without mounting; TryMount does that.
func PrepareMount(tb testing.TB, s *Store, args ...string) *Mount {
	tb.Helper()
	m := &Mount{Store: s, Patience: patience, tb: tb, base: scratch(tb), args: args}
	m.Dir, m.CacheDir = filepath.Join(m.base, "mnt"), filepath.Join(m.base, "cache")
	makeUser(tb, m.base)
	if err := os.Mkdir(m.Dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(m.cleanup)
	return m
}

// cleanup leaves nothing behind.
func (m *Mount) cleanup() {
	if m.pid != 0 && !m.tb.Failed() {
		m.Unmount()
	}
	if m.pid != 0 {
		m.Kill()
	}
	m.Detach()
	m.checkRaces()
	if m.tb.Failed() {
		m.keep()
		m.tb.Logf("the last lines of %s:\n%s", m.logFile(), tail(m.log()))
	}
}

// keep moves the cache directory to where somebody wants to look at it.
func (m *Mount) keep() {
	dir := os.Getenv(keepEnv)
	if dir == "" {
		return
	}
	kept := filepath.Join(dir, filepath.Base(m.base))
	if out, err := exec.Command("cp", "-a", m.CacheDir, kept).CombinedOutput(); err != nil {
		m.tb.Logf("keeping %s: %v: %s", m.CacheDir, err, out)
		return
	}
	m.tb.Logf("the cache directory is kept as %s", kept)
}

func (m *Mount) logFile() string { return filepath.Join(m.base, "log") }

// Log returns what the daemons of the mount have logged.
func (m *Mount) Log() string { return string(m.log()) }

func (m *Mount) log() []byte {
	b, err := os.ReadFile(m.logFile())
	if err != nil {
		return []byte(err.Error())
	}
	return b
}

// checkRaces fails the test when the race detector has found something.
func (m *Mount) checkRaces() {
	reports, err := filepath.Glob(filepath.Join(m.base, "race.*"))
	if err != nil {
		panic(err) // the pattern is good
	}
	for _, name := range reports {
		text, err := os.ReadFile(name)
		m.tb.Errorf("the daemon has a race: %s (%v)", text, err)
	}
}

// Sharefs runs a command of sharefs as this mount's user would, and returns its standard output.
func (m *Mount) Sharefs(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit(mountTimeout))
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, Binary(m.tb), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = m.base, &out, &errs
	cmd.Env = append(append(userEnv(m.base), m.Store.env()...), m.Env...)
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("not done after %v: %w", limit(mountTimeout), err)
	}
	if err != nil {
		err = fmt.Errorf("sharefs %q: %w: %s", args, err, tail(errs.Bytes()))
	}
	return out.String(), err
}

func (m *Mount) mount() {
	m.tb.Helper()
	if err := m.TryMount(); err != nil {
		m.tb.Fatal(err)
	}
}

// TryMount mounts again, with the same cache directory, and returns the error when that fails or the daemon ends at once.
// more are flags for this time.
func (m *Mount) TryMount(more ...string) error {
	args := append([]string{"mount", "--cache-dir", m.CacheDir, "--log-file", m.logFile()}, append(slices.Clone(m.args), more...)...)
	if _, err := m.Sharefs(append(args, m.Store.URL, m.Dir)...); err != nil {
		return err
	}
	status, err := m.status()
	if err != nil {
		return err
	}
	m.pid = status.PID
	m.release = time.AfterFunc(limit(m.Patience), m.end(m.pid))
	return nil
}

// end returns what ends a daemon that has served for too long. It prints its goroutines to its log, and everything that waits for it
// gets an error.
func (m *Mount) end(pid int) func() {
	return func() {
		m.hung.Store(true)
		_ = unix.Kill(pid, unix.SIGQUIT)
	}
}

// Status is what sharefs status tells of a mount, as far as tests need it.
type Status struct {
	PID     int    `json:"pid"`
	State   string `json:"state"`
	Pending struct {
		Files     int   `json:"files"`
		Bytes     int64 `json:"bytes"`
		Uploading int   `json:"uploading"`
	} `json:"pending"`
	Stuck []struct {
		Path  string `json:"path"`
		Error string `json:"error"`
	} `json:"stuck"`
	Stage struct {
		Size    int64 `json:"size"`
		Waiting int   `json:"waiting"`
		Stalled bool  `json:"stalled"`
	} `json:"stage"`
	Space struct {
		Capacity int64 `json:"capacity"`
		Used     int64 `json:"used"`
		Files    int64 `json:"files"`
		Dirs     int64 `json:"directories"`
		Counted  bool  `json:"counted"`
	} `json:"space"`
	Kept struct {
		Scratch      int   `json:"scratch"`
		ScratchBytes int64 `json:"scratch_bytes"`
		ScratchSeen  int64 `json:"scratch_seen"`
		LazySeen     int64 `json:"lazy_seen"`
	} `json:"kept"`
	ReadOnly bool `json:"read_only"`
	Claim    struct {
		State  string   `json:"state"`
		PID    int      `json:"pid"`
		Shared []string `json:"shared"`
	} `json:"claim"`
	Conflicts []struct {
		Path string `json:"path"`
		Why  string `json:"why"`
		Kept string `json:"kept"`
		Size int64  `json:"size"`
	} `json:"conflicts"`
	Requests struct {
		ByKind map[string]struct {
			Count  int64 `json:"count"`
			Errors int64 `json:"errors"`
		} `json:"by_kind"`
	} `json:"requests"`
}

// TotalRequests is the number of requests of all kinds.
func (s Status) TotalRequests() int64 {
	var n int64
	for _, k := range s.Requests.ByKind {
		n += k.Count
	}
	return n
}

// Status asks the daemon.
func (m *Mount) Status() Status {
	m.tb.Helper()
	s, err := m.status()
	if err != nil {
		m.tb.Fatal(err)
	}
	return s
}

func (m *Mount) status() (Status, error) {
	out, err := m.Sharefs("status", "--json", m.Dir)
	if exitCode(err) != 0 && exitCode(err) != 5 { // 5: something is stuck, and the status says what
		return Status{}, err
	}
	var answer struct{ Mounts []Status }
	if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.Mounts) != 1 {
		return Status{}, fmt.Errorf("sharefs status --json: %v in %s", err, out)
	}
	return answer.Mounts[0], nil
}

// Flush stores everything.
func (m *Mount) Flush() {
	m.tb.Helper()
	if _, err := m.Sharefs("flush", m.Dir); err != nil {
		m.tb.Fatal(err)
	}
}

// Unmount stores everything and unmounts; nothing is left but the cache.
func (m *Mount) Unmount() {
	m.tb.Helper()
	if err := m.TryUnmount(); err != nil {
		m.tb.Fatal(err)
	}
	if left := mountsBelow(m.base); len(left) > 0 {
		m.tb.Fatalf("still mounted after sharefs umount: %q", left)
	}
	if left := m.staged(); len(left) > 0 && !m.LeavesScratch {
		m.tb.Errorf("staged files are left after everything was stored: %q", left)
	}
}

// TryUnmount unmounts, with a daemon that may kill itself meanwhile.
func (m *Mount) TryUnmount() error {
	m.tb.Helper()
	if _, err := m.Sharefs("umount", m.Dir); err != nil {
		return err
	}
	if state := m.wait(); !state.Exited() || state.ExitStatus() != 0 {
		return fmt.Errorf("the daemon ended with %+v", state)
	}
	return nil
}

// wait waits for the end of the daemon, which is a child of this process: see runTests.
func (m *Mount) wait() unix.WaitStatus {
	m.tb.Helper()
	m.release.Stop()
	var state unix.WaitStatus
	pid := m.pid
	m.pid = 0
	ended := make(chan error, 1)
	go func() {
		for {
			_, err := unix.Wait4(pid, &state, 0, nil)
			if !errors.Is(err, unix.EINTR) {
				ended <- err
				return
			}
		}
	}()
	select {
	case err := <-ended:
		if err != nil {
			m.tb.Fatalf("waiting for the daemon, process %d: %v", pid, err)
		}
	case <-time.After(limit(mountTimeout)):
		_ = unix.Kill(pid, unix.SIGQUIT)
		<-ended
		m.tb.Fatalf("the daemon, process %d, does not end", pid)
	}
	if m.hung.Load() {
		m.tb.Fatalf("the daemon was ended: the mount was in use for more than %v", limit(m.Patience))
	}
	return state
}

// staged returns the files that wait to be stored.
func (m *Mount) staged() []string {
	var left []string
	err := filepath.WalkDir(filepath.Join(m.CacheDir, "stage"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			left = append(left, path)
		}
		return err
	})
	if err != nil {
		m.tb.Error(err)
	}
	return left
}

// Kill ends the daemon with SIGKILL. Its mount stays, dead.
func (m *Mount) Kill() {
	m.tb.Helper()
	if err := unix.Kill(m.pid, unix.SIGKILL); err != nil {
		m.tb.Fatalf("killing the daemon: %v", err)
	}
	m.wait()
}

// Ended waits for a daemon that has killed itself.
func (m *Mount) Ended() {
	m.tb.Helper()
	if m.pid != 0 { // else it ended before anybody knew it
		m.wait()
	}
}

// Detach takes away the mount of a daemon that was killed, as umount -l does.
func (m *Mount) Detach() {
	for _, dir := range mountsBelow(m.base) {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			m.tb.Errorf("unmounting %s: %v", dir, err)
		}
	}
}

// Remount mounts again with the same cache directory. A dead mount is taken away by sharefs itself.
func (m *Mount) Remount() {
	m.tb.Helper()
	m.mount()
}

// RemountEmpty mounts again with an empty cache directory, as on another machine, which takes the store over if the last
// daemon was killed.
func (m *Mount) RemountEmpty() {
	m.tb.Helper()
	if err := os.RemoveAll(m.CacheDir); err != nil {
		m.tb.Fatal(err)
	}
	if err := m.TryMount("--take-over", "--force"); err != nil {
		m.tb.Fatal(err)
	}
}

// PID returns the process id of the daemon.
func (m *Mount) PID() int { return m.pid }

// Signal sends the daemon a signal after which it lives on.
func (m *Mount) Signal(s unix.Signal) {
	m.tb.Helper()
	if err := unix.Kill(m.pid, s); err != nil {
		m.tb.Fatalf("the daemon cannot be sent %v: %v", s, err)
	}
}

// Leave unmounts and leaves what is not stored in the cache directory.
func (m *Mount) Leave() {
	m.tb.Helper()
	if _, err := m.Sharefs("umount", "--no-wait", m.Dir); err != nil {
		m.tb.Fatal(err)
	}
	m.wait()
}

// Path returns the path of a name in the mount.
func (m *Mount) Path(name string) string { return filepath.Join(m.Dir, name) }

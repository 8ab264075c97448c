package nodedir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sharefs/cmd/sharefs/internal/exit"
)

// Locks keep a node directory and a storage directory for one server.
type Locks struct {
	held    []*os.File
	process string // the file that says who runs; empty: none
}

// processFile says which process runs the node: "PID START", where START is in seconds since 1970. Tahoe-LAFS does not start
// where there is one of a process that lives (src/allmydata/util/pid.py).
const processFile = "running.process"

// Lock takes directories for this process. A lock is on the directory itself, so that nothing is made in it, in a mount in particular. It
// ends with the process.
func Lock(dirs ...string) (*Locks, error) {
	l := &Locks{}
	for _, dir := range dirs {
		if err := l.add(dir); err != nil {
			l.Unlock()
			return nil, err
		}
	}
	return l, nil
}

func (l *Locks) add(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	l.held = append(l.held, f)
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return exit.Errorf(exit.Busy, "another sharefs serve uses %s", dir)
	}
	if err != nil {
		return fmt.Errorf("locking %s: %w", dir, err)
	}
	return nil
}

// Run notes in a locked node directory that this process runs the node. It fails when Tahoe-LAFS's own does.
func (l *Locks) Run(n *Node) error {
	name := n.path(processFile)
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if pid, ok := running(string(text)); ok {
		return exit.Errorf(exit.Busy, "process %d runs the node in %s: end it first (tahoe stop)", pid, n.Dir)
	}
	start, err := startOf(os.Getpid())
	if err != nil {
		return err
	}
	if err := os.WriteFile(name, fmt.Appendf(nil, "%d %.2f\n", os.Getpid(), start), 0o644); err != nil {
		return err
	}
	l.process = name
	return nil
}

// Unlock gives the directories free.
func (l *Locks) Unlock() {
	if l.process != "" {
		_ = os.Remove(l.process) // the next server sees that its process is gone
	}
	for _, f := range l.held {
		f.Close()
	}
	l.held = nil
}

// running returns the process that a process file names, if that lives. Another one with the same number has another start.
func running(text string) (pid int, lives bool) {
	var start float64
	if _, err := fmt.Sscanf(text, "%d %f", &pid, &start); err != nil || pid == os.Getpid() {
		return 0, false
	}
	now, err := startOf(pid)
	const rounding = 5 // seconds: the time of the boot is not exact
	return pid, err == nil && now-rounding < start && start < now+rounding
}

// startOf returns when a process was started, in seconds since 1970.
func startOf(pid int) (float64, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// The name of the program, in brackets, may have anything in it. Field 22 is the start in ticks after the boot: proc_pid_stat(5).
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const start, ticks = 22 - 3, 100
	if len(fields) <= start {
		return 0, fmt.Errorf("process %d does not tell when it was started", pid)
	}
	after, err := strconv.ParseFloat(fields[start], 64)
	if err != nil {
		return 0, err
	}
	system, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(system)) {
		if text, ok := strings.CutPrefix(line, "btime "); ok {
			boot, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			return boot + after/ticks, err
		}
	}
	return 0, errors.New("/proc/stat does not tell when the system was started")
}

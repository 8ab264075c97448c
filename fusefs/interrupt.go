package fusefs

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// The kernel sends one INTERRUPT for a request when its thread gets any signal at all, a child's end or the ticks of
// a profiler too. On a local disk such signals do not make a call on a file fail, and few programs expect it (a
// Go runtime preempts its threads by signals, git draws its progress on SIGALRM). So a request ends early only for a
// signal that is meant to end what the thread does: one that kills it, or one of those by which people and service
// managers ask a program to stop, even where it has a handler.

// signalPoll is how often the thread of an interrupted request is looked at: the kernel says nothing of later signals.
const signalPoll = 100 * time.Millisecond

// awaitInterrupt calls stop when the caller is to be woken. It returns when ctx is done.
func awaitInterrupt(ctx context.Context, stop context.CancelFunc, interrupt <-chan struct{}, thread uint32) {
	select {
	case <-ctx.Done():
		return
	case <-interrupt:
	}
	tick := time.NewTicker(signalPoll)
	defer tick.Stop()
	for !mustWake(thread) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	stop()
}

// mustWake reports whether the thread has a signal that is to end its wait, or is gone, or cannot be seen.
func mustWake(thread uint32) bool {
	if thread == 0 {
		return true // of another process namespace
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err != nil {
		return true
	}
	s, err := parseSignals(status)
	return err != nil || s.wake()
}

// signals are the signal sets of a thread, bit n-1 for signal n.
type signals struct {
	pending uint64 // and not blocked
	caught  uint64
}

// wake reports whether a pending signal is to end the thread's wait.
func (s signals) wake() bool {
	const (
		stops  = 1<<(syscall.SIGKILL-1) | 1<<(syscall.SIGTERM-1) | 1<<(syscall.SIGINT-1) | 1<<(syscall.SIGHUP-1) | 1<<(syscall.SIGQUIT-1)
		benign = 1<<(syscall.SIGCHLD-1) | 1<<(syscall.SIGURG-1) | 1<<(syscall.SIGWINCH-1) | 1<<(syscall.SIGCONT-1) |
			1<<(syscall.SIGSTOP-1) | 1<<(syscall.SIGTSTP-1) | 1<<(syscall.SIGTTIN-1) | 1<<(syscall.SIGTTOU-1)
	)
	fatal := s.pending &^ s.caught &^ benign // without a handler they end the process (ignored ones never pend)
	return s.pending&stops != 0 || fatal != 0
}

// parseSignals reads the sets from the status file of a thread, proc_pid_status(5).
func parseSignals(status []byte) (signals, error) {
	sets := map[string]uint64{"SigPnd": 0, "ShdPnd": 0, "SigBlk": 0, "SigCgt": 0}
	found := 0
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		name, value, _ := bytes.Cut(lines.Bytes(), []byte(":\t"))
		if _, wanted := sets[string(name)]; !wanted {
			continue
		}
		set, err := strconv.ParseUint(string(value), 16, 64)
		if err != nil {
			return signals{}, fmt.Errorf("signal set %s: %w", name, err)
		}
		sets[string(name)] = set
		found++
	}
	if found != len(sets) {
		return signals{}, fmt.Errorf("%d of %d signal sets", found, len(sets))
	}
	return signals{pending: (sets["SigPnd"] | sets["ShdPnd"]) &^ sets["SigBlk"], caught: sets["SigCgt"]}, nil
}

package fusefs

import (
	"os"
	"syscall"
	"testing"
)

func set(sigs ...syscall.Signal) uint64 {
	var s uint64
	for _, sig := range sigs {
		s |= 1 << (sig - 1)
	}
	return s
}

func TestSignalsThatWakeACaller(t *testing.T) {
	for _, tc := range []struct {
		name    string
		pending uint64
		caught  uint64
		want    bool
	}{
		{"none: frozen, or being traced", 0, 0, false},
		{"killed", set(syscall.SIGKILL), 0, true},
		{"interrupted from the keyboard", set(syscall.SIGINT), 0, true},
		{"interrupted, with a handler", set(syscall.SIGINT), set(syscall.SIGINT), true},
		{"told to stop, with a handler", set(syscall.SIGTERM), set(syscall.SIGTERM), true},
		{"hung up", set(syscall.SIGHUP), set(syscall.SIGHUP), true},
		{"preempted by the Go runtime", set(syscall.SIGURG), set(syscall.SIGURG), false},
		{"a child ended", set(syscall.SIGCHLD), 0, false},
		{"a timer ticks", set(syscall.SIGALRM), set(syscall.SIGALRM), false},
		{"a timer that nobody handles", set(syscall.SIGALRM), 0, true},
		{"a crash", set(syscall.SIGSEGV), 0, true},
		{"stopped from the keyboard", set(syscall.SIGTSTP), 0, false},
		{"a timer and a kill", set(syscall.SIGALRM, syscall.SIGKILL), set(syscall.SIGALRM), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := (signals{pending: tc.pending, caught: tc.caught}).wake(); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestSignalSetsAreRead(t *testing.T) {
	const status = "Name:\tcat\nSigQ:\t1/2\nSigPnd:\t0000000000000100\nShdPnd:\t0000000000004001\nSigBlk:\t0000000000000001\n" +
		"SigIgn:\t0000000000000000\nSigCgt:\t0000000000004000\n"
	got, err := parseSignals([]byte(status))
	want := signals{pending: set(syscall.SIGKILL, syscall.SIGTERM), caught: set(syscall.SIGTERM)}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := parseSignals([]byte("Name:\tcat\n")); err == nil {
		t.Error("a status without signal sets is no error")
	}
}

func TestThreadsOfThisSystem(t *testing.T) {
	if mustWake(uint32(os.Getpid())) {
		t.Error("this process has a signal that would end a request")
	}
	const nobody = 1 << 30 // beyond pid_max
	for _, thread := range []uint32{0, nobody} {
		if !mustWake(thread) {
			t.Errorf("a request of thread %d, which cannot be seen, is not woken", thread)
		}
	}
}

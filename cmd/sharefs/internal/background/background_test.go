package background

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sharefs/cmd/sharefs/internal/exit"
)

// child says what the test binary does when Start runs it once more.
const child = "TEST_BACKGROUND_CHILD"

func TestMain(m *testing.M) {
	act := os.Getenv(child)
	if act == "" {
		os.Exit(m.Run())
	}
	p := FindParent()
	switch act {
	case "works":
		p.Note(fmt.Sprintf("session %v, %s", ownSession(), openFiles()))
		p.Ready()
		p.Note("too late")
	case "fails":
		p.Failed(exit.Errorf(exit.Store, "no such bucket"))
	case "dies":
		panic("a bug")
	case "hangs":
		p.Note(strconv.Itoa(os.Getpid()))
		time.Sleep(time.Minute) // until the signal
	}
}

func ownSession() bool {
	sid, err := unix.Getsid(0)
	return err == nil && sid == os.Getpid()
}

// openFiles names what is open, but for what Go's runtime opens for itself.
func openFiles() string {
	var open []string
	for fd := range 100 {
		if name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil && !strings.HasPrefix(name, "anon_inode:") && !strings.Contains(name, "/cgroup/") {
			kind, _, _ := strings.Cut(filepath.Base(name), ":")
			open = append(open, fmt.Sprintf("%d=%s", fd, kind))
		}
	}
	return strings.Join(open, " ")
}

func begin(t *testing.T, act string) (notes []string, output string, err error) {
	t.Helper()
	t.Setenv(child, act)
	log := filepath.Join(t.TempDir(), "log")
	err = Start(t.Context(), log, func(text string) { notes = append(notes, text) })
	b, readErr := os.ReadFile(log)
	if readErr != nil {
		t.Fatal(readErr)
	}
	return notes, string(b), err
}

func TestStartReturnsWhenTheChildIsReady(t *testing.T) {
	// A descriptor that a shell would leave open to its commands.
	fd, err := unix.Open(os.DevNull, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	notes, output, err := begin(t, "works")
	if err != nil || output != "" {
		t.Fatalf("%v, output %q", err, output)
	}
	if len(notes) != 1 || notes[0] != "session true, 0=null 1=log 2=log 3=pipe" {
		t.Errorf("notes %q", notes)
	}
}

func TestStartReturnsTheErrorOfTheChild(t *testing.T) {
	_, _, err := begin(t, "fails")
	if err == nil || err.Error() != "no such bucket" || exit.CodeOf(err) != exit.Store {
		t.Errorf("got %v, code %d", err, exit.CodeOf(err))
	}
}

func TestStartSaysWhereAPanicIsToBeFound(t *testing.T) {
	_, output, err := begin(t, "dies")
	if err == nil || !strings.Contains(err.Error(), "exit status 2") || !strings.Contains(err.Error(), "/log") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(output, "panic: a bug") {
		t.Errorf("output %q", output)
	}
}

func TestInterruptedStartEndsTheChild(t *testing.T) {
	t.Setenv(child, "hangs")
	ctx, cancel := context.WithCancel(t.Context())
	pid := 0
	err := Start(ctx, filepath.Join(t.TempDir(), "log"), func(text string) {
		pid, _ = strconv.Atoi(text)
		cancel()
	})
	if err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("got %v", err)
	}
	if pid == 0 || syscall.Kill(pid, 0) == nil {
		t.Errorf("process %d lives", pid)
	}
}

func TestAProcessThatNobodyWaitsForHasNoParent(t *testing.T) {
	p := FindParent()
	if p != nil {
		t.Fatal("there is one")
	}
	p.Note("to nobody")
	p.Ready()
	p.Failed(os.ErrInvalid)
}

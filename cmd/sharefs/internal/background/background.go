// Package background starts the daemon of a mount: the command runs itself once more, in a session of its own, and
// waits until that process says that it works or why it does not. They talk through a pipe that the child inherits.
package background

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"sharefs/cmd/sharefs/internal/exit"
)

// variable tells the child that it is one; its value is the descriptor of the pipe.
const variable = "SHAREFS_READY_FD"

// readyFD is the pipe's descriptor in the child: the first after stdin, stdout and stderr.
const readyFD = 3

// message is what the child says: notes, and then Ready or Error.
type message struct {
	Note  string    `json:"note,omitempty"`
	Ready bool      `json:"ready,omitempty"`
	Error string    `json:"error,omitempty"`
	Code  exit.Code `json:"code,omitempty"`
}

// Start runs the program once more with the same arguments and returns when the child is ready, or with its error.
// What the child prints (a panic, say) goes to the file output. note shows what the child has to say meanwhile. When
// ctx is done the child is told to end.
func Start(ctx context.Context, output string, note func(string)) error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	child, err := start(output, write)
	write.Close()
	if err != nil {
		return err
	}
	gone := make(chan struct{})
	defer close(gone)
	go func() {
		select {
		case <-ctx.Done():
			_ = child.Process.Signal(syscall.SIGTERM) // it may have ended already
		case <-gone:
		}
	}()
	err = listen(read, note)
	if errors.Is(err, io.EOF) {
		state := child.Wait()
		if state == nil {
			state = errors.New("exit status 0")
		}
		return fmt.Errorf("the daemon ended before the mount was ready (%w): look into %s", state, output)
	}
	if err != nil {
		return errors.Join(err, ignoreExit(child.Wait()))
	}
	return child.Process.Release()
}

func start(output string, pipe *os.File) (*exec.Cmd, error) {
	out, err := os.OpenFile(output, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	defer out.Close()
	// Descriptors that the caller of the command left open, such as a lock of a shell script, stay with it.
	if err := unix.CloseRange(readyFD, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil && !errors.Is(err, unix.ENOSYS) {
		return nil, os.NewSyscallError("close_range", err)
	}
	cmd := &exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        os.Args,
		Env:         append(os.Environ(), variable+"="+strconv.Itoa(readyFD)),
		Stdout:      out,
		Stderr:      out,
		ExtraFiles:  []*os.File{pipe},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	return cmd, cmd.Start()
}

// listen reads messages until the child is ready or fails. io.EOF means that it is gone without a word.
func listen(r io.Reader, note func(string)) error {
	for dec := json.NewDecoder(r); ; {
		var m message
		if err := dec.Decode(&m); err != nil {
			return err
		}
		switch {
		case m.Ready:
			return nil
		case m.Error != "":
			return exit.With(m.Code, errors.New(m.Error))
		default:
			note(m.Note)
		}
	}
}

func ignoreExit(err error) error {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return nil
	}
	return err
}

// Parent is the command that waits for this process. Nil is a process that nobody waits for; its methods do nothing.
type Parent struct{ pipe *os.File }

// FindParent returns the waiting command, nil when this process was not made by Start. The variable is removed, so
// that programs started from here do not take it for theirs.
func FindParent() *Parent {
	fd, err := strconv.Atoi(os.Getenv(variable))
	os.Unsetenv(variable)
	if err != nil || fd != readyFD {
		return nil
	}
	unix.CloseOnExec(fd)
	return &Parent{os.NewFile(uintptr(fd), "ready")}
}

// Note shows the user a line while he waits.
func (p *Parent) Note(text string) { p.send(message{Note: text}) }

// Ready says that the mount works. Nobody waits any more.
func (p *Parent) Ready() {
	p.send(message{Ready: true})
	p.close()
}

// Failed says why there is no mount. Nobody waits any more.
func (p *Parent) Failed(err error) {
	p.send(message{Error: err.Error(), Code: exit.CodeOf(err)})
	p.close()
}

func (p *Parent) send(m message) {
	if p == nil || p.pipe == nil {
		return
	}
	_ = json.NewEncoder(p.pipe).Encode(m) // nobody listens any more: there is nobody to tell
}

func (p *Parent) close() {
	if p != nil && p.pipe != nil {
		p.pipe.Close()
		p.pipe = nil
	}
}

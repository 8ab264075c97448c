// Package harness runs the sharefs program for tests as a user does: the real binary, real mounts, over directories and
// over real S3 servers.
//
// Main takes care of what a test program leaves behind, however it ends: daemons, mounts, temporary files. A test that
// leaves something fails, and so does the suite. Each mount has directories of its own, and the log of a daemon is
// shown when its test fails. A daemon that does not answer is made to print its goroutines and is ended, so that
// nothing that waits for it waits for ever.
//
// A missing program or server fails the test: a test that is skipped proves nothing.
package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	// suiteEnv names the directory of the suite, in the process that runs the tests and those below it.
	suiteEnv = "SHAREFS_TEST_SUITE"
	// helperEnv makes the test program run one of its Helpers.
	helperEnv = "SHAREFS_TEST_HELPER"
	// raceEnv asks for a sharefs that is built with the race detector.
	raceEnv = "SHAREFS_RACE"
	// keepEnv names a directory that receives the cache directories of mounts whose test has failed, to be looked at.
	keepEnv = "SHAREFS_TEST_KEEP"
	// binaryEnv names a sharefs that is built already, such as one to be released, to be tested instead.
	binaryEnv = "SHAREFS_BINARY"
	// kindsEnv names the kinds of stores that the suites run on, with commas between them, instead of those they run on else.
	kindsEnv = "SHAREFS_TEST_KINDS"
)

// Helpers are what a test program does besides testing, in processes of their own: see Helper.
type Helpers map[string]func(args []string) error

// Main is the TestMain of a package that uses mounts. The tests run in a child process; this one cleans up after them
// and fails if there was something to clean.
func Main(m *testing.M, helpers Helpers) {
	if name := os.Getenv(helperEnv); name != "" {
		os.Exit(runHelper(helpers, name))
	}
	if os.Getenv(suiteEnv) != "" {
		os.Exit(runTests(m))
	}
	code, err := supervise()
	if err != nil {
		fmt.Fprintln(os.Stderr, "harness:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func runHelper(helpers Helpers, name string) int {
	run, ok := helpers[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "harness: there is no helper %q\n", name)
		return 2
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Helper returns a command that runs one of the Helpers given to Main.
func Helper(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), helperEnv+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// runTests runs the tests. Daemons become children of this process, which therefore can wait for their end.
func runTests(m *testing.M) int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "harness: prctl:", err)
		return 1
	}
	defer shared.close()
	return m.Run()
}

// supervise runs the tests in a child process and returns its exit code. An error says what it left behind.
func supervise() (int, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 1, fmt.Errorf("prctl: %w", err)
	}
	dir, err := os.MkdirTemp("", "sharefs-test-")
	if err != nil {
		return 1, err
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), suiteEnv+"="+dir, "TMPDIR="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 1, errors.Join(err, os.RemoveAll(dir))
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s) // it may have ended already
			case <-done:
				return
			}
		}
	}()
	err = cmd.Wait()
	close(done)
	code := cmd.ProcessState.ExitCode()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
		if code < 0 { // by a signal
			code = 2
		}
	}
	// A test program that was cut off could not clean up: that it left things is no news then.
	left := sweep(dir)
	if code != 0 && code != 1 {
		left = nil
	}
	return code, errors.Join(err, left)
}

// sweep ends the processes that are left below this one, takes their mounts away, and removes the directory of the
// suite. The error says what there was.
func sweep(dir string) error {
	var left []error
	for _, p := range descendants(os.Getpid()) {
		if p.state != 'Z' {
			left = append(left, fmt.Errorf("left behind: process %d: %s", p.pid, p.command))
		}
		_ = unix.Kill(p.pid, unix.SIGKILL) // gone meanwhile: as well
		_, _ = unix.Wait4(p.pid, nil, 0, nil)
	}
	for _, m := range mountsBelow(dir) {
		left = append(left, fmt.Errorf("left behind: a mount on %s", m))
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil {
			return errors.Join(append(left, fmt.Errorf("unmounting %s: %w", m, err))...)
		}
	}
	entries, err := os.ReadDir(dir)
	left = append(left, err)
	for _, e := range entries {
		if !suiteFile(e.Name()) {
			left = append(left, fmt.Errorf("left behind: %s", filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(append(left, os.RemoveAll(dir))...)
}

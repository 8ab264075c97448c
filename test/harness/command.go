package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// commandTimeout is how long a program may run on a mount.
const commandTimeout = 3 * time.Minute

// Run runs a program in a directory and returns its standard output. The test fails when the program does.
func Run(tb testing.TB, dir, name string, args ...string) string {
	tb.Helper()
	out, err := Try(tb, dir, name, args...)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// prelude gives scripts a function "refuse": bash does not end a script where a command with "!" before it succeeds.
const prelude = `refuse() { if "$@" 2>/dev/null; then echo "should have failed: $*" >&2; exit 1; fi; }
`

// Script runs a script of bash in a directory, which ends at the first command that fails. Its arguments are $1, $2, ...
// "refuse COMMAND" is a command that must fail.
func Script(tb testing.TB, dir, script string, args ...string) string {
	tb.Helper()
	return Run(tb, dir, "bash", append([]string{"-euo", "pipefail", "-c", prelude + script, "bash"}, args...)...)
}

// Try is Run for a program that may fail. The error has all that it said.
func Try(tb testing.TB, dir, name string, args ...string) (string, error) {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		tb.Fatalf("the program %s is missing: test/setup.sh installs it (%v)", name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit(commandTimeout))
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	cmd.Env = append(baseEnv("/nonexistent"), "LC_ALL=C.UTF-8", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@example.org", "GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@example.org")
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("not done after %v: %w", limit(commandTimeout), err)
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, tail(out.Bytes()), tail(errs.Bytes()))
	}
	return out.String(), err
}

// baseEnv is an environment without anything of the user's.
func baseEnv(home string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + os.TempDir()}
}

// tail returns the end of a text, where the reason mostly is.
func tail(b []byte) string {
	const most = 6000
	if len(b) > most {
		b = append([]byte("[...] "), b[len(b)-most:]...)
	}
	return string(b)
}

// exitCode returns that of a program that ended, -1 when it did not.
func exitCode(err error) int {
	var exit *exec.ExitError
	if err == nil {
		return 0
	} else if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// User runs commands of sharefs that need no mount, with directories of its own for all that they keep.
type User struct {
	tb   testing.TB
	base string
	env  []string
}

// NewUser returns a user who has the credentials of the stores.
func NewUser(tb testing.TB, stores ...*Store) *User {
	tb.Helper()
	u := &User{tb: tb, base: scratch(tb)}
	makeUser(tb, u.base)
	u.env = userEnv(u.base)
	for _, s := range stores {
		u.env = append(u.env, s.env()...)
	}
	return u
}

// With adds to the environment.
func (u *User) With(env ...string) *User {
	u.env = append(u.env, env...)
	return u
}

// Command returns a command of sharefs.
func (u *User) Command(args ...string) *exec.Cmd {
	u.tb.Helper()
	cmd := exec.Command(Binary(u.tb), args...)
	cmd.Dir, cmd.Env = u.base, u.env
	return cmd
}

// makeUser makes the directories that userEnv names.
func makeUser(tb testing.TB, base string) {
	tb.Helper()
	for _, dir := range []string{"home", "run", "tmp"} {
		if err := os.Mkdir(filepath.Join(base, dir), 0o700); err != nil {
			tb.Fatal(err)
		}
	}
}

// userEnv is the environment of commands that keep all they keep below a directory.
func userEnv(base string) []string {
	return append(baseEnv(filepath.Join(base, "home")),
		"XDG_RUNTIME_DIR="+filepath.Join(base, "run"), "XDG_STATE_HOME="+filepath.Join(base, "state"), "TMPDIR="+filepath.Join(base, "tmp"),
		"GORACE=log_path="+filepath.Join(base, "race"))
}

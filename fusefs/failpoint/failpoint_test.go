package failpoint

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv("FAILPOINT_CHILD") != "" {
		for range 3 {
			Hit("a.b")
			Hit("c")
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child runs this program, which hits two places three times each, and returns its end and what it has logged.
func child(t *testing.T, env ...string) (*os.ProcessState, string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), append(env, "FAILPOINT_CHILD=1", EnvLog+"="+log)...)
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return cmd.ProcessState, string(text)
}

func TestEveryHitIsLoggedAndTheOneThatIsAskedForKills(t *testing.T) {
	state, log := child(t)
	if want := "a.b#1\nc#1\na.b#2\nc#2\na.b#3\nc#3\n"; !state.Success() || log != want {
		t.Errorf("without a place to be killed at: %v, logged %q", state, log)
	}
	state, log = child(t, EnvKill+"=a.b#2")
	status := state.Sys().(syscall.WaitStatus)
	if want := "a.b#1\nc#1\na.b#2\n"; !status.Signaled() || status.Signal() != syscall.SIGKILL || log != want {
		t.Errorf("killed at a.b#2: %v, logged %q", state, log)
	}
	if state, _ = child(t, EnvKill+"=a.b#4"); !state.Success() {
		t.Errorf("killed at a place that is not reached: %v", state)
	}
}

func TestNothingIsArmedWithoutTheEnvironment(t *testing.T) {
	if armed != nil || fromEnvironment("", "") != nil {
		t.Error("failpoints are armed")
	}
}

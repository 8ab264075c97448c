package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sharefs/test/servers"
)

// unit is a command that runs as systemd runs a unit of Type=notify.
type unit struct {
	t       *testing.T
	cmd     *exec.Cmd
	manager *net.UnixConn
	log     bytes.Buffer
}

// startUnit starts sharefs with its directories in work.
func startUnit(t *testing.T, work string, args ...string) *unit {
	t.Helper()
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(work, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { manager.Close() })
	u := &unit{t: t, manager: manager, cmd: exec.Command("sharefs", args...)}
	u.cmd.Stderr = &u.log
	u.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+manager.LocalAddr().String(), "SHAREFS_RUNTIME_DIR="+filepath.Join(work, "run"),
		"XDG_DATA_HOME="+filepath.Join(work, "data"), "XDG_CACHE_HOME="+filepath.Join(work, "cache"))
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if u.cmd.ProcessState == nil { // the test has failed
			_ = u.cmd.Process.Signal(syscall.SIGTERM)
			_ = u.cmd.Wait()
			t.Logf("it said:\n%s", &u.log)
		}
	})
	return u
}

// told returns what the service manager is told next.
func (u *unit) told() string {
	u.t.Helper()
	b := make([]byte, 4096)
	if err := u.manager.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		u.t.Fatal(err)
	}
	n, err := u.manager.Read(b)
	if err != nil {
		u.t.Fatal(err)
	}
	return string(b[:n])
}

// end ends it as systemd does.
func (u *unit) end() {
	u.t.Helper()
	if err := u.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		u.t.Fatal(err)
	}
	if got := u.told(); got != "STOPPING=1" {
		u.t.Errorf("at the end: %q", got)
	}
	if err := u.cmd.Wait(); err != nil {
		u.t.Errorf("%v:\n%s", err, &u.log)
	}
}

func TestServiceManagerIsTold(t *testing.T) {
	work := t.TempDir()
	t.Cleanup(func() {
		if left := cleanUp(work); len(left) > 0 {
			t.Error("left mounted: ", left)
		}
	})
	mnt := filepath.Join(work, "mnt")
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	u := startUnit(t, work, "mount", "-f", mnt)
	if got := u.told(); !strings.HasPrefix(got, "READY=1\nSTATUS=file://") || !strings.HasSuffix(got, " on "+mnt) {
		t.Errorf("at the start: %q", got)
	}
	if _, err := os.ReadDir(mnt); err != nil {
		t.Errorf("ready, but: %v", err)
	}
	u.end()
}

// TestServiceManagerIsToldOfANode also when the node has no client, so that it ends at once.
func TestServiceManagerIsToldOfANode(t *testing.T) {
	work := t.TempDir()
	address, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	u := startUnit(t, work, "serve", "--node", filepath.Join(work, "node"), "--location", address)
	if got := u.told(); got != "READY=1" {
		t.Errorf("at the start: %q", got)
	}
	client, err := net.Dial("tcp", address)
	if err != nil {
		t.Errorf("ready, but: %v", err)
	} else {
		client.Close()
	}
	u.end()
}

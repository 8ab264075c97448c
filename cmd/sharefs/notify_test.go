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
)

// TestServiceManagerIsTold runs the command as systemd runs a unit of Type=notify.
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
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(work, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	told := func() string {
		t.Helper()
		b := make([]byte, 4096)
		if err := manager.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := manager.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}

	var log bytes.Buffer
	cmd := exec.Command("sharefs", "mount", "-f", mnt)
	cmd.Stderr = &log
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+manager.LocalAddr().String(), "SHAREFS_RUNTIME_DIR="+filepath.Join(work, "run"),
		"XDG_DATA_HOME="+filepath.Join(work, "data"), "XDG_CACHE_HOME="+filepath.Join(work, "cache"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if got := told(); !strings.HasPrefix(got, "READY=1\nSTATUS=file://") || !strings.HasSuffix(got, " on "+mnt) {
		t.Errorf("at the start: %q", got)
	}
	if _, err := os.ReadDir(mnt); err != nil {
		t.Errorf("ready, but: %v", err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := told(); got != "STOPPING=1" {
		t.Errorf("at the end: %q", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v:\n%s", err, log.String())
	}
}

package fusefs

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// calls returns how often each method of the mounted model was called.
func (m *mounted) calls(t *testing.T) map[string]int {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := unix.Getxattr(m.dir, "user.model.calls", buf)
	if err != nil {
		t.Fatal(err)
	}
	calls := make(map[string]int)
	for _, field := range strings.Fields(string(buf[:n])) {
		method, count, _ := strings.Cut(field, "=")
		var c int
		if _, err := fmt.Sscan(count, &c); err != nil {
			t.Fatal(err)
		}
		calls[method] = c
	}
	return calls
}

// costs runs do and checks that it needs exactly these calls of the tree. (Asking for the calls is a getxattr; when the
// kernel forgets is its own affair.)
func (m *mounted) costs(t *testing.T, want map[string]int, do func()) {
	t.Helper()
	before := m.released(t)
	do()
	after := m.released(t)
	for method := range after {
		if method == "getxattr" || method == "forget" {
			continue
		}
		if got := after[method] - before[method]; got != want[method] {
			t.Errorf("%d calls of %s, want %d", got, method, want[method])
		}
	}
}

// released returns the calls when every file has been released; close(2) does not wait for that.
func (m *mounted) released(t *testing.T) map[string]int {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if calls := m.calls(t); calls["release"] == calls["open"]+calls["create"] {
			return calls
		}
	}
	t.Fatal("files stay open")
	return nil
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func stat(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatalf("lstat %s: %v", path, err)
	}
	return st
}

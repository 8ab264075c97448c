package tahoe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sharefs/test/harness"
)

// serving is a storage node of ours: a process of sharefs serve.
type serving struct {
	t    *testing.T
	dir  string   // the node's
	args []string // further flags
	stop func()   // ends it; it can be started again

	announcement string // the node's entry for a client
	pid          int
}

// newServing makes a node in a directory, which serves until the test's end.
func newServing(t *testing.T, dir string, args ...string) *serving {
	t.Helper()
	s := &serving{t: t, dir: dir, args: args, stop: func() {}}
	t.Cleanup(func() { s.stop() })
	s.start()
	return s
}

// start starts the node and waits until it serves.
func (s *serving) start() {
	s.t.Helper()
	out, err := os.CreateTemp(s.t.TempDir(), "announcement")
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	var log bytes.Buffer
	cmd := exec.Command(harness.Binary(s.t), append([]string{"serve", "--node", s.dir, "--announcement"}, s.args...)...)
	home := filepath.Dir(s.dir)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + os.TempDir(),
		"XDG_CACHE_HOME=" + filepath.Join(home, "cache"), "XDG_STATE_HOME=" + filepath.Join(home, "state"), "XDG_RUNTIME_DIR=" + home}
	cmd.Stdout, cmd.Stderr = out, &log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.pid = cmd.Process.Pid
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() { cancel(fmt.Errorf("sharefs serve ended: %v", cmd.Wait())) }()
	s.stop = func() {
		s.stop = func() {}
		if ctx.Err() == nil {
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended just now
		}
		select {
		case <-ctx.Done():
			if cmd.ProcessState.ExitCode() != 0 {
				s.t.Errorf("%v\n%s", context.Cause(ctx), lastLines(log.Bytes()))
			}
		case <-time.After(2 * nodeEnd):
			s.t.Errorf("sharefs serve does not end")
			_ = cmd.Process.Kill()
			<-ctx.Done()
		}
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		text, err := os.ReadFile(out.Name())
		if err == nil && bytes.HasSuffix(text, []byte("#v=1\"\n")) {
			s.announcement = string(text)
			return
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			s.t.Fatalf("the node does not serve: %v, %v\n%s", err, context.Cause(ctx), lastLines(log.Bytes()))
		}
	}
}

const clientConfig = `
[node]
nickname = client
web.port = tcp:%[1]s:interface=127.0.0.1
tub.port = disabled
tub.location = disabled
[client]
shares.needed = %[2]d
shares.happy = %[3]d
shares.total = %[3]d
[storage]
enabled = false
`

// newClient makes a Tahoe-LAFS client in a directory, which knows servers by their announcements. A file goes to all of them, and most of
// them are enough to have it back.
func newClient(t *testing.T, root, base string, announcements ...string) *node {
	t.Helper()
	n := &node{t: t, root: root, base: base, name: "client", stop: func() {}}
	n.tahoe("create-client", "/mnt/client")
	web := n.port()
	n.web = "http://127.0.0.1:" + web
	needed := max(1, len(announcements)-1)
	dir := filepath.Join(base, "client")
	n.check(os.WriteFile(filepath.Join(dir, "tahoe.cfg"), fmt.Appendf(nil, clientConfig, web, needed, len(announcements)), 0o600))
	n.check(os.WriteFile(filepath.Join(dir, "node.url"), []byte(n.web+"/\n"), 0o600))
	known := "storage:\n"
	for _, a := range announcements {
		known += strings.TrimPrefix(a, "storage:\n")
	}
	n.check(os.WriteFile(filepath.Join(dir, "private", "servers.yaml"), []byte(known), 0o600))
	return n
}

// awaitConnected waits until a client is connected to so many servers.
func (n *node) awaitConnected(count int) {
	n.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		var welcome struct {
			Servers []struct {
				Space  *int64 `json:"available_space"` // null until it has answered for the first time
				Status string `json:"connection_status"`
			} `json:"servers"`
		}
		n.check(json.Unmarshal(n.ask("GET", "/?t=json", nil), &welcome))
		found := 0
		for _, s := range welcome.Servers {
			if s.Space != nil && strings.HasPrefix(s.Status, "connected") {
				found++
			}
		}
		if found == count {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("the client is connected to %d servers of %d: %+v", found, count, welcome)
		}
	}
}

// try runs a command of sharefs that may fail, and returns all that it said.
func try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	binary := harness.Binary(t) // which may be made only now, and that takes longer than the command may
	ctx, cancel := context.WithTimeout(t.Context(), nodeEnd)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
	return string(out), err
}

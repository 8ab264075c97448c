package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"sharefs/cmd/sharefs/internal/mountpoint"
	"sharefs/fusefs"
	"sharefs/test/servers"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sharefs": main, helperName: main})
}

// TestScripts runs the real command on real mounts. Every script has directories of its own for all that the command
// keeps, and must leave nothing mounted.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: setup, Cmds: commands, Condition: condition})
}

// TestStoreScripts does the same with S3 servers.
func TestStoreScripts(t *testing.T) {
	for _, start := range []func(testing.TB) *servers.Server{servers.MinIO, servers.VersityGW} {
		s := start(t)
		silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel connects, and nobody answers
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { silent.Close() })
		params := testscript.Params{Cmds: storeCommands(s), Setup: func(e *testscript.Env) error {
			e.Setenv("ENDPOINT", s.Endpoint)
			e.Setenv("HOSTPORT", strings.TrimPrefix(s.Endpoint, "http:"))
			e.Setenv("RANDOM_NAME", strings.ToLower(rand.Text()[:12]))
			e.Setenv("SILENT", "http://"+silent.Addr().String())
			for _, pair := range s.Env() {
				name, value, _ := strings.Cut(pair, "=")
				e.Setenv(name, value)
			}
			return setup(e)
		}}
		for _, dir := range []string{"s3", "outage"} { // one after the other: an outage is one for all
			t.Run(s.Name+"/"+dir, func(t *testing.T) {
				params.Dir = filepath.Join("testdata", dir)
				testscript.Run(t, params)
			})
		}
	}
}

// storeCommands are those of scripts with an S3 server:
//
//	bucket VAR       makes a bucket; from now on VAR is its URL, VAR_BELOW that of below/here in it, VAR_NAME its name
//	put NAME KEY FILE, got NAME KEY FILE, keys NAME   store an object, compare one, print all keys
//	upload NAME KEY   begins an upload in parts
//	server pause|resume
func storeCommands(s *servers.Server) map[string]func(*testscript.TestScript, bool, []string) {
	all := maps.Clone(commands)
	ctx := context.Background()
	all["bucket"] = func(ts *testscript.TestScript, _ bool, args []string) {
		name := "b" + strings.ToLower(rand.Text()[:12])
		ts.Check(s.CreateBucket(ctx, name))
		ts.Setenv(args[0], s.URL(name, ""))
		ts.Setenv(args[0]+"_BELOW", s.URL(name, "below/here"))
		ts.Setenv(args[0]+"_NAME", name)
	}
	all["put"] = func(ts *testscript.TestScript, _ bool, args []string) {
		_, err := s.Client().PutObject(ctx, &s3.PutObjectInput{Bucket: &args[0], Key: &args[1], Body: strings.NewReader(ts.ReadFile(args[2]))})
		ts.Check(err)
	}
	all["got"] = func(ts *testscript.TestScript, _ bool, args []string) {
		out, err := s.Client().GetObject(ctx, &s3.GetObjectInput{Bucket: &args[0], Key: &args[1]})
		ts.Check(err)
		defer out.Body.Close()
		b, err := io.ReadAll(out.Body)
		ts.Check(err)
		if string(b) != ts.ReadFile(args[2]) {
			ts.Fatalf("object %s is %q", args[1], b)
		}
	}
	all["keys"] = func(ts *testscript.TestScript, _ bool, args []string) {
		out, err := s.Client().ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &args[0]})
		ts.Check(err)
		for _, o := range out.Contents {
			fmt.Fprintln(ts.Stdout(), *o.Key)
		}
	}
	all["upload"] = func(ts *testscript.TestScript, _ bool, args []string) {
		_, err := s.Client().CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &args[0], Key: &args[1]})
		ts.Check(err)
	}
	all["server"] = func(ts *testscript.TestScript, _ bool, args []string) {
		ts.Check(map[string]func() error{"pause": s.Pause, "resume": s.Resume}[args[0]]())
	}
	return all
}

func setup(e *testscript.Env) error {
	for name, dir := range map[string]string{"HOME": "home", "XDG_CACHE_HOME": "cache", "XDG_STATE_HOME": "state", "XDG_DATA_HOME": "data",
		"XDG_CONFIG_HOME": "config", "SHAREFS_RUNTIME_DIR": "run"} {
		e.Setenv(name, filepath.Join(e.WorkDir, dir))
	}
	golden, err := filepath.Abs("../../storage/testdata/tahoe-1.20") // what a Tahoe-LAFS node has stored
	if err != nil {
		return err
	}
	e.Setenv("TAHOE", golden)
	e.Setenv("GORACE", "atexit_sleep_ms=0")                          // else every command takes a second longer under the race detector
	if err := os.Chmod(filepath.Dir(e.WorkDir), 0o755); err != nil { // for scripts that become another user
		return err
	}
	e.Defer(func() {
		if left := cleanUp(e.WorkDir); len(left) > 0 {
			e.T().Fatal("left mounted: ", strings.Join(left, ", "))
		}
	})
	return nil
}

// cleanUp kills the daemons and takes away the mounts that a script has left, and says which.
func cleanUp(work string) []string {
	var left []string
	pids, _ := filepath.Glob(filepath.Join(work, "run", "*.pid"))
	for _, name := range pids {
		var e struct{ PID int }
		if b, err := os.ReadFile(name); err == nil && json.Unmarshal(b, &e) == nil && e.PID > 1 && syscall.Kill(e.PID, syscall.SIGKILL) == nil {
			left = append(left, fmt.Sprint("daemon ", e.PID))
		}
	}
	mounts, err := fusefs.Mounts()
	if err != nil {
		return append(left, err.Error())
	}
	for _, m := range mounts {
		if strings.HasPrefix(m.Dir, work+"/") {
			left = append(left, m.Dir)
			if err := unix.Unmount(m.Dir, unix.MNT_DETACH); err != nil {
				left = append(left, err.Error())
			}
		}
	}
	return left
}

// condition: [root] is true when the user is.
func condition(name string) (bool, error) {
	if name == "root" {
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

var commands = map[string]func(*testscript.TestScript, bool, []string){
	"code":   code,
	"signal": sendSignal,
	"gone":   gone,
	"wait4":  waitFor,
	"port":   port,
}

// port NAME: the variable is a port that nobody listens on.
func port(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: port NAME")
	}
	address, err := servers.FreePort()
	ts.Check(err)
	_, number, err := net.SplitHostPort(address)
	ts.Check(err)
	ts.Setenv(args[0], number)
}

// code N PROGRAM ARG...: the program must exit with code N; when that is not 0 it must have said why in one line.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var e *exec.ExitError
		if !errors.As(err, &e) {
			ts.Fatalf("%v", err)
		}
		got = e.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
	if said := ts.ReadFile("stderr"); want != 0 && (strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "sharefs: ")) {
		ts.Fatalf("want one line that begins with \"sharefs: \"")
	}
}

// pidOf returns the daemon of a directory.
func pidOf(ts *testscript.TestScript, dir string) int {
	var all struct{ Mounts []struct{ PID int } }
	err := ts.Exec("sharefs", "status", "--json", dir)
	text := ts.ReadFile("stdout")
	if json.Unmarshal([]byte(text), &all) != nil || len(all.Mounts) != 1 || all.Mounts[0].PID < 2 {
		ts.Fatalf("no daemon of %s: %v", dir, err)
	}
	return all.Mounts[0].PID
}

// signal [!] NAME DIR: the daemon of the directory gets a signal, and must end (with !: need not).
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: signal NAME DIR")
	}
	sig, ok := map[string]syscall.Signal{"KILL": syscall.SIGKILL, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP,
		"STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT}[args[0]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[0])
	}
	pid := pidOf(ts, args[1])
	ts.Check(syscall.Kill(pid, sig))
	if !neg {
		await(ts, fmt.Sprintf("the end of process %d", pid), func() bool { return !alive(pid) })
	}
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// gone DIR: nothing is mounted there, no daemon is left, and none of the files of one.
func gone(ts *testscript.TestScript, _ bool, args []string) {
	for _, arg := range args {
		dir := ts.MkAbs(arg)
		if m, ok, err := mountpoint.Top(dir); ok || err != nil {
			ts.Fatalf("%s: %s is mounted there (%v)", arg, m.Source, err)
		}
	}
	left, err := os.ReadDir(ts.Getenv("SHAREFS_RUNTIME_DIR"))
	if err == nil && len(left) > 0 {
		ts.Fatalf("left in the runtime directory: %v", left)
	}
}

// wait4 exists|missing FILE, wait4 FILE REGEXP-free text: waits until it is so.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: wait4 exists|missing FILE, or wait4 FILE TEXT")
	}
	await(ts, strings.Join(args, " "), func() bool {
		switch args[0] {
		case "exists":
			_, err := os.Stat(ts.MkAbs(args[1]))
			return err == nil
		case "missing":
			_, err := os.Stat(ts.MkAbs(args[1]))
			return errors.Is(err, os.ErrNotExist)
		}
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && strings.Contains(string(b), args[1])
	})
}

func await(ts *testscript.TestScript, what string, ok func() bool) {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	ts.Fatalf("not within a minute: %s", what)
}

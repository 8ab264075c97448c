package fusefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sharefs/fusefs/tree"
	"sharefs/provider"
)

func TestMountIsShownWithTypeAndSource(t *testing.T) {
	m := mountModel(t, serveSpec{})
	at, err := mountedAt(m.dir)
	if err != nil || len(at) != 1 {
		t.Fatalf("%d mounts, %v", len(at), err)
	}
	if at[0].FSType != "fuse.sharefs" || at[0].Source != "model,with comma" {
		t.Errorf("shown as %s of %s", at[0].FSType, at[0].Source)
	}
}

func TestKernelReadsAheadInLargeRequests(t *testing.T) {
	m := mountModel(t, serveSpec{})
	at, err := mountedAt(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(read(t, "/sys/class/bdi/"+at[0].Device+"/read_ahead_kb")); got != "1024" {
		t.Errorf("reads ahead %s KiB, want 1024", got)
	}
	file := filepath.Join(m.dir, "file")
	write(t, file, strings.Repeat("x", 8<<20))
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	before := m.calls(t)["read"]
	read(t, file)
	if got := m.calls(t)["read"] - before; got > 10 {
		t.Errorf("%d requests for 8 MiB, want at most 10", got)
	}
}

func TestPlainUmountEndsServing(t *testing.T) {
	m := mountModel(t, serveSpec{})
	if err := exec.Command("umount", m.dir).Run(); err != nil {
		t.Fatal(err)
	}
	if line := m.line(t); line != "gone" {
		t.Errorf("the serving process says %q", line)
	}
}

func TestMountInUseStays(t *testing.T) {
	m := mountModel(t, serveSpec{})
	f, err := os.Create(filepath.Join(m.dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	m.stdin.Close() // asks for unmounting
	if line := m.line(t); !strings.Contains(line, "in use") || !strings.Contains(line, m.dir) || !strings.Contains(line, "fuser") {
		t.Errorf("the serving process says %q", line)
	}
	f.Close()
	if line := m.line(t); line != "gone" {
		t.Errorf("after its detachment the serving process says %q", line)
	}
}

func TestLivingMountIsNotMountedOver(t *testing.T) {
	m := mountModel(t, serveSpec{})
	_, err := startServing(t, serveSpec{Dir: m.dir})
	if err == nil || !strings.Contains(err.Error(), "already mounted") || !strings.Contains(err.Error(), "sharefs umount "+m.dir) {
		t.Errorf("got %v", err)
	}
	write(t, filepath.Join(m.dir, "file"), "still works")
}

func TestDeadMountIsReplaced(t *testing.T) {
	dead := mountModel(t, serveSpec{})
	write(t, filepath.Join(dead.dir, "file"), "x")
	dead.dies = true
	if err := dead.proc.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitForDeath(t, dead.dir)
	again := mountModel(t, serveSpec{Dir: dead.dir})
	if _, err := os.Stat(filepath.Join(again.dir, "file")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the new mount shows a file of the old one: %v", err)
	}
	if at, err := mountedAt(again.dir); err != nil || len(at) != 1 {
		t.Errorf("%d mounts, %v", len(at), err)
	}
	if !strings.Contains(again.log.String(), "dead mount") {
		t.Errorf("the log does not tell: %s", again.log)
	}
}

func waitForDeath(t *testing.T, dir string) {
	t.Helper()
	for range 200 {
		if IsDead(t.Context(), dir) {
			return
		}
	}
	t.Fatal("the mount of a killed process is not dead")
}

func TestUserMountsOrIsToldWhatIsMissing(t *testing.T) {
	dir := publicDir(t)
	mountpoint, binary := filepath.Join(dir, "mnt"), filepath.Join(dir, "fusefs.test")
	t.Cleanup(func() { os.Remove(binary) })
	t.Cleanup(func() { os.Remove(mountpoint) })
	if err := errors.Join(os.Mkdir(mountpoint, 0o755), os.Chown(mountpoint, int(nobody.Uid), int(nobody.Gid))); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", os.Args[0], binary).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat("/dev/fuse")
	if err != nil {
		t.Fatal(err)
	}
	_, helperErr := mountHelper()
	m, err := startServing(t, serveSpec{Dir: mountpoint, Binary: binary})
	switch {
	case info.Mode().Perm()&0o006 != 0o006:
		if err == nil || !strings.Contains(err.Error(), "chmod 0666 /dev/fuse") {
			t.Errorf("without rights to the device: %v", err)
		}
	case helperErr != nil:
		if err == nil || !strings.Contains(err.Error(), "install the package fuse3") {
			t.Errorf("without fusermount3: %v", err)
		}
	case err != nil:
		t.Errorf("mounting as a user: %v", err)
	default:
		asNobody(t, "ls -la "+m.dir)
		if _, err := os.ReadDir(m.dir); !errors.Is(err, os.ErrPermission) {
			t.Errorf("another user reads the mount: %v", err)
		}
	}
}

func TestMountTellsWhereItsOwnDirectoriesAre(t *testing.T) {
	for _, tc := range []struct {
		url  string
		want []ownPath
	}{
		{"s3://bucket/prefix", []ownPath{{"the cache directory", "/c"}}},
		{"file:///srv/with%20blank", []ownPath{{"the cache directory", "/c"}, {"the store's directory", "/srv/with blank"}}},
	} {
		t.Run(tc.url, func(t *testing.T) {
			if got := (Options{Store: namedStore{url: tc.url}, CacheDir: "/c"}).ownPaths(); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// namedStore is a store of which only the name is asked.
type namedStore struct {
	provider.Provider
	url string
}

func (s namedStore) String() string { return s.url }

func TestDetachTakesAwayAMountInUse(t *testing.T) {
	m := mountModel(t, serveSpec{})
	f, err := os.Create(filepath.Join(m.dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Detach(m.dir); err != nil {
		t.Fatal(err)
	}
	if at, err := mountedAt(m.dir); err != nil || len(at) != 0 {
		t.Errorf("%d mounts, %v", len(at), err)
	}
	if _, err := f.WriteString("goes on"); err != nil {
		t.Errorf("writing to a file that is open: %v", err)
	}
}

func TestCancelledMountLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := mountNamespace(ctx, newModel(), dir, kernelOptions{config: config{log: slog.New(slog.DiscardHandler)}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if at, err := mountedAt(dir); err != nil || len(at) != 0 {
		t.Errorf("%d mounts, %v", len(at), err)
	}
}

func TestEverythingIsReleasedWhenTheKernelIsGone(t *testing.T) {
	ns := newModel()
	r := newRawFS(ns, config{log: slog.New(slog.DiscardHandler)})
	attr, h, err := ns.Create(t.Context(), tree.Caller{}, 1, "file", 0o644, syscall.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	r.handles.add(h)
	r.lookups.add(attr.Ino)
	if err := ns.Unlink(t.Context(), 1, "file"); err != nil {
		t.Fatal(err)
	}
	r.OnUnmount()
	if ns.calls["release"] != 1 || ns.calls["forget"] != 1 || ns.nodes[attr.Ino] != nil {
		t.Errorf("calls %v, inode %+v", ns.calls, ns.nodes[attr.Ino])
	}
}

func TestForgetsAreCounted(t *testing.T) {
	l := newLookups()
	for range 3 {
		l.add(7)
	}
	var got []bool
	for _, n := range []uint64{1, 1, 1, 1} {
		got = append(got, l.forget(7, n))
	}
	if want := []bool{false, false, true, false}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestStoreTroubleIsAnErrno(t *testing.T) {
	m := mountModel(t, serveSpec{IOTimeout: 300 * time.Millisecond})
	for _, tc := range []struct {
		file string
		want error
	}{
		{"broken", unix.EIO},
		{"vanished", unix.ESTALE},
		{"hang until the limit", unix.EIO},
	} {
		t.Run(tc.file, func(t *testing.T) {
			path := filepath.Join(m.dir, tc.file)
			write(t, path, strings.Repeat("x", 1<<20))
			start := time.Now()
			fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECT, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			if _, err := unix.Read(fd, make([]byte, 4096)); err != tc.want {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if took := time.Since(start); took > time.Minute {
				t.Errorf("it took %v", took)
			}
		})
	}
	if !strings.Contains(m.log.String(), "request=read") {
		t.Errorf("the log does not tell: %s", m.log)
	}
}

// readEnv makes the test binary a process that reads a file and says how that ended, with handlers for some signals.
const readEnv = "SHAREFS_TEST_READ"

func init() {
	var flags int
	var path string
	if n, _ := fmt.Sscan(os.Getenv(readEnv), &flags, &path); n != 2 {
		return
	}
	runtime.LockOSThread() // signals for the process go to its first thread, which is this one
	signal.Notify(make(chan os.Signal, 10), syscall.SIGUSR1, syscall.SIGTERM)
	fd, err := unix.Open(path, unix.O_RDONLY|flags, 0)
	fmt.Println("open:", err)
	_, err = unix.Read(fd, make([]byte, 4096))
	fmt.Println("read:", err)
	os.Exit(0)
}

func TestOnlySignalsThatEndAProgramEndItsRequests(t *testing.T) {
	m := mountModel(t, serveSpec{IOTimeout: 20 * time.Second})
	file := filepath.Join(m.dir, "hang")
	write(t, file, strings.Repeat("x", 1<<16))
	for _, tc := range []struct {
		name    string
		flags   int // of open(2)
		signals []syscall.Signal
		ends    bool
		says    string // what the reader says, if anything
	}{
		{"a signal with a handler", unix.O_DIRECT, []syscall.Signal{syscall.SIGUSR1}, false, ""},
		{"asked to end, with a handler", unix.O_DIRECT, []syscall.Signal{syscall.SIGTERM}, true, "interrupted system call"},
		{"killed", unix.O_DIRECT, []syscall.Signal{syscall.SIGKILL}, true, ""},
		{"killed, after another signal", unix.O_DIRECT, []syscall.Signal{syscall.SIGUSR1, syscall.SIGKILL}, true, ""},
		{"ended without a handler", unix.O_DIRECT, []syscall.Signal{syscall.SIGHUP}, true, ""},
		{"killed in the kernel's cache", 0, []syscall.Signal{syscall.SIGKILL}, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := unix.Fadvise(openFile(t, file), 0, 0, unix.FADV_DONTNEED); err != nil {
				t.Fatal(err)
			}
			reader := exec.Command("env", "--default-signal=HUP", os.Args[0]) // whoever runs the tests may ignore it
			reader.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", readEnv, tc.flags, file))
			var out lockedBuffer
			reader.Stdout = &out
			if err := reader.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				_ = reader.Wait()
				close(ended)
			}()
			defer func() {
				_ = reader.Process.Kill()
				<-ended
			}()
			waitForRead(t, &out)
			for _, s := range tc.signals {
				if err := reader.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * signalPoll)
			}
			limit := 3 * signalPoll
			if tc.ends {
				limit = time.Minute
			}
			select {
			case <-ended:
				if !tc.ends {
					t.Errorf("the reader ended and says %q", &out)
				}
			case <-time.After(limit):
				if tc.ends {
					t.Error("the reader hangs")
				}
			}
			if !strings.Contains(out.String(), tc.says) {
				t.Errorf("the reader says %q, want %q", &out, tc.says)
			}
		})
	}
}

// openFile opens a file for reading until the end of the test.
func openFile(t *testing.T, path string) int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return int(f.Fd())
}

// waitForRead waits until the reader has opened its file; it reads at once after that.
func waitForRead(t *testing.T, out *lockedBuffer) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if strings.Contains(out.String(), "open: <nil>") {
			time.Sleep(50 * time.Millisecond)
			return
		}
	}
	t.Fatalf("the reader says %q", out)
}

package test

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"sharefs/test/harness"
)

// stuck are commands that need the store, and wait while it does not answer.
var stuck = []struct{ name, script string }{
	{"a read of what is not local", `exec cat cold >/dev/null`},
	{"a listing of what is not known", `exec ls unknown`},
	{"a stat of what is not known", `exec stat unknown/file`},
	{"an fsync", `exec dd if=/dev/zero of=fsynced count=1 conv=fsync status=none`},
	{"an fsync of a directory", `echo new >known/new; exec sync known`},
	{"an fsync of the root", `exec sync .`},
	{"a write into what is not local", `exec dd if=/dev/zero of=cold2 bs=1 count=10 seek=100000 conv=notrunc status=none`},
	{"a rename of a directory that is not known", `exec mv unknown2 elsewhere`},
	{"a removal of a directory that is not known", `exec rmdir unknown3`},
}

// TestAProcessThatWaitsForTheStoreCanBeKilled: whatever a process waits for, SIGINT and SIGKILL end it at once, and the mount goes on.
func TestAProcessThatWaitsForTheStoreCanBeKilled(t *testing.T) {
	t.Parallel()
	s, proxy := harness.NewStore(t, harness.InsteadOf(harness.MinIO)).Behind(t)
	for _, name := range []string{"cold", "cold2", "cached", "known/file", "unknown/file", "unknown2/file", "unknown3/file"} {
		s.Put(t, name, step{Seed: 1, Size: 300_000}.bytes(), nil)
	}
	m := harness.NewMount(t, s, "--io-timeout", "60s")
	harness.Script(t, m.Dir, "ls -l . known >/dev/null; cat cached >/dev/null; stat -c %n cold cold2 >/dev/null")
	proxy.Stall()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		for _, tc := range stuck {
			t.Run(fmt.Sprintf("%s, %v", tc.name, signal), func(t *testing.T) {
				cmd := exec.Command("bash", "-c", tc.script)
				cmd.Dir = m.Dir
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				ended := make(chan error, 1)
				go func() { ended <- cmd.Wait() }()
				select {
				case err := <-ended:
					t.Fatalf("it did not wait for the store: %v", err)
				case <-time.After(500 * time.Millisecond): // it waits
				}
				began := time.Now()
				if err := cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				select {
				case err := <-ended:
					var exit *exec.ExitError
					if !errors.As(err, &exit) {
						t.Errorf("it ended with %v", err)
					}
				case <-time.After(busy):
					t.Errorf("it still waits %v after the signal", time.Since(began))
					proxy.Resume() // so that the test ends
					<-ended
					proxy.Stall()
				}
			})
		}
	}
	needNothing(t, m)
	proxy.Resume()
	m.Flush()
	harness.Script(t, m.Dir, `cat cold cold2 known/new unknown/file >/dev/null; ls unknown2 unknown3 >/dev/null`)
}

// needNothing does what must not wait for the store.
func needNothing(t *testing.T, m *harness.Mount) {
	t.Helper()
	for _, script := range []string{
		`stat -f . >/dev/null; df . >/dev/null`,
		`stat cold known known/file >/dev/null`,
		`ls -l . known >/dev/null`,
		`cat cached >/dev/null`,
		`echo content >known/made; test "$(cat known/made)" = content`,
		`mkdir known/dir; mv known/made known/dir/moved; rm known/dir/moved; rmdir known/dir`,
		`test ! -e known/missing`,
		`chmod 600 known/file; touch known/file; mv known/file known/renamed`,
		`setfattr -n user.a -v b known; : >cold`,
	} {
		began := time.Now()
		harness.Script(t, m.Dir, script)
		if took := time.Since(began); took > busy {
			t.Errorf("without the store this took %v: %s", took, script)
		}
	}
	began := time.Now()
	if status := m.Status(); status.Pending.Files == 0 || time.Since(began) > busy {
		t.Errorf("status took %v and says %+v", time.Since(began), status.Pending)
	}
}

// TestWhoWaitsForAFileThatAnotherProcessWaitsWithCanBeKilled: a writer waits for bytes of a file that the store does not send, and a
// flush of everything waits behind it. Who reads the file can be killed all the same. (Another writer cannot, nor a second fsync:
// they wait in the kernel, for the lock of the inode.)
func TestWhoWaitsForAFileThatAnotherProcessWaitsWithCanBeKilled(t *testing.T) {
	t.Parallel()
	s, proxy := harness.NewStore(t, harness.InsteadOf(harness.MinIO)).Behind(t)
	s.Put(t, "cold", step{Seed: 1, Size: 300_000}.bytes(), nil)
	m := harness.NewMount(t, s, "--io-timeout", "60s")
	harness.Script(t, m.Dir, "stat cold >/dev/null")
	proxy.Stall()
	start := func(script string) (*exec.Cmd, chan error) {
		cmd := exec.Command("bash", "-c", script)
		cmd.Dir = m.Dir
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		time.Sleep(500 * time.Millisecond) // until it waits
		return cmd, ended
	}
	var first []*exec.Cmd
	var ends []chan error
	for _, script := range []string{
		`exec dd if=/dev/zero of=cold bs=1 count=10 seek=100000 conv=notrunc status=none`,
		`exec sync .`,
	} {
		cmd, ended := start(script)
		first, ends = append(first, cmd), append(ends, ended)
	}
	for _, script := range []string{
		`exec cat cold >/dev/null`,
		`exec stat cold >/dev/null`,
		`exec 3<>cold; sleep 0; exec tail -c 1 <&3`,
		`exec df . >/dev/null`,
	} {
		t.Run(script, func(t *testing.T) {
			cmd, ended := start(script)
			began := time.Now()
			_ = cmd.Process.Signal(syscall.SIGKILL) // it may have ended: some need no bytes
			select {
			case <-ended:
			case <-time.After(busy):
				t.Errorf("it still waits %v after SIGKILL", time.Since(began))
				proxy.Resume()
				<-ended
				proxy.Stall()
			}
		})
	}
	for i, cmd := range first {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		select {
		case <-ends[i]:
		case <-time.After(busy):
			t.Error("the first ones still wait after SIGKILL")
			proxy.Resume()
			<-ends[i]
		}
	}
	proxy.Resume()
	m.Flush()
}

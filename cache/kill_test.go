package cache

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"sharefs/provider"
)

// killDir names the directory of a cache to a child process that fills it until it is killed.
const killDir = "SHAREFS_CACHE_TEST_KILL_DIR"

const killContents = 12

func killStore(i int) *store { return newStore(ID(i+1), int64(i+1)*300*kib+17) }

// fillUntilKilled reads all the time, in a cache that is too small.
func fillUntilKilled(dir string) error {
	c, err := Open(dir, Options{Size: 10 * mib, KeepFree: -1, Owner: "test"})
	if err != nil {
		return err
	}
	stores := make([]*store, killContents)
	for i := range stores {
		stores[i] = killStore(i)
	}
	for round := 0; ; round++ {
		if round == killContents {
			if _, err := os.Stdout.WriteString("ready\n"); err != nil {
				return err
			}
		}
		s := stores[rand.IntN(killContents)]
		f := c.File(s.obj, s.fetch)
		for range 3 {
			if err := tryReadCtx(context.Background(), f, s, rand.Int64N(s.obj.Size), 256*kib); err != nil {
				return err
			}
		}
		if err := f.Close(); err != nil {
			return err
		}
		if rand.IntN(5) == 0 {
			c.Drop(s.obj.ID)
		}
	}
}

// TestNothingFalseIsServedAfterKills kills a process at any moment, many times, and reads what it left.
func TestNothingFalseIsServedAfterKills(t *testing.T) {
	const kills = 12
	dir := t.TempDir()
	kept := int64(0)
	for range kills {
		killAChild(t, dir)
		c := openCache(t, dir, Options{Size: 10 * mib, Owner: "test"})
		checkAccounts(t, c)
		kept += stats(t, c).Bytes
		for i := range killContents {
			s := killStore(i)
			offline := &provider.Error{Op: "open", Kind: provider.KindUnavailable}
			s.fail = func(int64, int64) error { return offline }
			f := c.File(s.obj, s.fetch)
			for off := int64(0); off < s.obj.Size; off += blk {
				if err := tryReadCtx(context.Background(), f, s, off, blk); err != nil {
					t.Fatal(err)
				}
			}
			mustClose(t, f)
		}
		if n := stats(t, c).CorruptBlocks; n != 0 {
			t.Errorf("%d blocks do not match, and no power failed", n)
		}
		closeCache(t, c)
	}
	if kept == 0 {
		t.Error("the kills left nothing to check")
	}
}

func killAChild(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Errorf("the child did not begin: %v", err)
	}
	time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond) // a moment that nobody chose
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
		t.Errorf("the child was not killed: %v", err)
	}
}

// childMain is what a child process does instead of the tests; false in any other.
func childMain() bool {
	dir := os.Getenv(killDir)
	if dir == "" {
		return false
	}
	slog.Error("the child ends", "error", fillUntilKilled(dir))
	return true
}

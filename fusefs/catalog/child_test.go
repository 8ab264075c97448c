package catalog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"sharefs/provider"
)

// childJob names, in the environment, what the test binary is to do instead of running tests; childDir where.
const (
	childJob = "CATALOG_TEST_JOB"
	childDir = "CATALOG_TEST_DIR"
)

func child(t *testing.T, job, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childJob+"="+job, childDir+"="+dir)
	return cmd
}

func runChild(job string) int {
	jobs := map[string]func(string) error{"write until killed": writeUntilKilled, "outgrow the limit": outgrowTheLimit}
	if err := jobs[job](os.Getenv(childDir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// writeUntilKilled makes ten rows in each update and prints the update's number when it has been committed.
func writeUntilKilled(dir string) error {
	c, err := Open(context.Background(), dir)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		err := c.Update(func(tx *Tx) error {
			for j := range 10 {
				n, err := row(tx, RootIno, fmt.Sprintf("%d-%d", i, j), provider.ModeFile)
				n.Size, n.Dirty = 1, day
				if err := errors.Join(err, tx.Put(n)); err != nil {
					return err
				}
			}
			return tx.Doom(strconv.Itoa(i), "", day)
		})
		if err != nil {
			return err
		}
		fmt.Println(i)
	}
}

func TestWhatWasCommittedSurvivesAKilledProcess(t *testing.T) {
	at := t.TempDir()
	highest := uint64(0)
	for round := range 5 {
		cmd := child(t, "write until killed", at)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last := -1
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if last, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
			if last == 50+31*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // it was killed
		if last < 50+31*round {
			t.Fatalf("the child ended by itself after update %d", last)
		}
		c := open(t, at)
		if err := sameUsage(c); err != nil {
			t.Fatal(err)
		}
		whole := 0
		update(t, c, func(tx *Tx) error {
			for i := 0; ; i++ {
				_, doomed, err := tx.DoomedAt(strconv.Itoa(i))
				if err != nil {
					return err
				}
				rows := 0
				for j := range 10 {
					if n, err := tx.Child(RootIno, fmt.Sprintf("%d-%d", i, j)); err == nil {
						rows++
						highest = max(highest, n.Ino)
						if err := tx.Delete(n.Ino); err != nil {
							return err
						}
					}
				}
				if rows != 0 && rows != 10 || doomed != (rows == 10) {
					t.Fatalf("update %d is there in parts: %d rows, doomed %v", i, rows, doomed)
				}
				if rows == 0 {
					whole = i
					break
				}
				if err := tx.Spare(strconv.Itoa(i)); err != nil {
					return err
				}
			}
			ino, err := tx.NewIno()
			if ino <= highest {
				t.Errorf("inode %d is given again, %d was used", ino, highest)
			}
			highest = ino
			return err
		})
		if whole <= last {
			t.Fatalf("update %d was committed, only %d are there", last, whole)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// outgrowTheLimit fills a catalog until its files may grow no more, as on a full disk, and then goes on when they may.
func outgrowTheLimit(dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	c, err := Open(context.Background(), dir)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Update(func(tx *Tx) error { return tx.Put(root()) }); err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	unlimited := limit
	limit.Cur = 1 << 20
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	batch := func(i int) func(*Tx) error {
		return func(tx *Tx) error {
			for j := range 100 {
				n, err := row(tx, RootIno, fmt.Sprintf("%d-%d-%s", i, j, strings.Repeat("n", 200)), provider.ModeFile)
				n.Size = 1
				if err := errors.Join(err, tx.Put(n)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	done, failed := 0, 0
	for failed < 3 {
		ran := false
		err := c.Update(func(tx *Tx) error {
			tx.After(func() { ran = true })
			return batch(done)(tx)
		})
		if (err == nil) != ran {
			return fmt.Errorf("update %d: %v, and After ran: %v", done, err, ran)
		}
		if err == nil {
			done++
		} else {
			failed++
		}
		if want := (Usage{Files: int64(done) * 100, Bytes: int64(done) * 100, Unlisted: 1}); c.Usage() != want {
			return fmt.Errorf("usage is %+v, want %+v", c.Usage(), want)
		}
		if err := sameUsage(c); err != nil { // a full disk can be read
			return fmt.Errorf("full: %w", err)
		}
		if done > 1000 {
			return errors.New("the limit was never reached")
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &unlimited); err != nil {
		return err
	}
	if err := c.Update(batch(done)); err != nil {
		return fmt.Errorf("there is room again: %w", err)
	}
	if err := sameUsage(c); err != nil {
		return err
	}
	return c.Close()
}

func TestAFullDiskFailsUpdatesAndNothingElse(t *testing.T) {
	at := t.TempDir()
	if out, err := child(t, "outgrow the limit", at).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := sameUsage(open(t, at)); err != nil {
		t.Error(err)
	}
}

package catalog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"sharefs/provider"
)

func TestTheReserveIsGivenUpToAFullDiskInSlicesAndMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fresh(t)
		slice, size := c.reserve.slice(), c.ReserveSize()
		path := filepath.Join(filepath.Dir(c.path), "reserve")
		n := 0
		// step makes a transaction on a disk with so much free, of which others at once take what is given up, taken times.
		step := func(what string, free int64, taken int, lacks int64) {
			t.Helper()
			had := c.ReserveLacks()
			c.reserve.disk = func() (int64, bool) {
				if gave := (c.ReserveLacks() - had) / slice; gave > int64(taken) {
					return free + (gave-int64(taken))*slice, true
				}
				return free, true
			}
			n++
			file(t, c, RootIno, fmt.Sprint(n))
			if got := c.ReserveLacks(); got != lacks {
				t.Errorf("%s: %d bytes are given up, want %d", what, got, lacks)
			}
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err != nil || st.Blocks*512 < size-lacks {
				t.Errorf("%s: %v, %d blocks", what, err, st.Blocks)
			}
		}
		step("enough", 1<<40, 0, 0)
		step("little", slice-1, 0, slice)
		step("enough for this one", slice, 0, slice)
		step("others take two slices", 0, 2, 4*slice)
		step("enough, but just now there was not", 1<<40, 0, 4*slice)
		time.Sleep(2 * time.Second)
		step("enough again", 1<<40, 0, 0)
		step("others take all", 0, 1<<20, size)
		time.Sleep(2 * time.Second)
		step("enough after that", 1<<40, 0, 0)
	})
}

func TestAFullDatabaseGivesUpTheReserveAndSaysNoSpace(t *testing.T) {
	c := fresh(t)
	if c.ReserveLacks() != 0 {
		t.Fatal("there is no reserve")
	}
	if _, err := c.conn.ExecContext(t.Context(), "PRAGMA max_page_count = 40"); err != nil {
		t.Fatal(err)
	}
	err := c.Update(func(tx *Tx) error {
		for i := range 10_000 {
			n, err := row(tx, RootIno, fmt.Sprint(i), provider.ModeFile)
			if err := errors.Join(err, tx.Put(n)); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, unix.ENOSPC) || c.ReserveLacks() == 0 {
		t.Errorf("%v, lacks %d", err, c.ReserveLacks())
	}
	if fi, err := os.Stat(filepath.Join(filepath.Dir(c.path), "reserve")); err != nil || fi.Size() != c.ReserveSize()-c.ReserveLacks() {
		t.Error(fi, err)
	}
}

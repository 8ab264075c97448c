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

func TestTheReserveIsGivenUpToAFullDiskAndMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := int64(1 << 40)
		c := fresh(t)
		path := filepath.Join(filepath.Dir(c.path), "reserve")
		c.reserve.disk = func() (int64, bool) { return free, true }
		n := 0
		step := func(what string, diskFree int64, held bool) {
			t.Helper()
			free = diskFree
			n++
			file(t, c, RootIno, fmt.Sprint(n))
			var st unix.Stat_t
			err := unix.Stat(path, &st)
			if there := err == nil; there != held || held && st.Blocks*512 < c.ReserveSize() {
				t.Errorf("%s: %v, %d blocks, want held: %v", what, err, st.Blocks, held)
			}
			if lacks := c.ReserveLacks(); lacks != map[bool]int64{true: 0, false: c.ReserveSize()}[held] {
				t.Errorf("%s: lacks %d", what, lacks)
			}
		}
		step("enough", 1<<40, true)
		step("little", c.ReserveSize()/2-1, false)
		step("what it gave back", c.ReserveSize()*3/2, false)
		step("enough, but just now there was not", 1<<40, false)
		time.Sleep(2 * time.Second)
		step("enough again", 1<<40, true)
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
	if _, err := os.Stat(filepath.Join(filepath.Dir(c.path), "reserve")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

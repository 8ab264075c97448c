package catalog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// countFsyncs makes every fsync of a catalog call f before it does its work.
func countFsyncs(c *Catalog, f func() error) {
	fsync := c.syncer.fsync
	c.syncer.fsync = func() error {
		if err := f(); err != nil {
			return err
		}
		return fsync()
	}
}

func TestManyWhoWaitShareAnFsync(t *testing.T) {
	c := fresh(t)
	if err := c.Sync(); err != nil {
		t.Fatal(err)
	}
	const callers = 100
	began, goOn := make(chan struct{}, callers), make(chan struct{})
	countFsyncs(c, func() error { began <- struct{}{}; <-goOn; return nil })
	before := c.Syncs()
	var wg sync.WaitGroup
	call := func(i int) {
		file(t, c, RootIno, fmt.Sprint("f", i))
		wg.Go(func() {
			if err := c.Sync(); err != nil {
				t.Error(err)
			}
		})
	}
	call(0)
	<-began // the first fsync is under way: nobody who comes now is served by it
	for i := range callers - 1 {
		call(i + 1)
	}
	for limit := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		c.syncer.mu.Lock()
		waiting := c.syncer.next != nil
		c.syncer.mu.Unlock()
		if waiting {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("nobody waits for a second fsync")
		}
	}
	close(goOn)
	wg.Wait()
	// Those who were not there yet when the second began share a third.
	if n := c.Syncs() - before; n < 2 || n > 3 {
		t.Errorf("%d callers made %d fsyncs, want 2 or 3", callers, n)
	}
}

func TestSyncCostsNothingWhenNothingWasCommitted(t *testing.T) {
	c := fresh(t)
	if err := c.Sync(); err != nil {
		t.Fatal(err)
	}
	before := c.Syncs()
	if err := errors.Join(c.Sync(), c.Sync()); err != nil || c.Syncs() != before {
		t.Errorf("%d fsyncs, %v", c.Syncs()-before, err)
	}
}

func TestWhatAKilledProcessCommittedIsSyncedByTheNext(t *testing.T) {
	at := t.TempDir()
	c := open(t, at)
	update(t, c, func(tx *Tx) error { return tx.Put(root()) })
	_ = c.log.Close() // not Close: that would empty the log
	next := t.TempDir()
	copyCatalog(t, at, next)
	again := open(t, next)
	if err := again.Sync(); err != nil || again.Syncs() != 1 {
		t.Errorf("%d fsyncs, %v", again.Syncs(), err)
	}
}

// TestTheLogThatIsSyncedIsTheOneThatSQLiteWrites moves the log into the database, by size and on purpose: a log that was made
// anew would be synced in vain.
func TestTheLogThatIsSyncedIsTheOneThatSQLiteWrites(t *testing.T) {
	c := fresh(t)
	for i := range 3000 {
		file(t, c, RootIno, fmt.Sprintf("%04d %s", i, strings.Repeat("x", 200)))
	}
	for _, how := range []string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"} {
		if _, err := c.conn.ExecContext(t.Context(), "PRAGMA wal_checkpoint("+how+")"); err != nil {
			t.Fatal(err)
		}
		file(t, c, RootIno, how)
		held, err := c.log.Stat()
		if err != nil {
			t.Fatal(err)
		}
		named, err := os.Stat(c.path + "-wal")
		if err != nil || !os.SameFile(held, named) || held.Size() == 0 {
			t.Errorf("after %s: %v, same %v, %d bytes", how, err, os.SameFile(held, named), held.Size())
		}
	}
}

func copyCatalog(t *testing.T, from, to string) {
	t.Helper()
	for _, name := range []string{"catalog.db", "catalog.db-wal"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFailedFsyncIsNotForgotten(t *testing.T) {
	c := fresh(t)
	failing := errors.New("input/output error")
	countFsyncs(c, func() error { err := failing; failing = nil; return err })
	for range 2 {
		if err := c.Sync(); err == nil || !strings.Contains(err.Error(), "input/output error") {
			t.Errorf("%v, want the first fsync's error", err)
		}
	}
}

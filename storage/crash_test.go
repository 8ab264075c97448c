package storage_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"syscall"
	"testing"
	"time"

	"sharefs/storage"
	"sharefs/storage/crashfs"
	"sharefs/storage/storagetest"
)

func TestSuiteOnACrashableDisk(t *testing.T) {
	for name, durability := range map[string]storage.Durability{"ordered": storage.Ordered, "durable": storage.Durable, "relaxed": storage.Relaxed} {
		t.Run(name, func(t *testing.T) {
			storagetest.Run(t, func(*testing.T) storagetest.Place {
				return storagetest.Place{FS: crashfs.New(), Dir: "/storage", Durability: durability}
			})
		})
	}
}

// crashStore is a store on a disk that may lose power.
type crashStore struct {
	disk *crashfs.FS
	*storage.Store
}

func openCrash(disk *crashfs.FS, durability storage.Durability) (crashStore, error) {
	s, err := storage.Open("/storage", storage.Options{
		FS: disk, NodeID: storagetest.Node, Durability: durability, Now: func() time.Time { return clock }, Log: slog.New(slog.DiscardHandler),
	})
	return crashStore{disk, s}, err
}

// crashCase is something that is cut off, and what may be left.
type crashCase struct {
	before func(s crashStore) error
	do     func(s crashStore) error
	// state describes what is there: old before, new after.
	state func(s crashStore) (string, error)
}

func uploadOf(s crashStore, i storage.Index, size int, numbers ...int) error {
	got, err := s.Allocate(i, storage.Allocation{Shares: numbers, Size: int64(size), Lease: lease(0)})
	if err != nil {
		return err
	}
	for _, n := range numbers {
		u := got.Uploads[n]
		if u == nil {
			return fmt.Errorf("share %d is not allocated", n)
		}
		for at := 0; at < size; at += 1000 {
			if _, err := u.Write(int64(at), body(size)[at:min(at+1000, size)]); err != nil {
				return err
			}
		}
		if err := u.Close(); err != nil {
			return err
		}
	}
	return nil
}

func slotOf(s crashStore, shares map[int]storage.ShareUpdate) error {
	_, err := s.ReadTestWrite(index(1), storage.SlotUpdate{
		Secrets: storagetest.Slot(0), Shares: shares,
	})
	return err
}

// shareState describes a share: its data and how many leases hold it.
func shareState(s crashStore, i storage.Index, number int) (string, error) {
	h, err := s.OpenShare(i, number)
	if errors.Is(err, fs.ErrNotExist) {
		return "none", nil
	}
	if err != nil {
		return "", err
	}
	data := make([]byte, h.Size())
	if n, err := h.ReadAt(data, 0); n < len(data) {
		return "", err
	}
	leases, err := s.Leases(i, number)
	if err != nil {
		return "", err
	}
	for n, l := range leases {
		if !l.RenewedBy(lease(n).Renew) {
			return "", fmt.Errorf("lease %d is of nobody", n)
		}
	}
	return fmt.Sprintf("%x, %d leases", data, len(leases)), h.Close()
}

func slotState(s crashStore) (string, error) { return shareState(s, index(1), 0) }

func manySectors(salt byte) map[int]storage.ShareUpdate {
	data := body(5000)
	data[0], data[4999] = salt, salt
	return map[int]storage.ShareUpdate{0: {Writes: writes(0, data)}}
}

var crashCases = map[string]crashCase{
	"an upload": {
		before: func(crashStore) error { return nil },
		do:     func(s crashStore) error { return uploadOf(s, index(0), 5000, 0) },
		state:  func(s crashStore) (string, error) { return shareState(s, index(0), 0) },
	},
	"an upload beside a share": {
		before: func(s crashStore) error { return uploadOf(s, index(0), 100, 1) },
		do:     func(s crashStore) error { return uploadOf(s, index(0), 5000, 0) },
		state:  func(s crashStore) (string, error) { return shareState(s, index(0), 0) },
	},
	"a new slot": {
		before: func(crashStore) error { return nil },
		do:     func(s crashStore) error { return slotOf(s, manySectors(1)) },
		state:  slotState,
	},
	"an update of a slot": {
		before: func(s crashStore) error { return slotOf(s, manySectors(1)) },
		do:     func(s crashStore) error { return slotOf(s, manySectors(2)) },
		state:  slotState,
	},
	"the removal of a slot": {
		before: func(s crashStore) error { return slotOf(s, manySectors(1)) },
		do: func(s crashStore) error {
			return slotOf(s, map[int]storage.ShareUpdate{0: {NewLength: new(int64)}})
		},
		state: slotState,
	},
	"a new lease of a share": {
		before: func(s crashStore) error { return uploadOf(s, index(0), 5000, 0) },
		do:     func(s crashStore) error { return s.AddLease(index(0), lease(1)) },
		state:  func(s crashStore) (string, error) { return shareState(s, index(0), 0) },
	},
	"a new lease of a slot": {
		before: func(s crashStore) error { return slotOf(s, manySectors(1)) },
		do:     func(s crashStore) error { return s.AddLease(index(1), lease(1)) },
		state:  slotState,
	},
}

// TestALossOfPowerLeavesTheOldOrTheNew cuts each operation off at each of its calls, and looks at what may be left. What has
// returned is there, if the store is durable.
func TestALossOfPowerLeavesTheOldOrTheNew(t *testing.T) {
	for name, c := range crashCases {
		for _, durability := range []storage.Durability{storage.Ordered, storage.Durable} {
			t.Run(fmt.Sprintf("%s, durability %d", name, durability), func(t *testing.T) {
				old, new, calls := c.whole(t, durability)
				for n := 1; n <= calls+1; n++ {
					c.cutOff(t, durability, n, old, new)
				}
			})
		}
	}
}

// prepared returns a store on which the operation may follow.
func (c crashCase) prepared(t *testing.T, durability storage.Durability) crashStore {
	t.Helper()
	s, err := openCrash(crashfs.New(), durability)
	if err == nil {
		err = c.before(s)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.disk.SyncAll()
	return s
}

// whole does the operation to its end, and returns the state before and after, and how many calls it had.
func (c crashCase) whole(t *testing.T, durability storage.Durability) (before, after string, calls int) {
	t.Helper()
	s := c.prepared(t, durability)
	before, err := c.state(s)
	from := s.disk.Calls()
	if err == nil {
		err = c.do(s)
	}
	calls = s.disk.Calls() - from
	if err == nil {
		after, err = c.state(s)
	}
	if err != nil || before == after || calls == 0 {
		t.Fatalf("the operation changes %q to %q in %d calls: %v", before, after, calls, err)
	}
	return before, after, calls
}

// TestAFailureLeavesTheOldOrTheNew lets each call of each operation fail once, as on a full disk. What is left is the old or the
// new, and the operation can be repeated.
func TestAFailureLeavesTheOldOrTheNew(t *testing.T) {
	for name, c := range crashCases {
		t.Run(name, func(t *testing.T) {
			before, after, calls := c.whole(t, storage.Durable)
			for n := 1; n <= calls; n++ {
				s := c.prepared(t, storage.Durable)
				s.disk.FailAt(n, syscall.ENOSPC)
				old := before
				if failed := c.do(s); failed == nil { // what failed does not matter, as removing an empty directory
					old = after
				} else if !errors.Is(failed, syscall.ENOSPC) {
					t.Errorf("call %d fails: %v", n, failed)
				}
				if got, err := c.state(s); err != nil || got != old && got != after {
					t.Errorf("call %d fails, and there is %.80q: %v", n, got, err)
				}
				if err := s.Close(); err != nil {
					t.Errorf("call %d fails, and then closing: %v", n, err)
				}
				if stats := s.Stats(); stats.Uploads != 0 || stats.Allocated != 0 {
					t.Errorf("call %d fails, and the store has %+v", n, stats)
				}
				c.repeat(t, s, n, after)
			}
		})
	}
}

// repeat does an operation again, after one in which a call has failed.
func (c crashCase) repeat(t *testing.T, s crashStore, n int, after string) {
	t.Helper()
	if got, err := c.state(s); err != nil || got == after {
		return // it is done, or was said to be wrong
	}
	if err := c.do(s); err != nil {
		t.Errorf("call %d has failed, and the next time: %v", n, err)
	}
	if got, err := c.state(s); err != nil || got != after {
		t.Errorf("call %d has failed, and the next time there is %.80q: %v", n, got, err)
	}
	incoming, err := s.disk.ReadDir("/storage/shares/incoming")
	if err != nil || len(incoming) > 0 {
		t.Errorf("call %d has failed, and incoming has %v: %v", n, incoming, err)
	}
}

func (c crashCase) cutOff(t *testing.T, durability storage.Durability, n int, before, after string) {
	t.Helper()
	s := c.prepared(t, durability)
	s.disk.CrashAt(n)
	done := c.do(s) == nil
	for _, kept := range crashfs.Worlds {
		again, err := openCrash(s.disk.After(kept), durability)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.state(again)
		may := []string{before, after}
		if done && durability == storage.Durable {
			may = []string{after}
		}
		if err != nil || !slices.Contains(may, got) {
			t.Errorf("cut off at call %d, with %+v left, there is %.80q: %v", n, kept, got, err)
		}
		if incoming, err := again.disk.ReadDir("/storage/shares/incoming"); err != nil || len(incoming) > 0 {
			t.Errorf("cut off at call %d, with %+v left, incoming has %v: %v", n, kept, incoming, err)
		}
	}
}

package storage_test

import (
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sharefs/storage"
	"sharefs/storage/crashfs"
	"sharefs/storage/storagetest"
)

func openMem(t *testing.T) *storage.Store {
	t.Helper()
	s, err := storage.Open("/storage", storage.Options{FS: crashfs.New(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnUploadThatIsNotWrittenToIsAborted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openMem(t)
		got, err := s.Allocate(index(0), storage.Allocation{Shares: []int{0}, Size: 100, Lease: lease(0)})
		if err != nil {
			t.Fatal(err)
		}
		u := got.Uploads[0]
		for range 3 { // each write gives it another half hour
			time.Sleep(storage.UploadTimeout - time.Second)
			if _, err := u.Write(0, body(10)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(storage.UploadTimeout + time.Second)
		synctest.Wait()
		if _, err := u.Write(0, body(10)); !errors.Is(err, storage.ErrUploadEnded) {
			t.Errorf("writing after the time is over: %v", err)
		}
		if stats := s.Stats(); stats.Uploads != 0 || stats.Allocated != 0 || stats.Operations["abort"] != 1 {
			t.Errorf("the store says %+v", stats)
		}
		again, err := s.Allocate(index(0), storage.Allocation{Shares: []int{0}, Size: 100, Lease: lease(0)})
		if err != nil || len(again.Uploads) != 1 {
			t.Errorf("allocated again: %+v, %v", again, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestUpdatesOfASlotAreOneAfterTheOther has many clients that each add one to a number, if nobody else did: no one is lost.
func TestUpdatesOfASlotAreOneAfterTheOther(t *testing.T) {
	s := openMem(t)
	const clients, each = 4, 50
	set := func(old, next byte) (bool, error) {
		test := storage.Test{Range: storage.Range{Length: 1}}
		if old > 0 {
			test.Specimen = []byte{old}
		}
		got, err := s.ReadTestWrite(index(0), storage.SlotUpdate{
			Secrets: storagetest.Slot(0),
			Shares:  map[int]storage.ShareUpdate{0: {Tests: []storage.Test{test}, Writes: writes(0, []byte{next})}},
		})
		return got.Written, err
	}
	read := func() (byte, error) {
		got, err := s.ReadSlot(index(0), nil, []storage.Range{{Length: 1}})
		if err != nil || got[0] == nil {
			return 0, err
		}
		return got[0][0][0], nil
	}
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for done := 0; done < each; {
				old, err := read()
				written := false
				if err == nil {
					written, err = set(old, old+1)
				}
				if err != nil {
					t.Error(err)
					return
				}
				if written {
					done++
				}
			}
		})
	}
	all.Wait()
	if got, err := read(); err != nil || got != clients*each {
		t.Errorf("the number is %d, want %d: %v", got, clients*each, err)
	}
}

// blockingFS lets the test hold an operation on one file.
type blockingFS struct {
	storage.FS
	file    string
	entered chan struct{}
	release chan struct{}
	once    atomic.Bool
}

func (b *blockingFS) Rename(oldName, newName string) error {
	if newName == b.file && b.once.CompareAndSwap(false, true) {
		b.entered <- struct{}{}
		<-b.release
	}
	return b.FS.Rename(oldName, newName)
}

// TestOneStorageIndexDoesNotWaitForAnother holds the end of one upload, and does everything to another share meanwhile.
func TestOneStorageIndexDoesNotWaitForAnother(t *testing.T) {
	disk := &blockingFS{FS: crashfs.New(), entered: make(chan struct{}), release: make(chan struct{})}
	disk.file = "/storage/shares/" + index(0).Prefix() + "/" + index(0).String() + "/0"
	s, err := storage.Open("/storage", storage.Options{FS: disk, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	slow := make(chan error, 1)
	go func() { slow <- uploadOf(crashStore{Store: s}, index(0), 100, 0) }()
	<-disk.entered
	c := client{t, s}
	c.check(uploadOf(crashStore{Store: s}, index(1), 100, 0))
	c.check(s.AddLease(index(1), lease(1)))
	if h, err := s.OpenShare(index(1), 0); err != nil {
		t.Error(err)
	} else if err := h.Close(); err != nil {
		t.Error(err)
	}
	close(disk.release)
	c.check(<-slow)
	c.check(s.Close())
}

func TestLatenciesArePercentilesOfTheLastOperations(t *testing.T) {
	now := clock
	s, err := storage.Open("/storage", storage.Options{FS: crashfs.New(), Now: func() time.Time {
		now = now.Add(time.Millisecond) // so an operation takes one
		return now
	}})
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 2500; n++ {
		if _, err := s.Shares(index(0)); err != nil {
			t.Fatal(err)
		}
		got := s.Stats().Latencies["get"]
		if want := min(n, 1000); n < 1000 && got.Samples != want || n == 2500 && got.Samples != 1000 {
			t.Fatalf("after %d operations there are %d samples", n, got.Samples)
		}
		if known := got.P999 == time.Millisecond; n < 1000 && known || n >= 1000 && !known {
			t.Fatalf("after %d operations the longest of a thousand is %v", n, got.P999)
		}
		if n == 10 && (got.P50 != time.Millisecond || got.P95 != -1 || got.Mean != time.Millisecond) {
			t.Errorf("after ten operations: %+v", got)
		}
	}
	if n := s.Stats().Operations["get"]; n != 2500 {
		t.Errorf("%d operations are counted", n)
	}
}

func TestWhatIsNoStorageIndexIsRefused(t *testing.T) {
	for _, text := range []string{
		"", "22", "26sm4dx5mkcdlvdurgbgmsog4", "26sm4dx5mkcdlvdurgbgmsog4yy", "26SM4DX5MKCDLVDURGBGMSOG4Y", "26sm4dx5mkcdlvdurgbgmsog4z",
		"../../../../../../etc/passw", "26sm4dx5mkcdlvdurgbgmsog\ny", "26sm4dx5mkcdlvdurgbgmsog4=",
	} {
		if i, err := storage.ParseIndex(text); err == nil {
			t.Errorf("%q is %v", text, i)
		}
	}
	if i, err := storage.ParseIndex(index(1).String()); err != nil || i != index(1) {
		t.Errorf("%v comes back as %v, %v", index(1), i, err)
	}
}

func TestAStoreOnADiskThatCannotBeWrittenIsRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(golden+"/server")); err != nil {
		t.Fatal(err)
	}
	s, err := storage.Open(dir, storage.Options{FS: unwritable{storage.OS()}, ReadOnly: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Shares(index(0)); err != nil || len(got) != 2 {
		t.Errorf("shares: %v, %v", got, err)
	}
	if leases, err := s.Leases(index(1), 0); err != nil || len(leases) != 3 {
		t.Errorf("leases: %v, %v", leases, err)
	}
}

// unwritable is a disk that is mounted read-only.
type unwritable struct{ storage.FS }

func (unwritable) Mkdir(string, os.FileMode) error { return os.ErrPermission }
func (unwritable) Remove(string) error             { return os.ErrPermission }
func (unwritable) Rename(string, string) error     { return os.ErrPermission }
func (u unwritable) OpenFile(name string, flag int, perm os.FileMode) (storage.File, error) {
	if flag != os.O_RDONLY {
		return nil, os.ErrPermission
	}
	return u.FS.OpenFile(name, flag, perm)
}

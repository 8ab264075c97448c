package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// memDir makes a directory in memory: there stat tells at once what a file takes.
func memDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "stage-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// taken returns what the files of a directory take on disk.
func taken(t failer, dir string) (n int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		var st unix.Stat_t
		if err := unix.Stat(dir+"/"+e.Name(), &st); err != nil {
			t.Fatal(err)
		}
		n += st.Blocks * 512
	}
	return n
}

type failer interface{ Fatal(...any) }

// TestWhatIsCountedIsWhatTheDiskSays compares after every random operation, with restarts and a failing base.
func TestWhatIsCountedIsWhatTheDiskSays(t *testing.T) {
	dir := memDir(t)
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		m := newModel(rt, fmt.Sprintf("%s/%d", dir, runs))
		defer m.close()
		rt.Repeat(map[string]func(*rapid.T){
			"": func(rt *rapid.T) {
				if got, want := m.store.Room().Used, taken(rt, m.dir); got != want {
					rt.Fatalf("%d bytes are counted, the disk says %d", got, want)
				}
				if n := m.store.room.reserved; n != 0 {
					rt.Fatalf("%d bytes stay reserved", n)
				}
			},
			"read": m.read, "write": m.write, "truncate": m.truncate, "allocate": m.allocate, "fill": m.fill,
			"snapshot": m.snapshot, "restart": m.restart, "reboot": m.reboot, "break": m.breakBase,
			"other": func(rt *rapid.T) { m.other(rt) },
		})
	})
}

// other makes, writes, and removes, detaches or closes another file.
func (m *model) other(t *rapid.T) {
	f, err := m.store.Create(2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bg, pattern(2, drawSize(t, "other")), drawSize(t, "at")); err != nil {
		t.Fatal(err)
	}
	switch rapid.IntRange(0, 2).Draw(t, "end") {
	case 0:
		err = errors.Join(m.store.Remove(2), f.Close())
	case 1:
		err = errors.Join(f.Close(), m.store.Remove(2))
	case 2:
		var path string
		if path, err = f.Detach(); err == nil {
			err = os.Remove(path)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// small is a store with room for pages pages of content, over a disk that never is full.
func small(t *testing.T, pages int64, o RoomOptions) *Store {
	t.Helper()
	o.Size = pages * page
	s, err := Open(memDir(t), Options{FillSize: 4 * page, BootID: testBoot, Room: o})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func create(t *testing.T, s *Store, id ID) *File {
	t.Helper()
	f, err := s.Create(id)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, f)
	return f
}

// grow writes pages in room that it waits for.
func grow(ctx context.Context, s *Store, f *File, pages int64) error {
	room, lacks := f.Reserve(f.Size(), pages*page)
	if room == nil {
		var err error
		if room, err = s.Await(ctx, f.id, lacks, ForContent); err != nil {
			return err
		}
	}
	defer room.Release()
	_, err := f.WriteAt(ctx, pattern(1, pages*page), f.Size())
	return err
}

func TestWritersAreServedInTheOrderOfTheirComing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := small(t, 10, RoomOptions{})
		full := create(t, s, 1)
		must(t, grow(bg, s, full, 7))
		served := make(chan int, 3)
		for n, pages := range []int64{4, 1, 2} { // the second would fit before the first
			f := create(t, s, ID(10+n))
			go func() {
				must(t, grow(bg, s, f, pages))
				served <- n
			}()
			synctest.Wait()
		}
		if st := s.Room(); st.Waiting != 3 || st.Since.IsZero() || st.Stalled {
			t.Fatalf("%+v", st)
		}
		for _, size := range []int64{5, 4, 2, 0} {
			must(t, full.Truncate(bg, size*page))
			synctest.Wait()
		}
		for want := range 3 {
			if n := <-served; n != want {
				t.Errorf("%d was served in the place of %d", n, want)
			}
		}
		if st := s.Room(); st.Waiting != 0 || !st.Since.IsZero() {
			t.Errorf("%+v", st)
		}
	})
}

func TestAWaitForRoomEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := small(t, 4, RoomOptions{})
		must(t, grow(bg, s, create(t, s, 1), 3))
		must(t, grow(bg, s, create(t, s, 3), 0))
		ctx, cancel := context.WithTimeout(bg, 3*time.Second)
		defer cancel()
		if err := grow(ctx, s, create(t, s, 2), 2); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if st := s.Room(); st.Waiting != 0 || !st.Since.IsZero() || s.room.reserved != 0 {
			t.Errorf("%+v, %d reserved", st, s.room.reserved)
		}
	})
}

func TestNothingFreeForTooLongIsNoSpaceUntilSomethingGetsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := small(t, 10, RoomOptions{Stall: 5 * time.Second, Short: func(ID, int64) bool { asked++; return false }})
		one, two := create(t, s, 1), create(t, s, 2)
		must(t, grow(bg, s, one, 8))
		wait := func(pages int64) (time.Duration, error) {
			began := time.Now()
			err := grow(bg, s, two, pages)
			return time.Since(began), err
		}
		if took, err := wait(4); !errors.Is(err, unix.ENOSPC) || took < 5*time.Second || took > 7*time.Second || asked < 3 {
			t.Errorf("after %v, asked %d times: %v", took, asked, err)
		}
		if took, err := wait(4); !errors.Is(err, unix.ENOSPC) || took != 0 || !s.Room().Stalled {
			t.Errorf("the next one: after %v: %v", took, err)
		}
		if took, err := wait(1); err != nil || took != 0 {
			t.Errorf("one for which there is room: after %v: %v", took, err)
		}
		must(t, one.Truncate(bg, 7*page))
		if st := s.Room(); st.Stalled || !st.Since.IsZero() {
			t.Errorf("%+v", st)
		}
		send := func(taken bool) {
			one, two := s.Sending(), s.Sending()
			for range 4 {
				time.Sleep(4 * time.Second)
				one.Moved()
			}
			one.Done(taken)
			two.Done(false)
		}
		go send(true) // what is being stored counts, even if it gives nothing yet
		if took, err := wait(4); !errors.Is(err, unix.ENOSPC) || took < 20*time.Second {
			t.Errorf("with progress: after %v: %v", took, err)
		}
		must(t, one.Truncate(bg, 6*page))
		must(t, grow(bg, s, two, 1))
		go send(false) // what came to nothing does not
		if took, err := wait(4); !errors.Is(err, unix.ENOSPC) || took < 15*time.Second || took > 18*time.Second {
			t.Errorf("with progress of a request that failed: after %v: %v", took, err)
		}
		time.Sleep(20 * time.Second)
	})
}

func TestAFileLargerThanTheStageFailsAtOnceUnlessItIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var release *File
		s := small(t, 10, RoomOptions{Short: func(id ID, n int64) bool {
			if release == nil {
				return false
			}
			go func() { // as what has uploaded the first pages does
				time.Sleep(time.Second)
				if err := release.Allocate(bg, 0, 8*page, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE); err != nil {
					t.Error(err)
				}
			}()
			return true
		}})
		f := create(t, s, 1)
		must(t, grow(bg, s, f, 9))
		began := time.Now()
		if err := grow(bg, s, f, 4); !errors.Is(err, unix.ENOSPC) || time.Since(began) != 0 {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		release = f
		if err := grow(bg, s, f, 4); err != nil || f.Size() != 13*page {
			t.Errorf("%v; %d bytes", err, f.Size())
		}
		time.Sleep(2 * time.Second) // whoever else was asked has ended
	})
}

func TestWhatIsAllocatedNeedsNoRoom(t *testing.T) {
	s := small(t, 10, RoomOptions{})
	f := create(t, s, 1)
	room, _ := f.Reserve(0, 4*page)
	must(t, f.Allocate(bg, 0, 4*page, unix.FALLOC_FL_KEEP_SIZE))
	room.Release()
	other := create(t, s, 2)
	must(t, grow(bg, s, other, 5))
	for _, r := range []struct {
		name  string
		f     *File
		off   int64
		n     int64
		lacks bool
	}{
		{"written", other, 100, 3 * page, false},
		{"allocated", f, 0, 4 * page, false},
		{"allocated, at the end of the last page", f, 4*page - 1, 1, false},
		{"beyond", f, 2 * page, 4 * page, true},
		{"nothing", f, 50 * page, 0, false},
	} {
		room, lacks := r.f.Reserve(r.off, r.n)
		if (lacks > 0) != r.lacks || (room == nil) != r.lacks {
			t.Errorf("%s: lacks %d", r.name, lacks)
		}
		room.Release()
	}
	must(t, f.Allocate(bg, 0, 4*page, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE))
	must(t, grow(bg, s, other, 3))
	if room, lacks := f.Reserve(0, 4*page); room != nil || lacks == 0 {
		t.Error("what was punched counts as allocated")
	}
}

func TestWhatIsNotNeededGivesWayBeforeAnybodyWaits(t *testing.T) {
	free, cached := int64(1<<20), int64(3<<20)
	s := small(t, 1<<20, RoomOptions{KeepFree: 1 << 20,
		GiveWay: func(n int64) int64 {
			n = min(n, cached)
			cached -= n
			free += n
			return n
		},
		Short: func(ID, int64) bool { t.Error("somebody waited"); return false }})
	s.room.disk = func() int64 { return free }
	f := create(t, s, 1)
	must(t, grow(bg, s, f, 2))
	if free < 1<<20 || cached == 3<<20 {
		t.Errorf("%d free, %d cached", free, cached)
	}
}

func TestTheFloorIsHigherByWhatTheCatalogLacks(t *testing.T) {
	lacking, free := int64(8<<20), int64(9<<20)
	s := small(t, 1<<20, RoomOptions{KeepFree: 2 << 20, Lacking: func() int64 { return lacking }})
	s.room.disk = func() int64 { return free }
	if _, err := s.Await(bg, 0, page, ForEntry); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a new name takes what the catalog needs: %v", err)
	}
	lacking = 0
	room, err := s.Await(bg, 0, page, ForEntry)
	must(t, err)
	room.Release()
}

func TestADiskThatRefusesIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Int64
		free.Store(1 << 30)
		s := small(t, 1<<20, RoomOptions{Stall: 10 * time.Second})
		s.room.disk = free.Load
		f := create(t, s, 1)
		s.Refused()
		if room, lacks := f.Reserve(0, page); room != nil || lacks == 0 {
			t.Error("there was room")
		}
		go func() {
			time.Sleep(3 * time.Second)
			free.Add(page)
		}()
		began := time.Now()
		if err := grow(bg, s, f, 1); err != nil || time.Since(began) < 3*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// TestAFullStageStillReadsAndUploads has a file that is not local, and no room for any of it.
func TestAFullStageStillReadsAndUploads(t *testing.T) {
	s := small(t, 10, RoomOptions{})
	content := pattern(7, 20*page)
	f, base := adoptAbsent(t, s, 1, content)
	must(t, grow(bg, s, create(t, s, 2), (s.Room().Size-s.Room().Used)/page-3))
	wantContent(t, f, content)
	if f.Present() {
		t.Fatal("it found room")
	}
	base.mu.Lock()
	base.requests = nil
	base.mu.Unlock()
	room, lacks := f.Reserve(page+10, 5) // one page, of which the rest comes from the base
	if room == nil {
		t.Fatalf("lacks %d", lacks)
	}
	if _, err := f.WriteAt(bg, []byte("local"), page+10); err != nil {
		t.Fatal(err)
	}
	room.Release()
	content = put(bytes.Clone(content), []byte("local"), page+10)
	if asked := base.asked(); len(asked) != 1 || asked[0].Len != page {
		t.Errorf("for one page it asked for %v", asked)
	}
	if err := f.Fill(bg); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("fill: %v", err)
	}
	for _, limit := range []int64{30 * page, page} { // in memory, and from the file
		s.limits.smallSnapshot = limit
		snap, err := f.Snapshot(bg, SnapshotOptions{Exclusive: true, Fill: true})
		must(t, err)
		got := make([]byte, len(content))
		if n, err := snap.ReadAt(got, 0); n != len(content) || !bytes.Equal(got, content) {
			t.Errorf("a snapshot has %d bytes, the first wrong one at %d, %v", n, firstDiff(got, content), err)
		}
		must(t, snap.Close())
	}
	if _, err := f.Snapshot(bg, SnapshotOptions{Fill: true}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a copy without room: %v", err)
	}
}

// TestWhatIsSentFromTheBaseIsReadAhead: who sends a part asks for little at a time, and several parts are sent at once.
func TestWhatIsSentFromTheBaseIsReadAhead(t *testing.T) {
	const parts, partPages = 4, 20
	for _, memory := range []bool{true, false} {
		s := small(t, 10, RoomOptions{})
		content := pattern(8, parts*partPages*page)
		f, base := adoptAbsent(t, s, 1, content)
		must(t, grow(bg, s, create(t, s, 2), (s.Room().Size-s.Room().Used)/page-3))
		s.limits.smallSnapshot, s.limits.ahead = page, 4*page
		if !memory {
			_, ok := s.memory.copy(s.memory.limit)
			if !ok {
				t.Fatal("there is no memory")
			}
		}
		snap, err := f.Snapshot(bg, SnapshotOptions{Exclusive: true, Fill: true})
		must(t, err)
		base.mu.Lock()
		base.requests = nil
		base.mu.Unlock()
		var wg sync.WaitGroup
		for i := range int64(parts) {
			wg.Go(func() {
				part := io.NewSectionReader(snap, i*partPages*page, partPages*page)
				got := make([]byte, part.Size())
				for off := int64(0); off < part.Size(); off += 1000 {
					if n, err := part.ReadAt(got[off:min(off+1000, part.Size())], off); err != nil {
						t.Errorf("%d bytes at %d of part %d: %v", n, off, i, err)
					}
				}
				if at := firstDiff(got, content[i*partPages*page:(i+1)*partPages*page]); at >= 0 {
					t.Errorf("part %d is wrong at %d", i, at)
				}
			})
		}
		wg.Wait()
		must(t, snap.Close())
		if n := len(base.asked()); memory && n > parts*partPages/2 || !memory && n < parts*partPages {
			t.Errorf("with memory %t: %d requests for %d pages", memory, n, parts*partPages)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

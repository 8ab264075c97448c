package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestASnapshotStaysAsItWas(t *testing.T) {
	tests := []struct {
		name string
		size int64
	}{
		{"empty", 0},
		{"in memory", 8 * page},
		{"in a file", 8*page + 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, t.TempDir())
			s.limits.smallSnapshot = 8 * page
			object := pattern(50, tt.size)
			f, _ := adoptAbsent(t, s, 1, object)
			if tt.size > 0 {
				if _, err := f.Snapshot(bg, SnapshotOptions{}); !errors.Is(err, ErrAbsent) {
					t.Fatalf("with absent pages: %v, want ErrAbsent", err)
				}
			}
			if err := f.Fill(bg); err != nil {
				t.Fatal(err)
			}
			snap, err := f.Snapshot(bg, SnapshotOptions{})
			if err != nil {
				t.Fatal(err)
			}
			names := dirNames(t, s)
			gen := f.Gen()
			mustWrite(t, f, pattern(51, tt.size+10), 0)
			if err := f.Truncate(bg, 1); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if snap.Gen() != gen || snap.Size() != tt.size {
				t.Errorf("generation %d, size %d; want %d, %d", snap.Gen(), snap.Size(), gen, tt.size)
			}
			for range 2 { // read again, as a repeated upload does
				if _, err := snap.Seek(0, io.SeekStart); err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(snap); err != nil || !bytes.Equal(got, object) {
					t.Fatalf("read: %v, differs at %d", err, firstDiff(got, object))
				}
			}
			if tt.size > 0 {
				if slices.ContainsFunc(names, func(n string) bool { return n != "0000000000000001" && n != "0000000000000001.map" }) {
					t.Errorf("on disk: %v, want no snapshot", names)
				}
			}
			if err := snap.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAnExclusiveSnapshotOfALargeFileIsNotACopy(t *testing.T) {
	s := openStore(t, t.TempDir())
	s.limits.smallSnapshot = page
	f, err := s.Create(1)
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, f, pattern(52, 9*page), 0)
	snap, err := f.Snapshot(bg, SnapshotOptions{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	if err := f.Close(); err != nil { // the snapshot has a descriptor of its own
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Path(1), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 7)
	if _, err := snap.ReadAt(got, 0); err != nil || string(got) != "changed" {
		t.Errorf("read %q, %v; want the file itself", got, err)
	}
}

func TestASnapshotKeepsHoles(t *testing.T) {
	s := openStore(t, t.TempDir())
	s.limits.smallSnapshot = page
	f, err := s.Create(1)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, f)
	mustWrite(t, f, []byte("far"), 1<<30)
	snap, err := f.Snapshot(bg, SnapshotOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(snap.(*snapshot).from.file.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	if snap.Size() != 1<<30+3 || st.Blocks > 64 {
		t.Errorf("size %d in %d blocks, want %d in a few", snap.Size(), st.Blocks, 1<<30+3)
	}
}

func TestACopiedRangeEqualsItsSource(t *testing.T) {
	fill := func(b byte, pages ...int64) func(*os.File) error {
		return func(f *os.File) error {
			for _, n := range pages {
				if _, err := f.WriteAt(bytes.Repeat([]byte{b}, page), n*page); err != nil {
					return err
				}
			}
			return f.Truncate(20 * page)
		}
	}
	tests := []struct {
		name     string
		src, dst func(*os.File) error
		ranges   []Range
	}{
		{"into an empty file", fill('s', 0, 1, 5, 19), func(*os.File) error { return nil }, []Range{{0, 20 * page}}},
		{"a hole over data", fill('s'), fill('d', 0, 1, 2, 3), []Range{{0, 20 * page}}},
		{"data and holes over data", fill('s', 2, 4), fill('d', 1, 2, 3, 4, 5), []Range{{page, 5 * page}}},
		{"parts of pages", fill('s', 0, 1, 2, 3), fill('s', 0, 1, 2, 3), []Range{{1, page}, {3*page - 1, 2}}},
		{"beyond the end of both", fill('s', 19), fill('d', 19), []Range{{18 * page, 100 * page}}},
		{"nothing", fill('s', 1), fill('s', 1), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var files [2]*os.File
			for i, make := range []func(*os.File) error{tt.src, tt.dst} {
				f, err := os.CreateTemp(t.TempDir(), "")
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if err := make(f); err != nil {
					t.Fatal(err)
				}
				files[i] = f
			}
			src, dst := files[0], files[1]
			if err := copyRanges(bg, dst, src, tt.ranges); err != nil {
				t.Fatal(err)
			}
			if err := dst.Truncate(20 * page); err != nil {
				t.Fatal(err)
			}
			var want, got [20 * page]byte
			if _, err := src.ReadAt(want[:], 0); err != nil {
				t.Fatal(err)
			}
			if _, err := dst.ReadAt(got[:], 0); err != nil {
				t.Fatal(err)
			}
			if at := firstDiff(got[:], want[:]); at >= 0 {
				t.Errorf("byte %d is %q, want %q", at, got[at], want[at])
			}
		})
	}
}

func TestACopyByHandEqualsItsSource(t *testing.T) {
	s := openStore(t, t.TempDir())
	var files [2]*os.File
	for i := range files {
		f, err := s.temp()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	src, dst := files[0], files[1]
	content := pattern(54, 5*page+10)
	if _, err := src.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	if n, err := copyByHand(dst, src, page+1, 100*page); n != 4*page+9 || err != nil {
		t.Errorf("copied %d bytes, %v; want all from the offset on", n, err)
	}
	got, err := os.ReadFile(dst.Name())
	if err != nil {
		t.Fatal(err)
	}
	clear(content[:page+1])
	if at := firstDiff(got, content); at >= 0 {
		t.Errorf("differs at %d", at)
	}
}

func TestChangesDuringACopyAreAllRemembered(t *testing.T) {
	tests := []struct {
		name  string
		count int64
		step  int64 // bytes between the starts of ranges of 10
		want  int   // ranges
	}{
		{"one after the other", 5000, 10, 1},
		{"overlapping", 5000, 3, 1},
		{"apart", 1000, 20, 1000},
		{"too many", 5000, 20, maxChanges},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c changes
			for i := range tt.count {
				c.add(i*tt.step, i*tt.step+10)
			}
			got := c.take()
			if len(got) > tt.want || len(c.take()) != 0 {
				t.Errorf("%d ranges, want at most %d; then none", len(got), tt.want)
			}
			for i := range tt.count {
				off := i * tt.step
				if !slices.ContainsFunc(got, func(r Range) bool { return r.Off <= off && off+10 <= r.Off+r.Len }) {
					t.Fatalf("the range at %d is not remembered", off)
				}
			}
		})
	}
}

func TestACancelledSnapshotLeavesNothing(t *testing.T) {
	s := openStore(t, t.TempDir())
	s.limits.smallSnapshot = page
	f, err := s.Create(1)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, f)
	mustWrite(t, f, pattern(53, 9*page), 0)
	if err := f.lock(bg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(bg)
	cancel()
	_, err = f.Snapshot(ctx, SnapshotOptions{})
	f.mu.unlock()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	file, err := s.temp()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := copyBytes(ctx, file, f.data, 0, page); !errors.Is(err, context.Canceled) {
		t.Errorf("copy: %v, want context.Canceled", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		t.Fatal(err)
	}
	if names := dirNames(t, s); !slices.Equal(names, []string{"0000000000000001"}) || len(f.watches) != 0 {
		t.Errorf("on disk: %v; %d watches", names, len(f.watches))
	}
}

func TestASnapshotOfSomeRangesFetchesAndHoldsNoOthers(t *testing.T) {
	for name, small := range map[string]int64{"in memory": 8 * page, "in a file": page} {
		for _, exclusive := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", exclusive: ", exclusive), func(t *testing.T) {
				s := openStore(t, t.TempDir())
				s.limits.smallSnapshot, s.limits.smallFile = small, page
				object := pattern(60, 40*page)
				f, base := adoptAbsent(t, s, 1, object)
				mustWrite(t, f, pattern(61, page), 20*page)
				pick := func(l Layout) []Range {
					if l.Size != 40*page || !slices.Equal(l.Dirty, []Range{{20 * page, page}}) {
						t.Errorf("%+v", l)
					}
					return []Range{{18 * page, 3 * page}, {39 * page, page}}
				}
				if _, err := f.Snapshot(bg, SnapshotOptions{Exclusive: exclusive, Pick: pick}); !errors.Is(err, ErrAbsent) {
					t.Fatalf("without a fill: %v, want ErrAbsent", err)
				}
				snap, err := f.Snapshot(bg, SnapshotOptions{Exclusive: exclusive, Pick: pick, Fill: true})
				if err != nil {
					t.Fatal(err)
				}
				defer snap.Close()
				if got, want := base.asked(), []Range{{18 * page, 2 * page}, {39 * page, page}}; !slices.Equal(got, want) {
					t.Errorf("fetched %v, want %v", got, want)
				}
				want := put(bytes.Clone(object), pattern(61, page), 20*page)
				p := make([]byte, 3*page-10)
				if n, err := snap.ReadAt(p, 18*page+5); err != nil || n != len(p) || firstDiff(p, want[18*page+5:21*page-5]) >= 0 {
					t.Errorf("read: %d, %v, or other bytes", n, err)
				}
				for _, off := range []int64{0, 17*page - 1, 21*page - 1, 38 * page} {
					if n, err := snap.ReadAt(make([]byte, 10), off); !errors.Is(err, ErrAbsent) || n > 1 {
						t.Errorf("at %d: %d bytes, %v; want ErrAbsent", off, n, err)
					}
				}
			})
		}
	}
}

// TestWhatIsStoredIsCleanAfterwards is for large files; of small ones it is not kept.
func TestWhatIsStoredIsCleanAfterwards(t *testing.T) {
	write := func(off, n int64) func(*File) error {
		return func(f *File) error { _, err := f.WriteAt(bg, pattern(3, n), off); return err }
	}
	cut := func(size int64) func(*File) error {
		return func(f *File) error { return f.Truncate(bg, size) }
	}
	for _, tc := range []struct {
		name   string
		made   bool // a new file, else an object
		before []func(*File) error
		after  []func(*File) error
		want   []Range
	}{
		{"a new file", true, []func(*File) error{write(0, 30*page)}, nil, nil},
		{"a new file, changed since", true, []func(*File) error{write(0, 30*page)}, []func(*File) error{write(5*page+1, 2)}, []Range{{5 * page, page}}},
		{"an object", false, []func(*File) error{write(2*page, page)}, []func(*File) error{write(9*page, page)}, []Range{{9 * page, page}}},
		{"an object that grew", false, []func(*File) error{write(40*page, 10)}, nil, nil},
		{"an object that grew since", false, []func(*File) error{write(page, 1)}, []func(*File) error{write(40*page+5, 10)}, []Range{{40 * page, 15}}},
		{"cut and grown since", false, []func(*File) error{write(page, 1)}, []func(*File) error{cut(20*page + 1), cut(30 * page)}, []Range{{20 * page, 10 * page}}},
		{"cut before", false, []func(*File) error{cut(30*page + 7)}, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openStore(t, t.TempDir())
			s.limits.smallFile = 8 * page
			base := &memBase{content: pattern(70, 40*page)}
			var f *File
			var err error
			if tc.made {
				f, err = s.Create(1)
			} else {
				f, err = s.Adopt(1, 40*page, nil, base)
			}
			if err != nil {
				t.Fatal(err)
			}
			closeLater(t, f)
			for _, change := range tc.before {
				if err := change(f); err != nil {
					t.Fatal(err)
				}
			}
			snap, err := f.Snapshot(bg, SnapshotOptions{Fill: true})
			if err != nil {
				t.Fatal(err)
			}
			if base.content, err = io.ReadAll(snap); err != nil {
				t.Fatal(err)
			}
			for _, change := range tc.after {
				if err := change(f); err != nil {
					t.Fatal(err)
				}
			}
			at := f.ModTime()
			f.Stored(snap)
			if got := f.Dirty(); !slices.Equal(got, tc.want) {
				t.Errorf("dirty %v, want %v", got, tc.want)
			}
			if !f.ModTime().Equal(at) {
				t.Errorf("modified at %v, want %v", f.ModTime(), at)
			}
			if err := snap.Close(); err != nil || len(f.watches) != 0 {
				t.Errorf("%v; %d watches are left", err, len(f.watches))
			}
			again, err := s.Load(1, base.load)
			if err != nil {
				t.Fatal(err)
			}
			closeLater(t, again)
			if got := again.Dirty(); !slices.Equal(got, tc.want) || !again.ModTime().Equal(at) {
				t.Errorf("after a restart: dirty %v, want %v; modified at %v, want %v", got, tc.want, again.ModTime(), at)
			}
		})
	}
}

// TestALargeWholeFileRemembersWhatWasChangedOfIt over a kill of the process.
func TestALargeWholeFileRemembersWhatWasChangedOfIt(t *testing.T) {
	s := openStore(t, t.TempDir())
	s.limits.smallFile = 8 * page
	object := pattern(71, 9*page)
	if err := os.WriteFile(s.Path(1), object, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := s.Adopt(1, 9*page, []Range{{0, 9 * page}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, f)
	if !f.ModTime().IsZero() || !f.Present() {
		t.Errorf("modified at %v, present: %v", f.ModTime(), f.Present())
	}
	mustWrite(t, f, []byte("x"), 3*page)
	again, err := s.Load(1, nil)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, again)
	if got := again.Dirty(); !slices.Equal(got, []Range{{3 * page, page}}) {
		t.Errorf("dirty %v", got)
	}
	wantContent(t, again, put(object, []byte("x"), 3*page))
}

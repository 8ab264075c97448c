package stage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestANewFileHoldsWhatIsWritten(t *testing.T) {
	s := openStore(t, t.TempDir())
	f, err := s.Create(1)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, f)
	mustWrite(t, f, []byte("hello"), 3*page+10)
	want := append(make([]byte, 3*page+10), "hello"...)
	wantContent(t, f, want)
	if !f.Present() {
		t.Error("a new file is not present")
	}
	if d := f.Dirty(); !reflect.DeepEqual(d, []Range{{0, int64(len(want))}}) {
		t.Errorf("dirty is %v, want all", d)
	}
	if _, err := s.Create(1); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second create: %v, want fs.ErrExist", err)
	}
	if names := dirNames(t, s); !slices.Equal(names, []string{"0000000000000001"}) {
		t.Errorf("on disk: %v, want the data file alone", names)
	}
}

func TestAdoptTakesTheLocalFileAndFetchesTheRest(t *testing.T) {
	object := pattern(1, 8*page+100)
	junk := pattern(2, int64(len(object)))
	tests := []struct {
		name    string
		present []Range
		absent  int64 // pages
	}{
		{"nothing is local", nil, 9},
		{"a head", []Range{{0, 2 * page}}, 7},
		{"a head that ends within a page", []Range{{0, 2*page + 5}}, 7},
		{"a tail", []Range{{7 * page, page + 100}}, 7},
		{"a tail that begins within a page", []Range{{7*page + 1, page + 99}}, 8},
		{"overlapping ranges in any order", []Range{{3 * page, 3 * page}, {0, 4*page + 7}}, 3},
		{"touching ranges", []Range{{page - 1, 1}, {0, page - 1}}, 8},
		{"empty ranges", []Range{{0, 0}, {4 * page, 0}}, 9},
		{"all, in two ranges", []Range{{4 * page, 4*page + 100}, {0, 4 * page}}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, t.TempDir())
			local := bytes.Clone(junk)
			for _, r := range tt.present {
				copy(local[r.Off:r.Off+r.Len], object[r.Off:])
			}
			if err := os.WriteFile(s.Path(5), local, 0o600); err != nil {
				t.Fatal(err)
			}
			base := &memBase{content: object}
			f, err := s.Adopt(5, int64(len(object)), tt.present, base)
			if err != nil {
				t.Fatal(err)
			}
			closeLater(t, f)
			if n := f.pages.absent.Load(); n != tt.absent {
				t.Errorf("%d pages are absent, want %d", n, tt.absent)
			}
			if _, err := os.Stat(s.mapPath(5)); (err == nil) != (tt.absent > 0) {
				t.Errorf("a sidecar: %v, with %d pages absent", err, tt.absent)
			}
			if len(f.Dirty()) != 0 || !f.ModTime().IsZero() {
				t.Errorf("changed at %v, dirty %v, before any change", f.ModTime(), f.Dirty())
			}
			wantContent(t, f, object)
			if !f.Present() {
				t.Error("all was read, and not all is present")
			}
			asked := len(base.asked())
			wantContent(t, f, object)
			if len(base.asked()) != asked {
				t.Error("present pages were asked for again")
			}
		})
	}
}

func TestAdoptRefusesWhatCannotBe(t *testing.T) {
	s := openStore(t, t.TempDir())
	if _, err := s.Adopt(1, 3*page, []Range{{0, page}}, nil); err == nil {
		t.Error("absent pages and no base: no error")
	}
	if err := os.WriteFile(s.Path(2), make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Adopt(2, 3*page, []Range{{0, page}}, &memBase{}); err == nil {
		t.Error("ranges beyond the end of the local file: no error")
	}
}

func TestAWholeAdoptedFileTellsAfterARestartWhetherItWasChanged(t *testing.T) {
	object := pattern(3, 3*page)
	s := openStore(t, t.TempDir())
	if err := os.WriteFile(s.Path(1), object, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := s.Adopt(1, int64(len(object)), []Range{{0, int64(len(object))}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, f)
	again, err := s.Load(1, nil)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, again)
	if !again.ModTime().IsZero() || len(again.Dirty()) != 0 {
		t.Errorf("not changed: time %v, dirty %v", again.ModTime(), again.Dirty())
	}
	mustWrite(t, again, []byte("x"), page+1)
	if d := again.Dirty(); !reflect.DeepEqual(d, []Range{{page, page}}) {
		t.Errorf("dirty is %v, want the second page", d)
	}
	third, err := s.Load(1, nil)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, third)
	if age := time.Since(third.ModTime()); age < 0 || age > time.Minute {
		t.Errorf("changed %v ago, want just now", age)
	}
	if d := third.Dirty(); !reflect.DeepEqual(d, []Range{{0, 3 * page}}) {
		t.Errorf("dirty is %v, want all of it", d)
	}
}

func TestReadsAndWritesFetchOnlyWhatIsNeeded(t *testing.T) {
	const size = 40*page + 10
	object := pattern(4, size)
	tests := []struct {
		name string
		do   func(*File) error
		want []Range
	}{
		{"a read fetches its window", readOp(5*page, 10), []Range{{4 * page, 4 * page}}},
		{"a read across windows is one request", readOp(3*page, 2*page), []Range{{0, 8 * page}}},
		{"a read at the end", readOp(size-1, 1), []Range{{40 * page, 10}}},
		{"a read beyond the end", readOp(size, 10), nil},
		{"a write of whole pages", writeOp(4*page, 3*page), nil},
		{"a write of the last page, up to its end", writeOp(39*page, page+10), nil},
		{"a write beyond the end", writeOp(41*page, 10), nil},
		{"a write within a page", writeOp(9*page+1, 5), []Range{{8 * page, 4 * page}}},
		{"a write with partial pages at both ends", writeOp(page+1, 12*page), []Range{{0, 4 * page}, {12 * page, 4 * page}}},
		{"a write of some of the last page", writeOp(40*page, 9), []Range{{40 * page, 10}}},
		{"a shorter file", func(f *File) error { return f.Truncate(bg, 2*page+1) }, nil},
		{"a longer file", func(f *File) error { return f.Truncate(bg, 2*size) }, nil},
		{"a hole of whole pages", func(f *File) error {
			return f.Allocate(bg, page, 20*page, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE)
		}, nil},
		{"everything", func(f *File) error { return f.Fill(bg) }, []Range{{0, size}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, t.TempDir())
			s.limits.smallFile = 0
			f, base := adoptAbsent(t, s, 1, object)
			if err := tt.do(f); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			if got := base.asked(); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("asked for %v, want %v", got, tt.want)
			}
		})
	}
}

func readOp(off, n int64) func(*File) error {
	return func(f *File) error {
		_, err := f.ReadAt(bg, make([]byte, n), off)
		return err
	}
}

func writeOp(off, n int64) func(*File) error {
	return func(f *File) error {
		_, err := f.WriteAt(bg, make([]byte, n), off)
		return err
	}
}

func TestAChangeOfASmallFileFetchesItInOneRequest(t *testing.T) {
	object := pattern(5, 100*page+7)
	s := openStore(t, t.TempDir())
	f, base := adoptAbsent(t, s, 1, object)
	mustWrite(t, f, []byte("lease"), 100*page+2)
	if err := f.Fill(bg); err != nil {
		t.Fatal(err)
	}
	if got := base.asked(); len(got) != 1 {
		t.Errorf("asked for %v, want one request", got)
	}
	wantContent(t, f, put(bytes.Clone(object), []byte("lease"), 100*page+2))
}

func TestBytesThatWereCutOffNeverComeBack(t *testing.T) {
	object := pattern(6, 10*page)
	for _, cut := range []int64{0, 1, page, 3*page - 1, 3 * page, 3*page + 1, 10*page - 1} {
		s := openStore(t, t.TempDir())
		f, _ := adoptAbsent(t, s, 1, object)
		if err := f.Truncate(bg, cut); err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(bg, 12*page); err != nil {
			t.Fatal(err)
		}
		loaded, err := s.Load(1, (&memBase{content: object}).load)
		if err != nil {
			t.Fatal(err)
		}
		closeLater(t, loaded)
		want := resize(object[:cut], 12*page)
		wantContent(t, f, want)
		wantContent(t, loaded, want)
	}
}

func TestATruncationThatWasKilledHalfwayIsFinishedByLoad(t *testing.T) {
	object := pattern(7, 10*page)
	s := openStore(t, t.TempDir())
	adoptAbsent(t, s, 1, object)
	if err := os.Truncate(s.Path(1), 4*page+1); err != nil { // the sidecar's limit was not lowered yet
		t.Fatal(err)
	}
	f, err := s.Load(1, (&memBase{content: object}).load)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, f)
	if err := f.Truncate(bg, 10*page); err != nil {
		t.Fatal(err)
	}
	wantContent(t, f, resize(object[:4*page+1], 10*page))
}

func TestAFailingBaseFailsTheReadAndChangesNothing(t *testing.T) {
	object := pattern(8, 20*page)
	s := openStore(t, t.TempDir())
	s.limits.smallFile = 0
	f, base := adoptAbsent(t, s, 1, object)
	gen := f.Gen()
	base.fail = errBase
	if n, err := f.ReadAt(bg, make([]byte, 10), 0); n != 0 || !errors.Is(err, errBase) {
		t.Errorf("read: %d, %v", n, err)
	}
	if n, err := f.WriteAt(bg, make([]byte, 10), 0); n != 0 || !errors.Is(err, errBase) {
		t.Errorf("write: %d, %v", n, err)
	}
	if err := f.Fill(bg); !errors.Is(err, errBase) {
		t.Errorf("fill: %v", err)
	}
	base.fail, base.short = nil, true
	if n, err := f.ReadAt(bg, make([]byte, 10), 0); n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read of a short base: %d, %v", n, err)
	}
	if f.Gen() != gen || len(f.Dirty()) != 0 {
		t.Errorf("generation %d, was %d; dirty %v", f.Gen(), gen, f.Dirty())
	}
	base.short = false
	wantContent(t, f, object)
}

func TestSeekTakesAbsentPagesForData(t *testing.T) {
	const size = 20*page + 10
	s := openStore(t, t.TempDir())
	s.limits.smallFile = 0
	f, _ := adoptAbsent(t, s, 1, pattern(9, 10*page+5))
	if err := f.Truncate(bg, size); err != nil {
		t.Fatal(err)
	}
	if err := f.Allocate(bg, 4*page, 2*page, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, f, []byte("x"), 15*page)
	tests := []struct {
		whence    uint32
		off, want int64
		err       error
	}{
		{SeekData, 0, 0, nil},
		{SeekData, 7, 7, nil},
		{SeekHole, 0, 4 * page, nil},
		{SeekHole, 5*page - 1, 5*page - 1, nil},
		{SeekData, 4 * page, 6 * page, nil},
		{SeekHole, 6 * page, 11 * page, nil},
		{SeekData, 11 * page, 15 * page, nil},
		{SeekHole, 15 * page, 16 * page, nil},
		{SeekData, 16 * page, 0, unix.ENXIO},
		{SeekHole, size - 1, size - 1, nil},
		{SeekHole, size, 0, unix.ENXIO},
		{SeekData, -1, 0, unix.ENXIO},
		{0, 0, 0, unix.EINVAL},
	}
	for _, tt := range tests {
		if got, err := f.Seek(bg, tt.off, tt.whence); got != tt.want || err != tt.err {
			t.Errorf("seek %d from %d: %d, %v; want %d, %v", tt.whence, tt.off, got, err, tt.want, tt.err)
		}
	}
}

func TestAllocateDoesWhatFallocateDoes(t *testing.T) {
	const punch, zero, keep = unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_KEEP_SIZE
	tests := []struct {
		name        string
		off, length int64
		mode        uint32
		err         error
		size        int64 // afterwards; it was 6 pages
		zeros       Range
	}{
		{"reserve within", page, page, 0, nil, 6 * page, Range{}},
		{"reserve beyond the end", 5 * page, 4*page + 1, 0, nil, 9*page + 1, Range{}},
		{"reserve beyond the end, same size", 5 * page, 4 * page, keep, nil, 6 * page, Range{}},
		{"punch", page + 1, 2 * page, punch | keep, nil, 6 * page, Range{page + 1, 2 * page}},
		{"punch beyond the end", 5 * page, 9 * page, punch | keep, nil, 6 * page, Range{5 * page, page}},
		{"zero", page, 2*page - 1, zero, nil, 6 * page, Range{page, 2*page - 1}},
		{"zero beyond the end", 5*page + 1, 3 * page, zero, nil, 8*page + 1, Range{5*page + 1, page - 1}},
		{"zero beyond the end, same size", 5*page + 1, 3 * page, zero | keep, nil, 6 * page, Range{5*page + 1, page - 1}},
		{"punch without keep", page, page, punch, unix.EOPNOTSUPP, 6 * page, Range{}},
		{"collapse", page, page, unix.FALLOC_FL_COLLAPSE_RANGE, unix.EOPNOTSUPP, 6 * page, Range{}},
		{"no length", page, 0, 0, unix.EINVAL, 6 * page, Range{}},
		{"negative offset", -1, 1, 0, unix.EINVAL, 6 * page, Range{}},
		{"beyond all offsets", page, 1<<63 - 1, 0, unix.EFBIG, 6 * page, Range{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, t.TempDir())
			s.limits.smallFile = 0
			object := pattern(10, 6*page)
			f, _ := adoptAbsent(t, s, 1, object)
			if err := f.Allocate(bg, tt.off, tt.length, tt.mode); err != tt.err {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			want := bytes.Clone(object)
			clear(want[tt.zeros.Off : tt.zeros.Off+tt.zeros.Len])
			wantContent(t, f, resize(want, tt.size))
		})
	}
}

func TestAWriteThatTheDiskCutsShortCountsNoPartOfAnAbsentPage(t *testing.T) {
	const limit = 10*page + 100
	object, p := pattern(11, 20*page), pattern(12, 6*page)
	tests := []struct {
		name    string
		object  []byte
		fill    bool
		written int
	}{
		{"over absent pages", object, false, 2 * page},
		{"over present pages", object, true, 2*page + 100},
		{"over the last, absent page", object[:limit+1], false, 2 * page},
		{"over an absent page that ends before the limit", object[:limit-1], false, 2*page + 100},
		{"beyond the end", nil, false, 2*page + 100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, t.TempDir())
			s.limits.smallFile = 0
			f, base := adoptAbsent(t, s, 1, tt.object)
			if tt.fill {
				if err := f.Fill(bg); err != nil {
					t.Fatal(err)
				}
			}
			limitFileSize(t, limit)
			n, err := f.WriteAt(bg, p, 8*page)
			if n != tt.written || err != unix.EFBIG {
				t.Fatalf("%d, %v; want %d, EFBIG", n, err, tt.written)
			}
			want := put(bytes.Clone(tt.object), p[:n], 8*page)
			wantContent(t, f, want)
			loaded, err := s.Load(1, base.load)
			if err != nil {
				t.Fatal(err)
			}
			closeLater(t, loaded)
			wantContent(t, loaded, want)
			if err := f.Truncate(bg, 21*page); err != unix.EFBIG || f.Size() != int64(len(want)) {
				t.Errorf("a truncation beyond the limit: %v, size %d", err, f.Size())
			}
		})
	}
}

func TestAReadSucceedsWhenTheDiskTakesNoMore(t *testing.T) {
	object := pattern(20, 10*page+50)
	s := openStore(t, t.TempDir())
	s.limits.smallFile = 0
	f, _ := adoptAbsent(t, s, 1, object)
	patch := pattern(21, page)
	mustWrite(t, f, patch, 4*page)
	limitFileSize(t, 10)
	wantContent(t, f, put(bytes.Clone(object), patch, 4*page))
	p := make([]byte, page)
	if n, err := f.ReadAt(bg, p, 5*page-7); n != page || err != nil || !bytes.Equal(p, append(patch[page-7:page:page], object[5*page:6*page-7]...)) {
		t.Errorf("a read from a present into an absent page: %d, %v, or wrong bytes", n, err)
	}
	if err := f.Fill(bg); err != unix.EFBIG || f.Present() {
		t.Errorf("fill: %v, want EFBIG", err)
	}
}

// What was cut off in the middle of an absent page, and lengthened again, has bytes in that page that the base does not stand
// for.
func TestAReadOfAnAbsentPageBehindACutReadsZerosWhenTheDiskTakesNoMore(t *testing.T) {
	s := openStore(t, t.TempDir())
	s.limits.smallFile = 0
	f, _ := adoptAbsent(t, s, 1, pattern(20, 10*page))
	if err := f.Truncate(bg, 2); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, f, pattern(21, page), 4*page)
	limitFileSize(t, 1)
	p := bytes.Repeat([]byte{1}, 100)
	if n, err := f.ReadAt(bg, p, 11); n != len(p) || err != nil || !bytes.Equal(p, make([]byte, 100)) {
		t.Errorf("%d bytes, %v: %v, want zeros", n, err, p)
	}
}

// limitFileSize makes the kernel refuse writes of this process beyond n bytes of any file, as a full disk does.
func limitFileSize(t *testing.T, n uint64) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
		signal.Reset(syscall.SIGXFSZ)
	})
}

func TestDetachLeavesOnlyAWholeDataFile(t *testing.T) {
	object := pattern(13, 5*page+1)
	s := openStore(t, t.TempDir())
	f, _ := adoptAbsent(t, s, 7, object)
	if _, err := f.Detach(); !errors.Is(err, ErrAbsent) {
		t.Fatalf("detach with absent pages: %v, want ErrAbsent", err)
	}
	if err := f.Fill(bg); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	path, err := f.Detach()
	if err != nil || path != s.Path(7) {
		t.Fatalf("detach: %q, %v", path, err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, object) {
		t.Errorf("the data file is not the object: %v", err)
	}
	if names := dirNames(t, s); !slices.Equal(names, []string{filepath.Base(path)}) {
		t.Errorf("on disk: %v, want the data file alone", names)
	}
}

func TestAClosedFileRefusesEverything(t *testing.T) {
	s := openStore(t, t.TempDir())
	f, _ := adoptAbsent(t, s, 1, pattern(14, 3*page))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	calls := map[string]func() error{
		"read":     func() error { _, err := f.ReadAt(bg, make([]byte, 1), 0); return err },
		"write":    func() error { _, err := f.WriteAt(bg, make([]byte, 1), 0); return err },
		"truncate": func() error { return f.Truncate(bg, 0) },
		"allocate": func() error { return f.Allocate(bg, 0, 1, 0) },
		"seek":     func() error { _, err := f.Seek(bg, 0, SeekData); return err },
		"fill":     func() error { return f.Fill(bg) },
		"snapshot": func() error { _, err := f.Snapshot(bg, SnapshotOptions{}); return err },
		"sync":     func() error { _, err := f.Sync(); return err },
		"detach":   func() error { _, err := f.Detach(); return err },
		"close":    f.Close,
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v, want os.ErrClosed", name, err)
		}
	}
	if f.Size() != 3*page || f.Dirty() != nil || f.Blocks() != 3*8 || !f.ModTime().IsZero() {
		t.Errorf("size %d, dirty %v, blocks %d, time %v", f.Size(), f.Dirty(), f.Blocks(), f.ModTime())
	}
}

func TestBlocksCountAbsentPagesAndNotHoles(t *testing.T) {
	s := openStore(t, t.TempDir())
	f, _ := adoptAbsent(t, s, 1, pattern(15, 5*page+1))
	if n := f.Blocks(); n != 6*8 {
		t.Errorf("absent: %d blocks, want 48", n)
	}
	if err := f.Truncate(bg, 100*page); err != nil {
		t.Fatal(err)
	}
	if n := f.Blocks(); n < 6*8 || n > 8*8 { // some filesystems allocate a page at the old end
		t.Errorf("with a hole behind: %d blocks, want 48 or a few more", n)
	}
	if err := f.Fill(bg); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if n := f.Blocks(); n < 6*8 || n > 8*8 {
		t.Errorf("filled: %d blocks, want 48 or a few more", n)
	}
}

func TestTheStoreListsAndRemovesWhatLiesThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "stage")
	s := openStore(t, dir)
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", st.Mode(), err)
	}
	adoptAbsent(t, s, 0xfedcba9876543210, pattern(16, page))
	adoptAbsent(t, s, 2, pattern(16, page))
	f, err := s.Create(1)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, f)
	for _, name := range []string{"0000000000000003.map", "left.tmp", "README", "000000000000000A", "00000000000000010"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = openStore(t, dir)
	ids, err := s.IDs()
	if err != nil || !slices.Equal(ids, []ID{1, 2, 3, 0xfedcba9876543210}) {
		t.Errorf("ids: %v, %v", ids, err)
	}
	for _, id := range append(ids, 99) {
		if err := s.Remove(id); err != nil {
			t.Errorf("remove %d: %v", id, err)
		}
		if _, err := s.Load(id, nil); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("load of a removed file: %v", err)
		}
	}
	if names := dirNames(t, s); !slices.Equal(names, []string{"00000000000000010", "000000000000000A", "README"}) {
		t.Errorf("on disk: %v", names)
	}
}

func TestCreateDoesNotInheritASidecar(t *testing.T) {
	s := openStore(t, t.TempDir())
	object := pattern(17, 3*page)
	adoptAbsent(t, s, 1, object)
	if err := os.Remove(s.Path(1)); err != nil { // a Remove that was killed halfway
		t.Fatal(err)
	}
	f, err := s.Create(1)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, f)
	mustWrite(t, f, []byte("new"), 0)
	loaded, err := s.Load(1, (&memBase{content: object}).load)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, loaded)
	wantContent(t, loaded, []byte("new"))
}

func TestTimeAndGenerationMoveWithChangesOnly(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 123456789, time.UTC)
	s, err := Open(t.TempDir(), Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	object := pattern(18, 3*page)
	f, base := adoptAbsent(t, s, 1, object)
	wantContent(t, f, object)
	if err := f.Truncate(bg, 3*page); err != nil {
		t.Fatal(err)
	}
	if f.Gen() != 1 || !f.ModTime().IsZero() {
		t.Errorf("without a change: generation %d, time %v", f.Gen(), f.ModTime())
	}
	gen := f.Gen()
	for name, change := range map[string]func(*File) error{
		"write":    writeOp(1, 1),
		"truncate": func(f *File) error { return f.Truncate(bg, f.Size()+1) },
		"punch":    func(f *File) error { return f.Allocate(bg, 0, 1, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE) },
		"grow":     func(f *File) error { return f.Allocate(bg, f.Size(), 1, 0) },
	} {
		now = now.Add(time.Second)
		if err := change(f); err != nil {
			t.Fatal(name, err)
		}
		if f.Gen() <= gen || !f.ModTime().Equal(now) {
			t.Errorf("%s: generation %d after %d, time %v, want %v", name, f.Gen(), gen, f.ModTime(), now)
		}
		gen = f.Gen()
	}
	loaded, err := s.Load(1, base.load)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, loaded)
	if !loaded.ModTime().Equal(now) {
		t.Errorf("loaded: time %v, want %v", loaded.ModTime(), now)
	}
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	s := openStore(t, t.TempDir())
	f, base := adoptAbsent(t, s, 1, pattern(19, 3*page))
	base.started, base.release = make(chan struct{}), make(chan struct{})
	first := make(chan struct{})
	go func() {
		defer close(first)
		if _, err := f.ReadAt(bg, make([]byte, 1), 0); err != nil {
			t.Errorf("the first reader: %v", err)
		}
	}()
	<-base.started
	ctx, cancel := context.WithCancel(bg)
	calls := map[string]func() error{
		"a reader that waits for another's fetch": func() error { _, err := f.ReadAt(ctx, make([]byte, 1), 1); return err },
		"a writer that waits for another's fetch": func() error { _, err := f.WriteAt(ctx, make([]byte, 1), 1); return err },
		"a fill that waits for another's fetch":   func() error { return f.Fill(ctx) },
	}
	done := make(chan struct{}, len(calls))
	for name, call := range calls {
		go func() {
			if err := call(); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
			done <- struct{}{}
		}()
	}
	cancel()
	for range calls {
		within(t, "a cancelled wait", done)
	}
	close(base.release)
	within(t, "the first reader", first)
	if got := base.asked(); len(got) != 1 {
		t.Errorf("asked for %v, want one request", got)
	}
}

func dirNames(t *testing.T, s *Store) []string {
	t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

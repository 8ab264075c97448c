package blockfile

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func testBytes(n int64) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func testMeta(size int64) Meta {
	return Meta{ID: 0xabc, Key: "dir/a key", Version: `"etag"`, Size: size}
}

// block returns the bytes of a block of the content.
func block(content []byte, b int64) []byte {
	return content[b*BlockSize : b*BlockSize+BlockLen(int64(len(content)), b)]
}

func create(t *testing.T, m Meta) (Dir, *File) {
	t.Helper()
	d := Dir{Path: t.TempDir()}
	f, err := d.Create(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return d, f
}

func mustWrite(t *testing.T, f *File, content []byte, blocks ...int64) {
	t.Helper()
	for _, b := range blocks {
		if added, err := f.Write(b, block(content, b)); err != nil || !added {
			t.Fatalf("write block %d: added %v, %v", b, added, err)
		}
	}
}

func reopen(t *testing.T, d Dir, id uint64) *File {
	t.Helper()
	f, err := d.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// mustRead checks that exactly the blocks given are present and right.
func mustRead(t *testing.T, f *File, content []byte, blocks ...int64) {
	t.Helper()
	want := make(map[int64]bool)
	for _, b := range blocks {
		want[b] = true
	}
	if n := f.Present(); n != int64(len(blocks)) {
		t.Errorf("%d blocks are present, want %d", n, len(blocks))
	}
	for b := range Blocks(int64(len(content))) {
		p := make([]byte, BlockLen(int64(len(content)), b))
		good, err := f.Read(p, b)
		switch {
		case err != nil:
			t.Errorf("block %d: %v", b, err)
		case want[b] != (good == 1):
			t.Errorf("block %d: present %v, want %v", b, good == 1, want[b])
		case want[b] && !bytes.Equal(p, block(content, b)):
			t.Errorf("block %d: wrong bytes", b)
		}
	}
}

func TestBlocksAreThereAfterReopening(t *testing.T) {
	for _, tt := range []struct {
		name   string
		size   int64
		blocks []int64
	}{
		{"one byte", 1, []int64{0}},
		{"one block", BlockSize, []int64{0}},
		{"short last block", 3*BlockSize + 5, []int64{3, 1}},
		{"entries over several pages", 1000 * BlockSize, []int64{0, 255, 256, 257, 767, 768, 999}},
		{"nothing", 10, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			content := testBytes(tt.size)
			d, f := create(t, testMeta(tt.size))
			mustWrite(t, f, content, tt.blocks...)
			mustRead(t, f, content, tt.blocks...)
			again := reopen(t, d, f.Meta().ID)
			mustRead(t, again, content, tt.blocks...)
			if again.Meta() != f.Meta() {
				t.Errorf("meta %+v, want %+v", again.Meta(), f.Meta())
			}
			if again.SideCost() != f.SideCost() {
				t.Errorf("cost of the sidecar %d, want %d", again.SideCost(), f.SideCost())
			}
		})
	}
}

func TestDamageIsNoticed(t *testing.T) {
	const size = 4 * BlockSize
	content := testBytes(size)
	for _, tt := range []struct {
		name   string
		damage func(data, side *os.File) error
		block1 error // reading block 1
		open   bool  // the content can be opened
	}{
		{"a byte of the data", func(data, _ *os.File) error { return poke(data, BlockSize+77) }, ErrCorrupt, true},
		{"data that was never written out", func(data, _ *os.File) error {
			return unix.Fallocate(int(data.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, BlockSize, BlockSize)
		}, ErrCorrupt, true},
		{"cut data", func(data, _ *os.File) error { return data.Truncate(BlockSize + 9) }, ErrCorrupt, true},
		{"a byte of an entry", func(_, side *os.File) error { return poke(side, headerStep+entrySize+2) }, nil, true},
		{"an entry that moved", func(_, side *os.File) error {
			e := make([]byte, entrySize)
			if _, err := side.ReadAt(e, headerStep); err != nil {
				return err
			}
			_, err := side.WriteAt(e, headerStep+entrySize)
			return err
		}, nil, true},
		{"a byte of the key", func(_, side *os.File) error { return poke(side, headerFixed+1) }, nil, false},
		{"a cut header", func(_, side *os.File) error { return side.Truncate(20) }, nil, false},
		{"an empty sidecar", func(_, side *os.File) error { return side.Truncate(0) }, nil, false},
		{"another format", func(_, side *os.File) error { return poke(side, 8) }, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, f := create(t, testMeta(size))
			mustWrite(t, f, content, 0, 1)
			if err := tt.damage(f.data, f.side); err != nil {
				t.Fatal(err)
			}
			again, err := d.Open(f.meta.ID)
			if (err == nil) != tt.open {
				t.Fatalf("open: %v, want success %v", err, tt.open)
			}
			if err != nil {
				return
			}
			defer again.Close()
			p := make([]byte, 2*BlockSize)
			good, err := again.Read(p, 0)
			if good != 1 || !errors.Is(err, tt.block1) {
				t.Errorf("%d good blocks, %v; want 1, %v", good, err, tt.block1)
			}
			if !bytes.Equal(p[:BlockSize], block(content, 0)) {
				t.Error("block 0 has wrong bytes")
			}
		})
	}
}

func poke(f *os.File, at int64) error {
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return err
	}
	b[0] ^= 0x41
	_, err := f.WriteAt(b[:], at)
	return err
}

func TestClearGivesRoomBack(t *testing.T) {
	const size = 600*BlockSize + 100
	content := testBytes(size)
	d, f := create(t, testMeta(size))
	mustWrite(t, f, content, 0, 1, 2, 300, 301, 600)
	before := allocated(t, f)
	freed, err := f.Clear(1, 600)
	if err != nil || freed != 4*BlockSize {
		t.Fatalf("freed %d, %v; want 4 blocks", freed, err)
	}
	if got := before - allocated(t, f); got != freed {
		t.Errorf("the disk got %d bytes back, want %d", got, freed)
	}
	mustRead(t, f, content, 0, 600)
	mustRead(t, reopen(t, d, f.meta.ID), content, 0, 600)
	if freed, err := f.Clear(0, 601); err != nil || freed != BlockSize+grain {
		t.Fatalf("freed %d, %v; want the first block and the short last one", freed, err)
	}
	if n := allocated(t, f); n != 0 {
		t.Errorf("%d bytes are still allocated", n)
	}
}

func allocated(t *testing.T, f *File) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.data.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestScanFindsContentsAndRemovesJunk(t *testing.T) {
	const size = 5 * BlockSize
	content := testBytes(size)
	d, f := create(t, testMeta(size))
	mustWrite(t, f, content, 0, 4)
	// What a crash leaves between the data and its entry.
	if _, err := f.data.WriteAt(block(content, 2), 2*BlockSize); err != nil {
		t.Fatal(err)
	}
	m := testMeta(size)
	m.ID = 0x1bc
	empty, err := d.Create(m)
	if err != nil {
		t.Fatal(err)
	}
	empty.Close()
	junk := []string{"file", "zz/x", "bc/0000000000000001.data", "bc/00000000000002bc.data", "bc/00000000000003bc.meta", "bc/readme"}
	for _, name := range junk {
		path := filepath.Join(d.Path, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("junk"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	var found []Found
	if err := d.Scan(func(f Found) { found = append(found, f) }); err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].ID != 0xabc || found[0].Cost != 2*BlockSize || len(found[0].Ends) != 2 || found[0].Size != size {
		t.Fatalf("found %+v, want the one content with its two blocks", found)
	}
	if n := allocated(t, f); n != 2*BlockSize {
		t.Errorf("%d bytes are allocated, want two blocks", n)
	}
	var left []string
	err = filepath.WalkDir(d.Path, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			left = append(left, path)
		}
		return err
	})
	if err != nil || len(left) != 2 {
		t.Errorf("left are %v, %v; want the two files of the content", left, err)
	}
}

func TestImportAndExportMoveTheFile(t *testing.T) {
	const size = 20*BlockSize + 3
	content := testBytes(size)
	d := Dir{Path: filepath.Join(t.TempDir(), "objects")}
	from := filepath.Join(t.TempDir(), "staged")
	if err := os.WriteFile(from, content, 0o600); err != nil {
		t.Fatal(err)
	}
	sums, err := d.Sum(testMeta(size), from)
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.Import(testMeta(size), from, sums)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := make([]int64, Blocks(size))
	for i := range all {
		all[i] = int64(i)
	}
	mustRead(t, f, content, all...)
	mustRead(t, reopen(t, d, f.meta.ID), content, all...)
	if err := d.Export(f.meta.ID, from); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(from); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the file came back with %d bytes, %v", len(got), err)
	}
	if _, err := d.Open(f.meta.ID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open after the export: %v", err)
	}
}

func TestAContentCanGetAnotherKey(t *testing.T) {
	d, f := create(t, testMeta(10))
	if err := f.SetMeta("other/key", "v2"); err != nil {
		t.Fatal(err)
	}
	if m := reopen(t, d, f.meta.ID).Meta(); m.Key != "other/key" || m.Version != "v2" || m.Size != 10 {
		t.Errorf("meta %+v", m)
	}
	if err := f.SetMeta(string(make([]byte, 5000)), "v2"); err == nil {
		t.Error("a key that has no room in the header was taken")
	}
	long := testMeta(3 * BlockSize)
	long.ID, long.Key = 7, string(bytes.Repeat([]byte("k"), 6000))
	g, err := d.Create(long)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	content := testBytes(long.Size)
	mustWrite(t, g, content, 2)
	again := reopen(t, d, 7)
	mustRead(t, again, content, 2)
	if again.Meta().Key != long.Key {
		t.Error("a long key did not come back")
	}
}

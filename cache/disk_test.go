package cache

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// dataFile returns the path of a content's data file.
func dataFile(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "objects", "*", "*.data"))
	if err != nil || len(found) != 1 {
		t.Fatalf("data files %v, %v; want one", found, err)
	}
	return found[0]
}

func TestADamagedBlockIsFetchedAgain(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, Options{})
	s := newStore(1, mib)
	f := c.File(s.obj, s.fetch)
	readAt(t, f, s, 0, mib)
	settle(t, c)
	s.sent()
	data, err := os.OpenFile(dataFile(t, dir), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	for _, block := range []int64{3, 9} {
		if _, err := data.WriteAt(make([]byte, 100), block*blk+7); err != nil {
			t.Fatal(err)
		}
	}
	readAt(t, f, s, 0, mib)
	if got := s.sent(); len(got) != 2 || got[0] != (Range{3 * blk, blk}) || got[1] != (Range{9 * blk, blk}) {
		t.Errorf("requests %v, want blocks 3 and 9", got)
	}
	if n := stats(t, c).CorruptBlocks; n != 2 {
		t.Errorf("%d damaged blocks were counted, want 2", n)
	}
	readAt(t, f, s, 0, mib)
	mustClose(t, f)
	if n := s.requests(); n != 0 || !whole(t, c, 1) {
		t.Errorf("%d more requests, whole %v; the blocks should be there again", n, whole(t, c, 1))
	}
}

// kill ends a cache as kill -9 would, as far as its directory is concerned.
func kill(t *testing.T, c *Cache) {
	t.Helper()
	c.life.end()
	c.stop()
	c.life.wait()
	c.memory.close()
	if err := c.lock.close(); err != nil {
		t.Fatal(err)
	}
}

func TestAKilledCacheServesWhatItHad(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, path string) // behind the back of the dead process
		want   []Range                         // fetched again
	}{
		{"killed", func(*testing.T, string) {}, nil},
		{"data without its entry", func(t *testing.T, path string) {
			clearEntry(t, path, 2)
		}, []Range{{2 * blk, blk}}},
		{"the power failed and the data is zeros", func(t *testing.T, path string) {
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, mib); err != nil {
				t.Fatal(err)
			}
		}, []Range{{0, mib}}},
		{"the sidecar is empty", func(t *testing.T, path string) {
			if err := os.Truncate(sideOf(path), 0); err != nil {
				t.Fatal(err)
			}
		}, []Range{{0, mib}}},
		{"the sidecar is gone", func(t *testing.T, path string) {
			if err := os.Remove(sideOf(path)); err != nil {
				t.Fatal(err)
			}
		}, []Range{{0, mib}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			c, err := Open(dir, Options{KeepFree: -1})
			if err != nil {
				t.Fatal(err)
			}
			s := newStore(1, mib)
			readAt(t, c.File(s.obj, s.fetch), s, 0, mib)
			settle(t, c)
			s.sent()
			kill(t, c)
			tt.damage(t, dataFile(t, dir))
			c = openCache(t, dir, Options{})
			f := c.File(s.obj, s.fetch)
			readAt(t, f, s, 0, mib)
			settle(t, c)
			got := s.sent()
			if total(got) != total(tt.want) {
				t.Errorf("fetched %v, want %v", got, tt.want)
			}
			mustClose(t, f)
		})
	}
}

func total(r []Range) (n int64) {
	for _, x := range r {
		n += x.Len
	}
	return n
}

func sideOf(data string) string { return strings.TrimSuffix(data, ".data") + ".meta" }

func clearEntry(t *testing.T, data string, block int64) {
	t.Helper()
	side, err := os.OpenFile(sideOf(data), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer side.Close()
	if _, err := side.WriteAt(make([]byte, 8), 2048+8*block); err != nil {
		t.Fatal(err)
	}
}

func TestAnOldContentUnderTheIDIsNotServed(t *testing.T) {
	old := newStore(1, mib)
	for _, tt := range []struct {
		name string
		obj  Object
	}{
		{"another version", Object{ID: 1, Key: "key", Version: "v2", Size: mib}},
		{"another key", Object{ID: 1, Key: "other", Version: "v1", Size: mib}},
		{"another size", Object{ID: 1, Key: "key", Version: "v1", Size: mib + 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			c := openCache(t, dir, Options{})
			f := c.File(old.obj, old.fetch)
			readAt(t, f, old, 0, mib)
			mustClose(t, f)
			closeCache(t, c)
			c = openCache(t, dir, Options{})
			s := newStore(2, tt.obj.Size)
			s.obj = tt.obj
			f = c.File(s.obj, s.fetch)
			readAt(t, f, s, 0, tt.obj.Size)
			mustClose(t, f)
			if _, ok, err := c.Take(old.obj, filepath.Join(dir, "taken")); tt.obj.Size != mib && (ok || err != nil) {
				t.Errorf("take of the old content: %v, %v", ok, err)
			}
		})
	}
}

func TestTroubleOfTheDiskNeverFailsARead(t *testing.T) {
	for _, tt := range []struct {
		name string
		op   string
		err  error
	}{
		{"disk full when a file is made", "create", syscall.ENOSPC},
		{"disk full when a block is written", "write", syscall.ENOSPC},
		{"the disk cannot read", "read", syscall.EIO},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var broken atomic.Bool
			var now atomic.Int64
			c := openCache(t, t.TempDir(), Options{
				Now: func() time.Time { return time.Unix(now.Load(), 0) },
				fault: func(op, _ string) error {
					if broken.Load() && op == tt.op {
						return tt.err
					}
					return nil
				}})
			s := newStore(1, 20*mib)
			f := c.File(s.obj, s.fetch)
			readAt(t, f, s, 5*mib, mib)
			broken.Store(true)
			for _, step := range []int64{mib, 10 * kib} {
				readAll(t, f, s, step)
			}
			mustClose(t, f)
			other := newStore(2, 3*mib)
			f = c.File(other.obj, other.fetch)
			readAll(t, f, other, 4*kib)
			readAll(t, f, other, mib)
			mustClose(t, f)
			if stats(t, c).DiskErrors == 0 {
				t.Error("no trouble was counted")
			}
			broken.Store(false)
			now.Add(60)
			third := newStore(3, 3*mib)
			f = c.File(third.obj, third.fetch)
			readAll(t, f, third, mib)
			mustClose(t, f)
			if !whole(t, c, 3) {
				t.Error("the disk is not used again after it recovered")
			}
		})
	}
}

func TestACacheWithoutDiskReadsAheadInMemory(t *testing.T) {
	c := openCache(t, t.TempDir(), Options{Size: -1})
	s := newStore(1, 100*mib)
	f := c.File(s.obj, s.fetch)
	readAll(t, f, s, 128*kib)
	mustClose(t, f)
	if got := s.bytes(); got != s.obj.Size {
		t.Errorf("%d bytes were fetched of %d", got, s.obj.Size)
	}
	if n := s.requests(); n > 60 {
		t.Errorf("%d requests for 100 MiB", n)
	}
}

func TestOneDirectoryOneCache(t *testing.T) {
	dir := t.TempDir()
	openCache(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "process") {
		t.Errorf("a second cache in the directory: %v", err)
	}
}

func TestOpenKeepsItsHandsOffOtherDirectories(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string // in the error
	}{
		{"a newer format", map[string]string{"format": "sharefs read cache, format 2\n"}, "newer version"},
		{"no format that we know", map[string]string{"format": "something\nelse"}, "something"},
		{"somebody's files", map[string]string{"thesis.tex": "x"}, "thesis.tex"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Open(dir, Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			for name := range tt.files {
				if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestTheDirectoryIsTaggedAsACache(t *testing.T) {
	dir := t.TempDir()
	openCache(t, dir, Options{})
	for name, want := range map[string]string{
		"CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n",
		"format":       "sharefs read cache, format 1\n",
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.HasPrefix(string(text), want) {
			t.Errorf("%s: %q, %v; want %q", name, text, err, want)
		}
	}
}

package storage_test

import (
	"bytes"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sharefs/storage"
	"sharefs/storage/container"
	"sharefs/storage/storagetest"
)

// golden is what Tahoe-LAFS 1.20 made: see test/tahoe/golden.py, whose requests are the ones below.
const golden = "testdata/tahoe-1.20"

// clock is where the requests begin.
var clock = time.Unix(1_800_000_000, 0)

// What test/tahoe/golden.py has.
var (
	secret = storagetest.Secret
	index  = storagetest.Index
	lease  = storagetest.Lease
)

func body(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i * 7 % 251)
	}
	return b
}

// client does requests to a store.
type client struct {
	*testing.T
	*storage.Store
}

func (c client) check(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c client) upload(size int, shares ...int) {
	c.Helper()
	got, err := c.Allocate(index(0), storage.Allocation{Shares: shares, Size: int64(size), Lease: lease(0)})
	c.check(err)
	for _, n := range shares {
		for _, at := range []int{size / 2, 0} {
			_, err := got.Uploads[n].Write(int64(at), body(size)[at:at+size/2])
			c.check(err)
		}
		c.check(got.Uploads[n].Close())
	}
}

func (c client) update(as int, shares map[int]storage.ShareUpdate) {
	c.Helper()
	got, err := c.ReadTestWrite(index(1), storage.SlotUpdate{
		Secrets: storage.SlotSecrets{WriteEnabler: secret("enabler", 0), Lease: lease(as)}, Shares: shares,
	})
	c.check(err)
	if !got.Written {
		c.Fatal("the tests do not hold")
	}
}

func writes(at int64, data []byte) []storage.Write { return []storage.Write{{Offset: at, Data: data}} }

// TestTheSameRequestsLeaveTheFilesOfTahoe does the requests of golden.py, and compares every file.
func TestTheSameRequestsLeaveTheFilesOfTahoe(t *testing.T) {
	now := clock
	dir := t.TempDir()
	s, err := storage.Open(dir, storage.Options{NodeID: storagetest.Node, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)})
	c := client{t, s}
	c.check(err)
	c.upload(1000, 0, 3)
	now = now.Add(time.Hour)
	c.check(s.AddLease(index(0), lease(1)))
	now = now.Add(time.Hour)
	c.check(s.RenewLease(index(0), lease(0).Renew))
	_, err = s.Allocate(index(0), storage.Allocation{Shares: []int{3}, Size: 1000, Lease: lease(2)})
	c.check(err)

	c.update(0, map[int]storage.ShareUpdate{0: {Writes: writes(0, body(300))}, 5: {Writes: writes(10, body(20))}})
	now = now.Add(time.Hour)
	length := int64(400)
	c.update(1, map[int]storage.ShareUpdate{0: {
		Tests:  []storage.Test{{Range: storage.Range{Length: 4}, Specimen: body(4)}},
		Writes: writes(250, body(300)), NewLength: &length,
	}})
	c.update(0, map[int]storage.ShareUpdate{5: {NewLength: new(int64)}, 6: {Writes: writes(0, []byte("another"))}})
	c.check(s.AddLease(index(1), lease(2)))
	c.check(s.RenewLease(index(1), lease(2).Renew))
	c.check(s.AdviseCorrupt(container.Mutable, index(1), 0, "as a test"))
	c.check(s.Close())
	compareFiles(t, filesOf(t, dir), filesOf(t, filepath.Join(golden, "server")))
}

// filesOf reads all files of a directory.
func filesOf(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[path], err = fs.ReadFile(root, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func compareFiles(t *testing.T, got, want map[string][]byte) {
	t.Helper()
	if g, w := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(g, w) {
		t.Fatalf("got the files %q\nwant %q", g, w)
	}
	for name, w := range want {
		if !bytes.Equal(got[name], w) {
			t.Errorf("%s is\n%x\nwant\n%x", name, got[name], w)
		}
	}
}

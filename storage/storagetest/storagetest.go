// Package storagetest checks that a share store keeps its promises over some file system: a disk, one in memory, a mount.
package storagetest

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sharefs/storage"
	"sharefs/storage/container"
)

// Place is where a store is to be: a new directory, which may be missing, on a file system.
type Place struct {
	FS         storage.FS
	Dir        string
	Durability storage.Durability
}

// Run runs the suite. Each test has a place of its own from place.
func Run(t *testing.T, place func(t *testing.T) Place) {
	for _, tests := range []map[string]func(b *bed){uploadTests, leaseTests, slotTests, storeTests} {
		for _, name := range slices.Sorted(keysOf(tests)) {
			t.Run(name, func(t *testing.T) { tests[name](newBed(t, place(t))) })
		}
	}
}

func keysOf(m map[string]func(b *bed)) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for name := range m {
			if !yield(name) {
				return
			}
		}
	}
}

// bed is a store, and what a test does with it.
type bed struct {
	*testing.T
	Place
	o     storage.Options
	now   time.Time
	store *storage.Store
}

func newBed(t *testing.T, p Place) *bed {
	b := &bed{T: t, Place: p, now: time.Unix(1_800_000_000, 0)}
	b.o = storage.Options{
		FS: p.FS, NodeID: Node, Durability: p.Durability, Now: func() time.Time { return b.now }, Log: slog.New(slog.DiscardHandler),
	}
	b.open()
	t.Cleanup(func() { b.check(b.store.Close()) })
	return b
}

func (b *bed) check(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// open opens the store, again if it is open.
func (b *bed) open() {
	b.Helper()
	if b.store != nil {
		b.check(b.store.Close())
	}
	var err error
	b.store, err = storage.Open(b.Dir, b.o)
	b.check(err)
}

// body is data that look like a share's.
func body(seed uint8, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

// allocate asks for uploads and returns them.
func (b *bed) allocate(i storage.Index, size int, shares ...int) storage.Allocated {
	b.Helper()
	got, err := b.store.Allocate(i, storage.Allocation{Shares: shares, Size: int64(size), Lease: Lease(0)})
	b.check(err)
	return got
}

// put stores a share.
func (b *bed) put(i storage.Index, number int, data []byte) {
	b.Helper()
	u := b.allocate(i, len(data), number).Uploads[number]
	if u == nil {
		b.Fatalf("share %d of %v is not allocated", number, i)
	}
	const step = 128 << 10
	for at := 0; at < len(data); at += step {
		_, err := u.Write(int64(at), data[at:min(at+step, len(data))])
		b.check(err)
	}
	b.check(u.Close())
}

// holds compares a share's data.
func (b *bed) holds(i storage.Index, number int, want []byte) {
	b.Helper()
	h, err := b.store.OpenShare(i, number)
	b.check(err)
	got := make([]byte, h.Size()+1)
	n, _ := h.ReadAt(got, 0) // ends with io.EOF
	if !bytes.Equal(got[:n], want) {
		b.Errorf("share %d of %v has %d bytes, want %d, or others", number, i, n, len(want))
	}
	b.check(h.Close())
}

// shares compares the list of shares.
func (b *bed) shares(i storage.Index, want ...int) {
	b.Helper()
	got, err := b.store.Shares(i)
	b.check(err)
	if !slices.Equal(got, want) {
		b.Errorf("shares of %v: %v, want %v", i, got, want)
	}
}

// leases compares when the leases of a share end, counted from the lease of an operation that is done now.
func (b *bed) leases(i storage.Index, number int, want ...time.Duration) {
	b.Helper()
	leases, err := b.store.Leases(i, number)
	b.check(err)
	var got []time.Duration
	for _, l := range leases {
		got = append(got, l.Renewed().Sub(b.now))
	}
	if !slices.Equal(got, want) {
		b.Errorf("the leases of share %d of %v were renewed at %v, want %v", number, i, got, want)
	}
}

// file is the path of a share.
func (b *bed) file(i storage.Index, number int) string {
	return filepath.Join(b.Dir, "shares", i.Prefix(), i.String(), fmt.Sprint(number))
}

// size returns the size of a share's file.
func (b *bed) size(i storage.Index, number int) int64 {
	b.Helper()
	fi, err := b.FS.Stat(b.file(i, number))
	b.check(err)
	return fi.Size()
}

// tree lists the files and empty directories of the store, below a directory of it.
func (b *bed) tree(dir string) []string {
	b.Helper()
	entries, err := b.FS.ReadDir(filepath.Join(b.Dir, dir))
	b.check(err)
	if len(entries) == 0 {
		return []string{dir + "/"}
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, b.tree(path.Join(dir, e.Name()))...)
		} else {
			names = append(names, path.Join(dir, e.Name()))
		}
	}
	return names
}

// treeIs compares what is below shares/.
func (b *bed) treeIs(want ...string) {
	b.Helper()
	if got := b.tree("shares"); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		b.Errorf("the store has %q, want %q", got, want)
	}
}

// rel is the path of a share in a tree.
func rel(i storage.Index, number int) string {
	return path.Join("shares", i.Prefix(), i.String(), fmt.Sprint(number))
}

const incoming = "shares/incoming/"

var immutableSize = container.ImmutableSize

package test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"sharefs/test/harness"
	"sharefs/test/servers"
)

// node does to a mount what Tahoe-LAFS's storage server does to its disk.
type node struct {
	t     *testing.T
	m     *harness.Mount
	proxy *servers.ReverseProxy
	seed  uint64
}

const (
	storeStep  = 128 << 10 // bytes that are written to a share at a time
	leaseSize  = 72        // of a lease in a share
	headerSize = 12        // of a share's header
	pythonRead = 8 << 10   // what Python reads at a time when somebody wants less
)

// name returns the n-th share's.
func name(n int) string { return fmt.Sprintf("shares/aa/si%d/0", n) }

func (n *node) check(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// bytes returns random bytes.
func (n *node) bytes(size int) []byte {
	n.seed++
	return step{Seed: n.seed, Size: size}.bytes()
}

// store makes a share of a size in bytes below incoming and moves it to its place.
func (n *node) store(share string, size int) {
	n.t.Helper()
	incoming := n.m.Path("shares/incoming/aa/" + filepath.Base(filepath.Dir(share)))
	n.check(os.MkdirAll(incoming, 0o755))
	file := filepath.Join(incoming, "0")
	n.check(os.WriteFile(file, n.bytes(headerSize), 0o644))
	n.change(file, func(f *os.File) { n.writeAt(f, size-leaseSize, leaseSize) })
	for off := headerSize; off < size-leaseSize; off += storeStep {
		n.change(file, func(f *os.File) { n.writeAt(f, off, min(storeStep, size-leaseSize-off)) })
	}
	n.check(os.MkdirAll(filepath.Dir(n.m.Path(share)), 0o755))
	n.check(os.Rename(file, n.m.Path(share)))
	n.check(os.Remove(incoming))
	n.check(os.Remove(filepath.Dir(incoming)))
	_, err := os.Stat(n.m.Path(share))
	n.check(err)
}

// change opens a file for change, and closes it.
func (n *node) change(file string, change func(*os.File)) {
	n.t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	n.check(err)
	change(f)
	n.check(f.Close())
}

func (n *node) writeAt(f *os.File, off, size int) {
	n.t.Helper()
	_, err := f.WriteAt(n.bytes(size), int64(off))
	n.check(err)
}

// readAt reads as Python does when somebody wants a few bytes.
func (n *node) readAt(f *os.File, off int64) {
	n.t.Helper()
	if _, err := f.ReadAt(make([]byte, pythonRead), off); err != nil && !errors.Is(err, io.EOF) {
		n.t.Fatal(err)
	}
}

// readLeases reads a share's header and its last lease.
func (n *node) readLeases(f *os.File) int64 {
	n.t.Helper()
	fi, err := f.Stat()
	n.check(err)
	n.readAt(f, 0)
	n.readAt(f, fi.Size()-leaseSize)
	return fi.Size()
}

// lease renews the last lease of a share, or adds one: its size stays, as if another were cancelled.
func (n *node) lease(share string, add bool) {
	n.t.Helper()
	n.change(n.m.Path(share), func(f *os.File) {
		size := n.readLeases(f)
		n.writeAt(f, int(size)-leaseSize, leaseSize)
		if add {
			n.writeAt(f, 8, 4)
		}
	})
}

// update changes a slot: it is opened five times and written to in three of them.
func (n *node) update(share string) {
	n.t.Helper()
	for i := range 5 {
		n.change(n.m.Path(share), func(f *os.File) {
			n.readLeases(f)
			if i%2 == 0 {
				n.writeAt(f, 1000*int(n.seed%100), 100)
			}
		})
	}
}

// save replaces a file as an editor does, durably.
func (n *node) save(file string) {
	n.t.Helper()
	f, err := os.Create(n.m.Path(file + ".tmp"))
	n.check(err)
	_, err = f.Write(n.bytes(shareSize))
	n.check(errors.Join(err, f.Sync(), f.Close(), os.Rename(f.Name(), n.m.Path(file))))
}

func (n *node) write(file string, size int) {
	n.t.Helper()
	n.check(os.WriteFile(n.m.Path(file), n.bytes(size), 0o644))
}

func (n *node) rename(from, to string) {
	n.t.Helper()
	n.check(os.Rename(n.m.Path(from), n.m.Path(to)))
}

// writeMany makes a directory with a number of files.
func (n *node) writeMany(dir string, count int) {
	n.t.Helper()
	n.check(os.Mkdir(n.m.Path(dir), 0o755))
	for i := range count {
		n.write(fmt.Sprintf("%s/%d", dir, i), 100)
	}
}

// comeAndGo makes and removes a directory, a file, and a directory with a file in it that was renamed.
func (n *node) comeAndGo() {
	n.t.Helper()
	n.check(os.Mkdir(n.m.Path("dir"), 0o755))
	n.check(os.Remove(n.m.Path("dir")))
	n.write("file", shareSize)
	n.check(os.Remove(n.m.Path("file")))
	n.check(os.Mkdir(n.m.Path("dir"), 0o755))
	n.write("dir/a", shareSize)
	n.rename("dir/a", "dir/b")
	n.check(os.Remove(n.m.Path("dir/b")))
	n.check(os.Remove(n.m.Path("dir")))
}

// list lists everything, with sizes.
func (n *node) list() {
	n.t.Helper()
	n.check(filepath.WalkDir(n.m.Dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil {
			_, err = d.Info()
		}
		return err
	}))
}

// leases reads those of the first shares.
func (n *node) leases(count int) {
	n.t.Helper()
	for i := range count {
		f, err := os.Open(n.m.Path(name(i)))
		n.check(err)
		n.readLeases(f)
		n.check(f.Close())
	}
}

// crawl does as a crawler does: it lists and stats everything and reads the leases of the first shares.
func (n *node) crawl(count int) {
	n.t.Helper()
	n.list()
	n.leases(count)
}

// read reads a file from its start to its end.
func (n *node) read(file string, step int) {
	n.t.Helper()
	f, err := os.Open(n.m.Path(file))
	n.check(err)
	defer f.Close()
	for buf := make([]byte, step); err == nil; {
		_, err = f.Read(buf)
	}
	if !errors.Is(err, io.EOF) {
		n.t.Fatal(err)
	}
}

func (n *node) readAll(count int) {
	n.t.Helper()
	for i := range count {
		n.read(name(i), storeStep)
	}
}

// forget mounts anew with an empty cache.
func (n *node) forget() {
	n.t.Helper()
	n.m.Unmount()
	n.m.RemountEmpty()
}

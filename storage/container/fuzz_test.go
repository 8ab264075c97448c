package container

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// addGolden gives a fuzz target the files of Tahoe-LAFS for seeds, whole and cut off.
func addGolden(f *testing.F, kind string) {
	f.Helper()
	entries, err := os.ReadDir(golden)
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), kind) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(golden, e.Name()))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint16(0))
		f.Add(b[:len(b)-1], uint16(50))
		f.Add(append(bytes.Clone(b), "what a crash has left"...), uint16(2000))
	}
}

// dataOf reads a container's data.
func dataOf(t *testing.T, c Container) []byte {
	t.Helper()
	b := make([]byte, c.Size()+1)
	n, err := c.ReadAt(b, 0)
	if int64(n) != c.Size() || err != io.EOF {
		t.Fatalf("reading %d bytes: %d, %v", c.Size(), n, err)
	}
	return b[:n]
}

func reopen(t *testing.T, b *Buffer) Container {
	t.Helper()
	c, err := Open("share", b, int64(len(b.Bytes())))
	if err != nil {
		t.Fatalf("a container that was changed: %v", err)
	}
	return c
}

// tryLeases adds a lease, renews and cancels it: no data may change, and no other lease.
func tryLeases(t *testing.T, b *Buffer, c Container) {
	t.Helper()
	data := dataOf(t, c)
	before, err := c.Leases()
	if err != nil {
		t.Fatal(err)
	}
	l := lease(77, 100, 1)
	if err := c.AddOrRenewLease(l, 1000); err != nil {
		t.Fatal(err)
	}
	c = reopen(t, b)
	after, err := c.Leases()
	if err != nil || !bytes.Equal(dataOf(t, c), data) {
		t.Fatalf("with a lease more: data changed, or %v", err)
	}
	if len(after) != len(before)+1 {
		t.Fatalf("%d leases, and one more are %d", len(before), len(after))
	}
	if err := c.RenewLease(l.Renew, l.Expires.Add(100)); err != nil {
		t.Fatal(err)
	}
	if left, err := c.CancelLease(l.made(c.Version())); err != nil || left != len(before) {
		t.Fatalf("%d leases are left of %d: %v", left, len(after), err)
	}
	if len(before) == 0 {
		return // the file is to be removed
	}
	if c = reopen(t, b); !bytes.Equal(dataOf(t, c), data) {
		t.Fatal("the data changed with the leases")
	}
}

func FuzzImmutableContainer(f *testing.F) {
	addGolden(f, "immutable")
	f.Fuzz(func(t *testing.T, contents []byte, _ uint16) {
		b := NewBuffer(bytes.Clone(contents))
		c, err := OpenImmutable("share", b, int64(len(contents)))
		if err != nil || c.Check() != nil {
			return
		}
		tryLeases(t, b, c)
	})
}

func FuzzMutableContainer(f *testing.F) {
	addGolden(f, "mutable")
	f.Fuzz(func(t *testing.T, contents []byte, at uint16) {
		b := NewBuffer(bytes.Clone(contents))
		c, err := OpenMutable("share", b, int64(len(contents)))
		if err != nil {
			return
		}
		want := NewBuffer(dataOf(t, c))
		for _, f := range []io.WriterAt{c, want} {
			if _, err := f.WriteAt([]byte("some data"), int64(at)); err != nil {
				t.Fatal(err)
			}
		}
		again := reopen(t, b)
		if !bytes.Equal(dataOf(t, again), want.Bytes()) {
			t.Fatal("the data are not those that were written")
		}
		tryLeases(t, b, again)
	})
}

func FuzzLease(f *testing.F) {
	f.Add(lease(1, 1, 1).made(1).encodeMutable())
	f.Add(lease(1, 1, 0).made(2).encodeImmutable())
	f.Fuzz(func(t *testing.T, record []byte) {
		for version := 1; version <= 2; version++ {
			if len(record) == immutableLease && !bytes.Equal(decodeImmutable(record, version).encodeImmutable(), record) {
				t.Errorf("version %d, immutable: %x comes back as %+v", version, record, decodeImmutable(record, version))
			}
			if len(record) == mutableLease && !bytes.Equal(decodeMutable(record, version).encodeMutable(), record) {
				t.Errorf("version %d, mutable: %x comes back as %+v", version, record, decodeMutable(record, version))
			}
		}
	})
}

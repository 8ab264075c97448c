package cache

import (
	"context"
	"testing"
)

func benchFile(b *testing.B, o Options, size int64) (*Cache, *store, *File) {
	b.Helper()
	c := openCache(b, b.TempDir(), o)
	s := newStore(1, size)
	return c, s, c.File(s.obj, s.fetch)
}

// BenchmarkMemoryHit reads 4 KiB of a block that is in memory.
func BenchmarkMemoryHit(b *testing.B) {
	_, s, f := benchFile(b, Options{}, mib)
	readAt(b, f, s, 5*blk, 4*kib)
	f.o.c.memory.tier.Wait()
	p := make([]byte, 4*kib)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.ReadAt(context.Background(), p, 5*blk+8*kib); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDiskHit reads from disk, with checksums, in the steps that a kernel asks for.
func BenchmarkDiskHit(b *testing.B) {
	for _, bm := range []struct {
		name string
		step int64
	}{{"128KiB", 128 * kib}, {"1MiB", mib}} {
		b.Run(bm.name, func(b *testing.B) {
			const size = 64 * mib
			_, s, f := benchFile(b, Options{}, size)
			readAll(b, f, s, mib)
			p := make([]byte, bm.step)
			b.SetBytes(bm.step)
			b.ReportAllocs()
			off := int64(0)
			for b.Loop() {
				if _, err := f.ReadAt(context.Background(), p, off); err != nil {
					b.Fatal(err)
				}
				off = (off + bm.step) % size
			}
		})
	}
}

// BenchmarkColdSequential reads 64 MiB that only the store has, in memory here, in steps of 128 KiB.
func BenchmarkColdSequential(b *testing.B) {
	const size, step = 64 * mib, 128 * kib
	c := openCache(b, b.TempDir(), Options{})
	s := newStore(1, size)
	p := make([]byte, step)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		f := c.File(s.obj, s.fetch)
		for off := int64(0); off < size; off += step {
			if _, err := f.ReadAt(context.Background(), p, off); err != nil {
				b.Fatal(err)
			}
		}
		f.Close()
		c.Drop(1)
	}
}

// BenchmarkOpenReadClose opens a content that is on disk, reads its head and closes it.
func BenchmarkOpenReadClose(b *testing.B) {
	c, s, f := benchFile(b, Options{}, mib)
	readAt(b, f, s, 0, mib)
	mustClose(b, f)
	p := make([]byte, 4*kib)
	b.ReportAllocs()
	for b.Loop() {
		f := c.File(s.obj, s.fetch)
		if _, err := f.ReadAt(context.Background(), p, 0); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

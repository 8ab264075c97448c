package storage_test

import (
	"log/slog"
	"testing"

	"sharefs/storage"
	"sharefs/storage/storagetest"
)

// benchStore is a store on a disk.
func benchStore(b *testing.B) *storage.Store {
	b.Helper()
	s, err := storage.Open(b.TempDir(), storage.Options{Durability: storage.Relaxed, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkUpload stores shares of 1 MiB in steps of 128 KiB.
func BenchmarkUpload(b *testing.B) {
	const size, step = 1 << 20, 128 << 10
	s, data := benchStore(b), body(size)
	b.SetBytes(size)
	for n := 0; b.Loop(); n++ {
		got, err := s.Allocate(index(n), storage.Allocation{Shares: []int{0}, Size: size, Lease: lease(0)})
		if err != nil {
			b.Fatal(err)
		}
		for at := 0; at < size; at += step {
			if _, err := got.Uploads[0].Write(int64(at), data[at:at+step]); err != nil {
				b.Fatal(err)
			}
		}
		if err := got.Uploads[0].Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSlotUpdate changes a thousand bytes of a slot of ten thousand.
func BenchmarkSlotUpdate(b *testing.B) {
	s := benchStore(b)
	update := func(at int64, data []byte) {
		_, err := s.ReadTestWrite(index(0), storage.SlotUpdate{
			Secrets: storagetest.Slot(0), Shares: map[int]storage.ShareUpdate{0: {Writes: writes(at, data)}},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	update(0, body(10_000))
	for n := 0; b.Loop(); n++ {
		update(int64(n%10)*1000, body(1000))
	}
}

// BenchmarkAddLease renews the lease of a share.
func BenchmarkAddLease(b *testing.B) {
	s := benchStore(b)
	if err := uploadOf(crashStore{Store: s}, index(0), 100_000, 0); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := s.AddLease(index(0), lease(0)); err != nil {
			b.Fatal(err)
		}
	}
}

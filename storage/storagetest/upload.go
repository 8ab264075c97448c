package storagetest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"

	"sharefs/storage"
)

var uploadTests = map[string]func(b *bed){
	"AShareIsThereWhenItsUploadIsClosed":       shareIsThereWhenClosed,
	"ChunksComeInAnyOrderAndMoreThanOnce":      chunksInAnyOrder,
	"OtherBytesThanBeforeAreAConflict":         otherBytesConflict,
	"AnUploadIsAllocatedOnce":                  allocatedOnce,
	"AnAllocationWithASecretCanBeRepeated":     allocationRepeated,
	"AnAbortedUploadIsGone":                    abortedIsGone,
	"AnUploadDoesNotOutliveItsStore":           uploadGoneAtOpen,
	"WhatIsThereIsNotAllocatedAndGetsTheLease": haveAndLease,
	"AShareIsReadInParts":                      readInParts,
	"IndexesOfOnePrefixAreOnTheirOwn":          onePrefix,
	"ManyClientsUploadAtOnce":                  manyUpload,
	"AnEmptyShareIsAShare":                     emptyShare,
}

func shareIsThereWhenClosed(b *bed) {
	i, data := Index(1), body(1, 300_000)
	u := b.allocate(i, len(data), 4).Uploads[4]
	_, err := u.Write(0, data[:200_000])
	b.check(err)
	if err := u.Close(); !errors.Is(err, storage.ErrIncomplete) {
		b.Errorf("closing an upload that is not complete: %v", err)
	}
	b.shares(i)
	b.treeIs(path.Join("shares/incoming", i.Prefix(), i.String(), "4"))
	if _, err := b.store.OpenShare(i, 4); !errors.Is(err, fs.ErrNotExist) {
		b.Errorf("opening a share that is being uploaded: %v", err)
	}
	complete, err := u.Write(200_000, data[200_000:])
	if err != nil || !complete {
		b.Fatalf("the last write: complete is %v, %v", complete, err)
	}
	b.check(u.Close())
	b.shares(i, 4)
	b.holds(i, 4, data)
	b.leases(i, 4, 0)
	b.treeIs(incoming, rel(i, 4))
	if got, want := b.size(i, 4), immutableSize(int64(len(data)), 1); got != want {
		b.Errorf("the file has %d bytes, want %d", got, want)
	}
	for what, err := range map[string]error{"closing": u.Close(), "aborting": u.Abort(), "writing": second(u.Write(0, data[:1]))} {
		if !errors.Is(err, storage.ErrUploadEnded) {
			b.Errorf("%s after the end: %v", what, err)
		}
	}
	b.shares(i, 4)
}

// parts are ranges, each given by offset and length.
func parts(numbers ...int64) []storage.Range {
	var all []storage.Range
	for pair := range slices.Chunk(numbers, 2) {
		all = append(all, storage.Range{Offset: pair[0], Length: pair[1]})
	}
	return all
}

func second(_ bool, err error) error { return err }

func chunksInAnyOrder(b *bed) {
	i, data := Index(1), body(1, 1000)
	u := b.allocate(i, len(data), 0).Uploads[0]
	for _, c := range []struct {
		from, to int
		missing  []storage.Range
	}{
		{900, 1000, parts(0, 900)},
		{100, 200, parts(0, 100, 200, 700)},
		{100, 200, parts(0, 100, 200, 700)},
		{150, 300, parts(0, 100, 300, 600)},
		{0, 50, parts(50, 50, 300, 600)},
		{40, 500, parts(500, 400)},
		{0, 1000, nil},
	} {
		complete, err := u.Write(int64(c.from), data[c.from:c.to])
		b.check(err)
		if got := u.Missing(); !slices.Equal(got, c.missing) || complete != (c.missing == nil) {
			b.Errorf("after %d to %d complete is %v and %v is missing, want %v", c.from, c.to, complete, got, c.missing)
		}
	}
	b.check(u.Close())
	b.holds(i, 0, data)
}

func otherBytesConflict(b *bed) {
	i, data := Index(1), body(1, 1000)
	u := b.allocate(i, len(data), 0).Uploads[0]
	_, err := u.Write(100, data[100:200])
	b.check(err)
	if _, err := u.Write(50, bytes.Repeat([]byte{7}, 100)); !errors.Is(err, storage.ErrConflict) {
		b.Errorf("other bytes: %v", err)
	}
	if want := parts(0, 100, 200, 800); !slices.Equal(u.Missing(), want) {
		b.Errorf("after a conflict %v is missing, want %v", u.Missing(), want)
	}
	for _, at := range []int64{-1, 901, 1001, 1 << 62} {
		if _, err := u.Write(at, data[:100]); !errors.Is(err, storage.ErrTooBig) {
			b.Errorf("100 bytes at %d of 1000: %v", at, err)
		}
	}
	_, err = u.Write(0, data)
	b.check(err)
	b.check(u.Close())
	b.holds(i, 0, data)
}

func allocatedOnce(b *bed) {
	i := Index(1)
	first := b.allocate(i, 100, 0, 1)
	if len(first.Uploads) != 2 || len(first.Have) != 0 {
		b.Fatalf("allocated %v, have %v", first.Uploads, first.Have)
	}
	again := b.allocate(i, 100, 0, 1, 2)
	if len(again.Uploads) != 1 || again.Uploads[2] == nil {
		b.Errorf("allocated %v while 0 and 1 are uploaded", again.Uploads)
	}
	if _, err := b.store.Upload(i, 3); !errors.Is(err, fs.ErrNotExist) {
		b.Errorf("an upload that nobody asked for: %v", err)
	}
	if u, err := b.store.Upload(i, 1); err != nil || u != first.Uploads[1] {
		b.Errorf("the upload of share 1 is %v, %v", u, err)
	}
}

func allocationRepeated(b *bed) {
	i := Index(1)
	a := storage.Allocation{Shares: []int{0, 1}, Size: 100, Lease: Lease(0), Secret: []byte("mine")}
	first, err := b.store.Allocate(i, a)
	b.check(err)
	again, err := b.store.Allocate(i, a)
	b.check(err)
	if again.Uploads[0] != first.Uploads[0] || again.Uploads[1] != first.Uploads[1] || len(again.Uploads) != 2 {
		b.Errorf("again: %v, first: %v", again.Uploads, first.Uploads)
	}
	a.Secret = []byte("others")
	other, err := b.store.Allocate(i, a)
	b.check(err)
	if len(other.Uploads) != 0 {
		b.Errorf("another client got %v", other.Uploads)
	}
	if u := first.Uploads[0]; !u.Authorized([]byte("mine")) || u.Authorized([]byte("others")) || u.Authorized(nil) {
		b.Error("not the allocation's secret alone is authorized")
	}
}

func abortedIsGone(b *bed) {
	i := Index(1)
	got := b.allocate(i, 100, 0, 1)
	b.check(got.Uploads[0].Abort())
	b.treeIs(path.Join("shares/incoming", i.Prefix(), i.String(), "1"))
	b.check(got.Uploads[1].Abort())
	b.treeIs(incoming)
	b.put(i, 0, body(1, 100))
	b.shares(i, 0)
}

func uploadGoneAtOpen(b *bed) {
	i := Index(1)
	_, err := b.allocate(i, 100, 0).Uploads[0].Write(0, body(1, 100))
	b.check(err)
	b.put(i, 1, body(1, 100))
	b.open()
	b.treeIs(incoming, rel(i, 1))
	b.shares(i, 1)
}

func haveAndLease(b *bed) {
	i := Index(1)
	b.put(i, 3, body(1, 100))
	got, err := b.store.Allocate(i, storage.Allocation{Shares: []int{3}, Size: 100, Lease: Lease(1)})
	b.check(err)
	if !slices.Equal(got.Have, []int{3}) || len(got.Uploads) != 0 {
		b.Errorf("have %v, allocated %v", got.Have, got.Uploads)
	}
	b.leases(i, 3, 0, 0)
	_, err = b.store.Allocate(i, storage.Allocation{Shares: []int{3}, Size: 100, Lease: Lease(2), SkipLease: true})
	b.check(err)
	b.leases(i, 3, 0, 0)
}

func readInParts(b *bed) {
	i, data := Index(1), body(1, 1000)
	b.put(i, 0, data)
	h, err := b.store.OpenShare(i, 0)
	b.check(err)
	for _, c := range []struct {
		at, length, want int64
		err              error
	}{{0, 10, 10, nil}, {990, 10, 10, nil}, {990, 20, 10, io.EOF}, {1000, 1, 0, io.EOF}, {1 << 62, 1, 0, io.EOF}} {
		p := make([]byte, c.length)
		n, err := h.ReadAt(p, c.at)
		if int64(n) != c.want || err != c.err || n > 0 && !bytes.Equal(p[:n], data[c.at:][:n]) {
			b.Errorf("reading %d bytes at %d: %d, %v", c.length, c.at, n, err)
		}
	}
	b.check(h.Close())
}

func manyUpload(b *bed) {
	const clients = 8
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			u, err := b.store.Allocate(Index(n), storage.Allocation{Shares: []int{n}, Size: 50_000, Lease: Lease(n)})
			if err != nil || u.Uploads[n] == nil {
				b.Errorf("client %d: %v, %v", n, u, err)
				return
			}
			_, err = u.Uploads[n].Write(0, body(uint8(n), 50_000))
			if err := errors.Join(err, u.Uploads[n].Close()); err != nil {
				b.Errorf("client %d: %v", n, err)
			}
		})
	}
	all.Wait()
	for n := range clients {
		b.holds(Index(n), n, body(uint8(n), 50_000))
	}
	if got := len(b.tree("shares")); got != clients+1 {
		b.Errorf("%d files and empty directories, want %d shares and incoming", got, clients)
	}
}

func emptyShare(b *bed) {
	i := Index(1)
	b.check(b.allocate(i, 0, 0).Uploads[0].Close())
	b.holds(i, 0, nil)
	b.leases(i, 0, 0)
}

// onePrefix has uploads and slots that come and go, below the same directories.
func onePrefix(b *bed) {
	const clients, rounds = 4, 20
	var all sync.WaitGroup
	for n := range clients {
		i := Index(0)
		i[15] = byte(n)
		all.Go(func() {
			for range rounds {
				if err := comeAndGo(b.store, i); err != nil {
					b.Errorf("client %d: %v", n, err)
					return
				}
			}
		})
	}
	all.Wait()
	b.treeIs(incoming)
}

// comeAndGo aborts an upload, and makes a slot and removes it.
func comeAndGo(s *storage.Store, i storage.Index) error {
	got, err := s.Allocate(i, storage.Allocation{Shares: []int{0}, Size: 100, Lease: Lease(0)})
	if err != nil {
		return err
	}
	if err := got.Uploads[0].Abort(); err != nil {
		return err
	}
	for _, u := range []storage.ShareUpdate{{}, {NewLength: new(int64)}} {
		_, err := s.ReadTestWrite(i, storage.SlotUpdate{Secrets: Slot(0), Shares: map[int]storage.ShareUpdate{0: u}})
		if err != nil {
			return err
		}
	}
	return nil
}

package test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sharefs/storage"
	"sharefs/storage/storagetest"
	"sharefs/test/harness"
	"sharefs/test/servers"
)

// TestSoakTheShareStoreKeepsItsPromisesOnAMount runs the suite of package storage on mounts.
func TestSoakTheShareStoreKeepsItsPromisesOnAMount(t *testing.T) {
	t.Parallel()
	for _, kind := range harness.KindsOr(harness.File, harness.MinIO) {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			m := harness.NewMount(t, harness.NewStore(t, kind), tahoe...)
			n := 0
			storagetest.Run(t, func(*testing.T) storagetest.Place {
				n++
				return storagetest.Place{FS: storage.OS(), Dir: m.Path(fmt.Sprint("store", n))}
			})
		})
	}
}

// shareNode is a share store, and what a test does with it.
type shareNode struct {
	*node
	*storage.Store
}

// leaseTime is when share stores of tests are used.
var leaseTime = time.Unix(1_800_000_000, 0)

func openShares(t *testing.T, dir string, now *time.Time) *storage.Store {
	t.Helper()
	s, err := storage.Open(dir, storage.Options{Now: func() time.Time { return *now }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (n shareNode) upload(index storage.Index, data []byte) {
	n.t.Helper()
	got, err := n.Allocate(index, storage.Allocation{Shares: []int{0}, Size: int64(len(data)), Lease: storagetest.Lease(0)})
	n.check(err)
	for at := 0; at < len(data); at += storeStep {
		_, err := got.Uploads[0].Write(int64(at), data[at:min(at+storeStep, len(data))])
		n.check(err)
	}
	n.check(got.Uploads[0].Close())
}

func (n shareNode) update(index storage.Index, at int64, data []byte) {
	n.t.Helper()
	got, err := n.ReadTestWrite(index, storage.SlotUpdate{
		Secrets: storagetest.Slot(0),
		Shares:  map[int]storage.ShareUpdate{0: {Writes: []storage.Write{{Offset: at, Data: data}}}},
	})
	n.check(err)
	if !got.Written {
		n.t.Fatal("a slot is not updated")
	}
}

func (n shareNode) read(index storage.Index, want []byte) {
	n.t.Helper()
	h, err := n.OpenShare(index, 0)
	n.check(err)
	got := make([]byte, len(want))
	_, err = h.ReadAt(got, 0)
	n.check(err)
	if h.Size() != int64(len(want)) || !bytes.Equal(got, want) {
		n.t.Errorf("a share of %v has %d bytes, want %d, or others", index, h.Size(), len(want))
	}
	n.check(h.Close())
}

// crawl looks at the leases of all shares.
func (n shareNode) crawl(want int) {
	n.t.Helper()
	seen := 0
	for _, prefix := range storage.Prefixes() {
		buckets, err := n.Buckets(prefix)
		n.check(err)
		for _, b := range buckets {
			index, ok := storage.BucketIndex(prefix, b)
			if !ok {
				n.t.Errorf("%s is no storage index", b)
			}
			info, err := n.Inspect(index, 0)
			n.check(err)
			if len(info.Leases) == 0 {
				n.t.Errorf("share 0 of %v has no lease", index)
			}
			seen++
		}
	}
	if seen != want {
		n.t.Errorf("%d shares are seen, want %d", seen, want)
	}
}

// shareFloors are what a share store does, in order. The clock goes on where a lease is to be renewed.
func (n shareNode) shareFloors(now *time.Time) []floor {
	const slotSize = 10_000
	share, slot := storagetest.Index(0), storagetest.Index(1)
	data := n.bytes(shareSize - headerSize - leaseSize)
	return []floor{
		{
			name: "a slot", do: func(*node) { n.update(slot, 0, n.bytes(slotSize)) },
			want: needs{servers.Put: exactly(1)}, sent: slotSize + 1000,
		},
		{
			name: "an immutable share", do: func(*node) { n.upload(share, data) },
			want: needs{servers.Put: exactly(1)}, sent: shareSize,
		},
		{name: "reading it", do: func(*node) { n.read(share, data) }},
		{
			name: "renewing its lease", prepare: func(*node) { *now = now.Add(time.Hour) },
			do:   func(*node) { n.check(n.RenewLease(share, storagetest.Lease(0).Renew)) },
			want: needs{servers.Put: exactly(1)}, sent: shareSize,
		},
		{
			name: "a new lease", do: func(*node) { n.check(n.AddLease(share, storagetest.Lease(1))) },
			want: needs{servers.Put: exactly(1)}, sent: shareSize + leaseSize,
		},
		{
			name: "ten updates of a slot",
			do: func(*node) {
				for i := range 10 {
					n.update(slot, int64(i)*1000, n.bytes(1000))
				}
			},
			want: needs{servers.Put: span{1, 2}}, sent: 2 * (slotSize + 1000),
		},
		{
			name: "an upload that is aborted",
			do: func(*node) {
				got, err := n.Allocate(storagetest.Index(2), storage.Allocation{Shares: []int{0}, Size: shareSize, Lease: storagetest.Lease(0)})
				n.check(err)
				n.check(got.Uploads[0].Abort())
			},
		},
		{name: "a crawl of what is known", do: func(*node) { n.crawl(2) }},
		{
			// Lists of the top, and two of each level below, until they are seen to be crawled.
			name: "a crawl on a new machine", prepare: func(*node) { n.forget() }, do: func(*node) { n.crawl(2) },
			want: needs{servers.List: upTo(6), servers.Get: upTo(4)}, fetched: 4 * endSize,
		},
	}
}

// TestTheShareStoreCostsItsFloors counts at the server what the share store does through a mount.
func TestTheShareStoreCostsItsFloors(t *testing.T) {
	t.Parallel()
	s, proxy := harness.NewStore(t, harness.InsteadOf(harness.MinIO)).Behind(t)
	m := harness.NewMount(t, s, "--profile", "tahoe", "--writeback", "1m") // so that only flush stores
	now := leaseTime
	n := shareNode{&node{t: t, m: m, proxy: proxy}, openShares(t, m.Dir, &now)}
	n.m.Flush()
	for _, f := range n.shareFloors(&now) {
		t.Log(n.measure(f))
	}
}

// TestABucketOfPlainContainersIsServed lays out what a storage node has in a bucket, as LeastAuthority's first S3 backend did: a
// container of the first version for each object. It is mounted and served, and what comes of it is as on a disk.
func TestABucketOfPlainContainersIsServed(t *testing.T) {
	t.Parallel()
	store := harness.NewStore(t, harness.InsteadOf(harness.MinIO))
	disk := t.TempDir()
	golden := "../storage/testdata/tahoe-1.20/containers"
	for n, name := range []string{"immutable-v1.1", "mutable-v1.3"} {
		contents, err := os.ReadFile(filepath.Join(golden, name))
		if err != nil {
			t.Fatal(err)
		}
		i := storagetest.Index(n)
		key := fmt.Sprintf("shares/%s/%v/0", i.Prefix(), i)
		store.Put(t, key, contents, nil)
		path := filepath.Join(disk, filepath.FromSlash(key))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, contents, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m := harness.NewMount(t, store, tahoe...)
	for _, dir := range []string{m.Dir, disk} {
		n := shareNode{&node{t: t, m: m}, openShares(t, dir, &leaseTime)}
		for i := range 2 {
			if got, err := n.Shares(storagetest.Index(i)); err != nil || len(got) != 1 || got[0] != 0 {
				t.Fatalf("shares of %v in %s: %v, %v", storagetest.Index(i), dir, got, err)
			}
			n.check(n.AddLease(storagetest.Index(i), storagetest.Lease(100)))
			n.check(n.RenewLease(storagetest.Index(i), storagetest.Lease(1).Renew))
		}
		n.update(storagetest.Index(1), 60, []byte("changed through a mount"))
		n.upload(storagetest.Index(3), bytes.Repeat([]byte("new"), 1000))
	}
	m.Flush()
	inStore := store.Contents(t)
	for _, i := range []int{0, 1, 3} {
		key := fmt.Sprintf("shares/%s/%v/0", storagetest.Index(i).Prefix(), storagetest.Index(i))
		want, err := os.ReadFile(filepath.Join(disk, filepath.FromSlash(key)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(inStore[key], want) {
			t.Errorf("the object %s has %d bytes, want %d as on a disk, or others", key, len(inStore[key]), len(want))
		}
	}
}

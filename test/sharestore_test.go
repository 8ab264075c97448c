package test

import (
	"bytes"
	"crypto/sha256"
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

// TestTheShareStoreKeepsItsPromisesOnAMount runs the suite of package storage on mounts.
func TestTheShareStoreKeepsItsPromisesOnAMount(t *testing.T) {
	t.Parallel()
	for _, kind := range []harness.Kind{harness.File, harness.MinIO} {
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

func shareSecret(what string, n int) storage.Secret {
	return sha256.Sum256(fmt.Appendf(nil, "%s %d", what, n))
}

func shareIndex(n int) storage.Index {
	sum := shareSecret("index", n)
	return storage.Index(sum[:16])
}

func shareLease(n int) storage.LeaseSecrets {
	return storage.LeaseSecrets{Renew: shareSecret("renew", n), Cancel: shareSecret("cancel", n)}
}

func (n shareNode) upload(index storage.Index, data []byte) {
	n.t.Helper()
	got, err := n.Allocate(index, storage.Allocation{Shares: []int{0}, Size: int64(len(data)), Lease: shareLease(0)})
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
		Secrets: storage.SlotSecrets{WriteEnabler: shareSecret("enabler", 0), Lease: shareLease(0)},
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

// TestTheShareStoreCostsItsFloors counts at the server what the share store does through a mount.
func TestTheShareStoreCostsItsFloors(t *testing.T) {
	t.Parallel()
	s, proxy := harness.NewStore(t, harness.MinIO).Behind(t)
	m := harness.NewMount(t, s, "--profile", "tahoe", "--writeback", "1m") // so that only flush stores
	now := leaseTime
	n := shareNode{&node{t: t, m: m, proxy: proxy}, openShares(t, m.Dir, &now)}
	share, slot := shareIndex(0), shareIndex(1)
	data := n.bytes(shareSize - headerSize - leaseSize)
	const slotSize = 10_000
	n.update(slot, 0, n.bytes(slotSize))
	n.m.Flush()
	for _, f := range []floor{
		{
			name: "an immutable share", do: func(*node) { n.upload(share, data) },
			want: needs{servers.Put: exactly(1)}, sent: shareSize,
		},
		{name: "reading it", do: func(*node) { n.read(share, data) }},
		{
			name: "renewing its lease", prepare: func(*node) { now = now.Add(time.Hour) },
			do:   func(*node) { n.check(n.RenewLease(share, shareLease(0).Renew)) },
			want: needs{servers.Put: exactly(1)}, sent: shareSize,
		},
		{
			name: "a new lease", do: func(*node) { n.check(n.AddLease(share, shareLease(1))) },
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
				got, err := n.Allocate(shareIndex(2), storage.Allocation{Shares: []int{0}, Size: shareSize, Lease: shareLease(0)})
				n.check(err)
				n.check(got.Uploads[0].Abort())
			},
		},
	} {
		t.Log(n.measure(f))
	}
}

// TestABucketOfPlainContainersIsServed lays out what a storage node has in a bucket, as LeastAuthority's first S3 backend did: a
// container of the first version for each object. It is mounted and served, and what comes of it is as on a disk.
func TestABucketOfPlainContainersIsServed(t *testing.T) {
	t.Parallel()
	store := harness.NewStore(t, harness.MinIO)
	disk := t.TempDir()
	golden := "../storage/testdata/tahoe-1.20/containers"
	for n, name := range []string{"immutable-v1.1", "mutable-v1.3"} {
		contents, err := os.ReadFile(filepath.Join(golden, name))
		if err != nil {
			t.Fatal(err)
		}
		i := shareIndex(n)
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
			if got, err := n.Shares(shareIndex(i)); err != nil || len(got) != 1 || got[0] != 0 {
				t.Fatalf("shares of %v in %s: %v, %v", shareIndex(i), dir, got, err)
			}
			n.check(n.AddLease(shareIndex(i), shareLease(100)))
			n.check(n.RenewLease(shareIndex(i), shareLease(1).Renew))
		}
		n.update(shareIndex(1), 60, []byte("changed through a mount"))
		n.upload(shareIndex(3), bytes.Repeat([]byte("new"), 1000))
	}
	m.Flush()
	inStore := store.Contents(t)
	for _, i := range []int{0, 1, 3} {
		key := fmt.Sprintf("shares/%s/%v/0", shareIndex(i).Prefix(), shareIndex(i))
		want, err := os.ReadFile(filepath.Join(disk, filepath.FromSlash(key)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(inStore[key], want) {
			t.Errorf("the object %s has %d bytes, want %d as on a disk, or others", key, len(inStore[key]), len(want))
		}
	}
}

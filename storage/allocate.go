package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sharefs/storage/container"
)

// LeaseSecrets are what a client renews and cancels its lease with.
type LeaseSecrets struct{ Renew, Cancel Secret }

// Owners of leases, as Tahoe-LAFS numbers them.
const (
	ownerOfUpload = 0 // the lease that an upload brings
	ownerOfLease  = 1 // one that was asked for
)

func (s *Store) newLease(owner uint32, secrets LeaseSecrets) container.NewLease {
	return container.NewLease{
		Owner: owner, Renew: secrets.Renew, Cancel: secrets.Cancel, Node: s.o.NodeID,
		Expires: s.now().Add(container.LeaseDuration),
	}
}

// Allocation asks for uploads of immutable shares.
type Allocation struct {
	Shares []int
	Size   int64 // of the data of each
	Lease  LeaseSecrets
	// Secret is what Upload.Authorized compares with. An allocation with the secret and the size of an upload in progress gets
	// that upload: so an allocation may be repeated. Empty: uploads belong to who allocated them.
	Secret []byte
	// SkipLease leaves the leases of the shares that are there as they are.
	SkipLease bool
}

// Allocated is the answer to an Allocation. A share in neither is being uploaded by somebody else, or there is no space.
type Allocated struct {
	Have    []int           // all shares of the storage index that are there, asked for or not
	Uploads map[int]*Upload // by share number
}

// Allocate starts uploads, as many as there is space for, and puts the lease on the shares that are already there.
func (s *Store) Allocate(index Index, a Allocation) (Allocated, error) {
	defer s.stats.time("allocate", s.now)()
	if a.Size < 0 {
		return Allocated{}, fmt.Errorf("allocating shares of %d bytes", a.Size)
	}
	defer s.locks.lock(index)()
	have, err := s.numbers(index)
	if err != nil {
		return Allocated{}, err
	}
	lease := s.newLease(ownerOfUpload, a.Lease)
	if !a.SkipLease {
		if err := s.addLeases(index, have, lease); err != nil {
			return Allocated{}, err
		}
	}
	got := Allocated{Have: have, Uploads: map[int]*Upload{}}
	free := s.AvailableSpace()
	for _, n := range a.Shares {
		if slices.Contains(have, n) {
			continue
		}
		u, err := s.allocate(shareName{index, n}, a, lease, free)
		if err != nil {
			return Allocated{}, s.giveUp(got.Uploads, err)
		}
		if u != nil {
			got.Uploads[n] = u
		}
	}
	return got, nil
}

// allocate starts one upload, or returns the one that this client has. nil: another client has it, or there is no space.
func (s *Store) allocate(name shareName, a Allocation, lease container.NewLease, free int64) (*Upload, error) {
	if u := s.upload(name); u != nil {
		if len(a.Secret) > 0 && u.Authorized(a.Secret) && u.size == a.Size {
			return u, nil
		}
		return nil, nil
	}
	if !s.reserve(a.Size, free) {
		return nil, nil
	}
	u := &Upload{store: s, name: name, size: a.Size, secret: slices.Clone(a.Secret), lease: lease}
	if err := u.create(); err != nil {
		s.release(u)
		if errors.Is(err, fs.ErrExist) {
			return nil, nil // of another process
		}
		return nil, err
	}
	u.timer = time.AfterFunc(UploadTimeout, u.expire)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uploads[name] = u
	return u, nil
}

// giveUp removes uploads that were just started.
func (s *Store) giveUp(uploads map[int]*Upload, err error) error {
	errs := []error{err}
	for _, u := range uploads {
		errs = append(errs, u.end(aborted))
	}
	return errors.Join(errs...)
}

// reserve takes space for an upload, if there is enough beside the others. release gives it back.
func (s *Store) reserve(size, free int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if size > free-s.allocated {
		return false
	}
	s.allocated += size
	return true
}

// release forgets an upload.
func (s *Store) release(u *Upload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.uploads, u.name)
	s.allocated -= u.size
}

func (s *Store) upload(name shareName) *Upload {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.uploads[name]
}

// Upload returns an upload in progress. fs.ErrNotExist: there is none.
func (s *Store) Upload(index Index, number int) (*Upload, error) {
	name := shareName{index, number}
	if u := s.upload(name); u != nil {
		return u, nil
	}
	return nil, fmt.Errorf("upload of share %v: %w", name, fs.ErrNotExist)
}

// create makes the file, with all but data and lease in it.
func (u *Upload) create() error {
	dir := filepath.Dir(u.incoming())
	if err := mkdirAll(u.store.fs, dir); err != nil {
		return err
	}
	f, err := u.store.fs.OpenFile(u.incoming(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	u.file, u.share = f, container.NewImmutable(u.incoming(), f, u.size)
	if _, err := f.WriteAt(container.ImmutableHeader(u.size), 0); err != nil {
		return errors.Join(err, u.discard())
	}
	return nil
}

// Package storage is the share store of a Tahoe-LAFS storage node, over a directory: the files of Tahoe-LAFS 1.20, byte for
// byte, and its rules. It knows nothing of object stores, and nothing of networks; storage/httpapi speaks the protocol.
//
// A Store has its shares at shares/PP/STORAGEINDEX/SHNUM, where PP are the first two letters of the storage index. What is
// being uploaded is below shares/incoming/ until it is whole, and is gone after a crash. Operations on different storage
// indexes run at once, those on one in order. One process at a time may use the directory: a Store removes what it finds in
// incoming, as Tahoe-LAFS does.
//
// What is guaranteed: an upload that was cut off is never a share. An update of a slot whose file has up to 8 MiB is the old
// or the new one, whatever happens; larger files are changed in place, as all are by Tahoe-LAFS. How much survives a loss of
// power is up to Options.Durability. A share of an unknown version or a damaged one is a *container.Error, which names the
// file; it is never changed.
package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"sharefs/storage/container"
)

// The terms of share containers that this package's methods have.
type (
	Secret = container.Secret
	NodeID = container.NodeID
	Lease  = container.Lease
	Kind   = container.Kind
)

// Durability is what the store waits for.
type Durability uint8

// The durabilities.
const (
	// Ordered syncs the contents of a file before it gets its name. After a loss of power each share is whole; the
	// last ones may be missing, or slots be older.
	Ordered Durability = iota
	// Durable also syncs directories, and files changed in place: what an operation has confirmed survives. On a mount it is
	// in the object store.
	Durable
	// Relaxed never waits, as Tahoe-LAFS. A loss of power may leave torn shares, unless the file system prevents it.
	Relaxed
)

// UploadTimeout is how long an upload lives without a write.
const UploadTimeout = 30 * time.Minute

// Options of a Store. The zero value works.
type Options struct {
	// FS is where the directory is; nil: the operating system's file system.
	FS FS
	// NodeID goes into mutable containers.
	NodeID NodeID
	// ReservedSpace is how many bytes are to stay free on the disk. Only immutable shares and leases mind it.
	ReservedSpace int64
	// ReadOnly takes no immutable shares. Slots may be changed, as in Tahoe-LAFS.
	ReadOnly   bool
	Durability Durability
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Log is told what an operator should know; nil: slog.Default().
	Log *slog.Logger
}

// Errors of a Store, beside those of package container and fs.ErrNotExist for a share or an upload that is not there.
var (
	ErrNoSpace      = container.ErrNoSpace // the disk has not enough room beside what is reserved
	ErrNoLease      = container.ErrNoLease // there is no lease with this secret
	ErrTooBig       = container.ErrTooBig  // a write beyond the end of an upload, or the largest slot
	ErrConflict     = errors.New("other bytes were written here before")
	ErrIncomplete   = errors.New("the upload is not complete")
	ErrUploadEnded  = errors.New("the upload has ended")
	ErrWriteEnabler = errors.New("wrong write enabler")
)

// Store is a share store. Its methods may be called at once.
type Store struct {
	dir   string
	o     Options
	fs    FS
	now   func() time.Time
	log   *slog.Logger
	locks locks
	stats stats

	mu        sync.Mutex
	uploads   map[shareName]*Upload // those in progress; guarded by mu
	allocated int64                 // bytes of data that they will have; guarded by mu
}

// shareName names a share of the store.
type shareName struct {
	index  Index
	number int
}

func (n shareName) String() string { return fmt.Sprintf("%s/%d", n.index, n.number) }

// Open opens the store in a directory, which is made when it is missing, and removes uploads that were cut off.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{dir: dir, o: o, fs: o.FS, now: o.Now, log: o.Log, uploads: map[shareName]*Upload{}}
	if s.fs == nil {
		s.fs = OS()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.locks.init()
	if o.ReadOnly && s.exists(s.sharesDir()) {
		return s, nil // the directory may be on a disk that cannot be written
	}
	if err := removeAll(s.fs, s.incomingDir()); err != nil {
		return nil, fmt.Errorf("removing uploads that were cut off: %w", err)
	}
	for _, d := range []string{s.incomingDir(), s.advisoriesDir()} {
		if err := mkdirAll(s.fs, d); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Close aborts the uploads in progress. The store is not to be used after it.
func (s *Store) Close() error {
	s.mu.Lock()
	uploads := make([]*Upload, 0, len(s.uploads))
	for _, u := range s.uploads {
		uploads = append(uploads, u)
	}
	s.mu.Unlock()
	var errs []error
	for _, u := range uploads {
		if err := u.Abort(); err != nil && !errors.Is(err, ErrUploadEnded) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Dir returns the store's directory.
func (s *Store) Dir() string { return s.dir }

// FS returns where the directory is.
func (s *Store) FS() FS { return s.fs }

func (s *Store) sharesDir() string     { return filepath.Join(s.dir, "shares") }
func (s *Store) incomingDir() string   { return filepath.Join(s.sharesDir(), "incoming") }
func (s *Store) advisoriesDir() string { return filepath.Join(s.dir, "corruption-advisories") }
func (s *Store) bucketDir(i Index) string {
	return filepath.Join(s.sharesDir(), i.Prefix(), i.String())
}

func (s *Store) sharePath(n shareName) string {
	return filepath.Join(s.bucketDir(n.index), fmt.Sprint(n.number))
}

func (s *Store) exists(path string) bool {
	_, err := s.fs.Stat(path)
	return err == nil
}

// sync syncs a file, if the store's durability is at least of a degree.
func (s *Store) sync(f File, least Durability) error {
	if s.o.Durability == Durable || s.o.Durability == least {
		return f.Sync()
	}
	return nil
}

// syncDirs makes the names in directories durable, if the store is to be.
func (s *Store) syncDirs(dirs ...string) error {
	if s.o.Durability != Durable {
		return nil
	}
	for _, d := range dirs {
		if err := s.fs.SyncDir(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

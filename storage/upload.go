package storage

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"sharefs/storage/container"
)

// Upload is an immutable share that is being written. Its file is open until the end. An upload that is not written to for
// UploadTimeout is aborted. Its methods may be called at once.
type Upload struct {
	store  *Store
	name   shareName
	size   int64
	secret []byte
	lease  container.NewLease

	mu      sync.Mutex
	state   uploadState              // guarded by mu
	file    File                     // while it is written; guarded by mu
	share   *container.ImmutableFile // in the file
	written ranges                   // guarded by mu
	timer   *time.Timer
}

// uploadState is where an upload stands. It ends once.
type uploadState uint8

const (
	writing uploadState = iota
	closed
	aborted
)

// Size returns how many bytes of data the share will have.
func (u *Upload) Size() int64 { return u.size }

// Authorized reports, in constant time, whether a secret is that of the upload's allocation.
func (u *Upload) Authorized(secret []byte) bool {
	return subtle.ConstantTimeCompare(u.secret, secret) == 1
}

func (u *Upload) incoming() string {
	return filepath.Join(u.store.incomingDir(), u.name.index.Prefix(), u.name.index.String(), fmt.Sprint(u.name.number))
}

// Write writes data and reports whether all of the share has been written. What was written before may be repeated, not
// changed: ErrConflict, and nothing is written. ErrTooBig: it goes beyond the end.
func (u *Upload) Write(offset int64, data []byte) (complete bool, err error) {
	defer u.store.stats.time("write", u.store.now)()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.state != writing {
		return false, u.ended()
	}
	u.timer.Reset(UploadTimeout)
	part := Range{offset, int64(len(data))}
	for _, old := range u.written.within(part) {
		if err := u.compare(old, data[old.Offset-offset:][:old.Length]); err != nil {
			return false, fmt.Errorf("share %v: %w", u.name, err)
		}
	}
	if _, err := u.share.WriteAt(data, offset); err != nil {
		return false, err
	}
	u.written.add(part)
	return u.complete(), nil
}

// compare compares a part of the file.
func (u *Upload) compare(part Range, data []byte) error {
	b := make([]byte, part.Length)
	if _, err := u.share.ReadAt(b, part.Offset); err != nil {
		return err
	}
	if !bytes.Equal(b, data) {
		return fmt.Errorf("bytes %d to %d: %w", part.Offset, part.End(), ErrConflict)
	}
	return nil
}

func (u *Upload) complete() bool { return len(u.written.missing(u.size)) == 0 }

// Missing returns the parts that are not yet written.
func (u *Upload) Missing() []Range {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.written.missing(u.size)
}

// Close makes a complete upload a share. After an error that is not ErrIncomplete the upload is aborted.
func (u *Upload) Close() error {
	defer u.store.stats.time("close", u.store.now)()
	defer u.store.locks.lock(u.name.index)()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.state != writing {
		return u.ended()
	}
	if !u.complete() {
		return fmt.Errorf("share %v: %w: %d of %d bytes at least are missing", u.name, ErrIncomplete, u.written.missing(u.size)[0].Length, u.size)
	}
	if err := u.publish(); err != nil {
		return errors.Join(fmt.Errorf("share %v: %w", u.name, err), u.endLocked(aborted))
	}
	u.store.stats.added(container.ImmutableSize(u.size, 1))
	return u.endLocked(closed)
}

// publish gives the file its lease and its name.
func (u *Upload) publish() error {
	s := u.store
	if err := u.share.AddLease(u.lease); err != nil {
		return err
	}
	if err := s.sync(u.file, Ordered); err != nil {
		return err
	}
	if err := u.file.Close(); err != nil {
		u.file = nil
		return err
	}
	u.file = nil
	return s.install(u.incoming(), u.name)
}

// Abort removes the upload. ErrUploadEnded: it was closed or aborted before.
func (u *Upload) Abort() error {
	defer u.store.locks.lock(u.name.index)()
	return u.end(aborted)
}

func (u *Upload) expire() {
	u.store.log.Warn("an upload is aborted, because it was not written to", "share", u.name.String(), "for", UploadTimeout)
	if err := u.Abort(); err != nil && !errors.Is(err, ErrUploadEnded) {
		u.store.log.Error("an upload cannot be removed", "share", u.name.String(), "err", err)
	}
}

// end is for who has the lock of the index.
func (u *Upload) end(state uploadState) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.state != writing {
		return u.ended()
	}
	return u.endLocked(state)
}

// endLocked is for who has the lock of the index and mu.
func (u *Upload) endLocked(state uploadState) error {
	u.state = state
	u.timer.Stop()
	defer u.store.release(u)
	if state == closed {
		u.removeDirs()
		return nil
	}
	u.store.stats.count("abort")
	return u.discard()
}

func (u *Upload) ended() error { return fmt.Errorf("share %v: %w", u.name, ErrUploadEnded) }

// discard removes the file.
func (u *Upload) discard() error {
	var errs []error
	if u.file != nil {
		errs = append(errs, u.file.Close())
	}
	if err := u.store.fs.Remove(u.incoming()); !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	u.removeDirs()
	return errors.Join(errs...)
}

// removeDirs removes the directories that the upload was in, unless others are there too.
func (u *Upload) removeDirs() {
	bucket := filepath.Dir(u.incoming())
	if u.store.fs.Remove(bucket) == nil {
		_ = u.store.fs.Remove(filepath.Dir(bucket)) // not empty, mostly
	}
}

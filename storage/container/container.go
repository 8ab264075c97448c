// Package container is the files that Tahoe-LAFS 1.20's storage server keeps shares in, byte for byte: immutable and mutable
// containers, each in the versions 1 and 2, and the leases in them. It knows files, not directories: no locks, no clock, no
// decision when a share may go.
//
// Version 1 keeps the secrets of leases as they are, version 2 their BLAKE2b hashes. New containers are of version 2, and one
// that is changed keeps its version. The formats are those of Tahoe-LAFS's storage/immutable.py, storage/mutable.py and
// docs/specifications/lease.rst; all numbers are big-endian.
package container

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// Kind is what a container is for.
type Kind uint8

// The kinds.
const (
	Immutable Kind = iota + 1 // written once
	Mutable                   // changed by whoever has its write enabler
)

// String returns the name that Tahoe-LAFS has for the kind.
func (k Kind) String() string {
	switch k {
	case Immutable:
		return "immutable"
	case Mutable:
		return "mutable"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// File is what a container is in.
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
}

// Container is what both kinds have. It is for one goroutine at a time, and does not see what others change in its file.
type Container interface {
	Kind() Kind
	// Version is 1 or 2.
	Version() int
	// Size is the number of bytes of share data.
	Size() int64
	// ReadAt reads share data. Beyond Size there is nothing: io.EOF.
	io.ReaderAt
	// Leases returns what holds the share, in the order of the file.
	Leases() ([]Lease, error)
	// AddOrRenewLease lets the lease with the renew secret of l end no sooner than l does, and adds l where none has it.
	// grow is how many bytes the file may grow by: ErrNoSpace if that is too little.
	AddOrRenewLease(l NewLease, grow int64) error
	// RenewLease lets the lease with the renew secret end no sooner than expires. ErrNoLease if there is none.
	RenewLease(renew Secret, expires time.Time) error
	// CancelLease removes the leases with the cancel secret that l has, and returns how many leases are left. Where none
	// is left the share has nothing to hold it, and the caller removes the file.
	CancelLease(l Lease) (left int, err error)
}

// Errors. ErrUnknown and ErrDamaged come in an *Error.
var (
	ErrUnknown = errors.New("no share container of a known version")
	ErrDamaged = errors.New("damaged share container")
	ErrNoLease = errors.New("no lease with this renew secret")
	ErrNoSpace = errors.New("no space left for shares")
	ErrTooBig  = errors.New("beyond the largest size of a share")
)

// Error says what is wrong with a container, and which.
type Error struct {
	Name   string // of the file
	Err    error  // ErrUnknown or ErrDamaged
	Detail string
}

// Error returns all of it in one line.
func (e *Error) Error() string { return fmt.Sprintf("%s: %v: %s", e.Name, e.Err, e.Detail) }

// Unwrap returns ErrUnknown or ErrDamaged.
func (e *Error) Unwrap() error { return e.Err }

// Open looks at a file of some size and returns the container that it is. The name is for errors.
func Open(name string, f File, size int64) (Container, error) {
	start := make([]byte, min(size, magicSize))
	if err := readFull(f, start, 0); err != nil {
		return nil, err
	}
	if mutableVersion(start) != 0 {
		return OpenMutable(name, f, size)
	}
	return OpenImmutable(name, f, size)
}

// damaged returns the error of a container that is not as it says.
func damaged(name, format string, args ...any) error {
	return &Error{Name: name, Err: ErrDamaged, Detail: fmt.Sprintf(format, args...)}
}

func unknown(name, format string, args ...any) error {
	return &Error{Name: name, Err: ErrUnknown, Detail: fmt.Sprintf(format, args...)}
}

// readFull reads what is there according to the file's size. A file that has become shorter is io.ErrUnexpectedEOF.
func readFull(f io.ReaderAt, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readData reads share data, of which there are size bytes from start on.
func readData(f io.ReaderAt, p []byte, off, start, size int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading share data at %d: a negative offset", off)
	}
	if off >= size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), size-off))
	if err := readFull(f, p[:n], start+off); err != nil {
		return 0, err
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

package container

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// An immutable container: a header of version, size of the data (at most what 32 bits hold; nobody reads it since Tahoe-LAFS
// 1.3) and number of leases, 4 bytes each; the data; the leases. Where the data end is told by the file's size alone.
const (
	immutableHeader  = 12
	immutableCountAt = 8
	immutableNewest  = 2
)

// ImmutableFile is an immutable container.
type ImmutableFile struct {
	name     string
	file     File
	version  int
	declared uint32 // size in the header
	size     int64  // of the data
	count    uint32 // of leases
}

var _ Container = (*ImmutableFile)(nil)

// ImmutableHeader returns the first bytes of a new container of the newest version that will have size bytes of data.
func ImmutableHeader(size int64) []byte {
	b := binary.BigEndian.AppendUint32(nil, immutableNewest)
	b = binary.BigEndian.AppendUint32(b, uint32(min(size, math.MaxUint32)))
	return binary.BigEndian.AppendUint32(b, 0)
}

// ImmutableSize is the size of a container with size bytes of data and some leases.
func ImmutableSize(size int64, leases int) int64 {
	return immutableHeader + size + int64(leases)*immutableLease
}

// NewImmutable is a container of the newest version that is being written: ImmutableHeader is to be its first bytes. It has
// no lease.
func NewImmutable(name string, f File, size int64) *ImmutableFile {
	return &ImmutableFile{name: name, file: f, version: immutableNewest, declared: uint32(min(size, math.MaxUint32)), size: size}
}

// OpenImmutable returns the container in a file of some size. The name is for errors.
func OpenImmutable(name string, f File, size int64) (*ImmutableFile, error) {
	head := make([]byte, immutableHeader)
	if size < immutableHeader {
		return nil, damaged(name, "%d bytes are too few for a header", size)
	}
	if err := readFull(f, head, 0); err != nil {
		return nil, err
	}
	version := binary.BigEndian.Uint32(head)
	if version < 1 || version > immutableNewest {
		return nil, unknown(name, "it starts with %x", head)
	}
	c := &ImmutableFile{name: name, file: f, version: int(version)}
	c.declared, c.count = binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint32(head[immutableCountAt:])
	if c.size = size - ImmutableSize(0, int(c.count)); c.addingLease(1) {
		c.size -= immutableLease // the record is there, and does not count
	} else if c.addingLease(-1) {
		c.count-- // it counts, and the record is not there
		c.size += immutableLease
	}
	if c.size < 0 {
		return nil, damaged(name, "%d bytes are too few for %d leases", size, c.count)
	}
	return c, nil
}

// addingLease reports that the file has records of leases more than it says: one was about to be added, and a loss of power came
// between. The size in the header is right then, unless it is too large for it.
func (c *ImmutableFile) addingLease(records int64) bool {
	return c.declared < math.MaxUint32 && c.size == int64(c.declared)+records*immutableLease && int64(c.count)+records >= 0
}

// Kind returns Immutable.
func (c *ImmutableFile) Kind() Kind { return Immutable }

// Version returns 1 or 2.
func (c *ImmutableFile) Version() int { return c.version }

// Size returns the number of bytes of data.
func (c *ImmutableFile) Size() int64 { return c.size }

// Check compares the size of the data with what the header says of it. Tahoe-LAFS does not: its servers read such a
// container, with bytes too many or too few.
func (c *ImmutableFile) Check() error {
	if want := uint32(min(c.size, math.MaxUint32)); c.declared != want {
		return damaged(c.name, "there are %d bytes of data before its %d leases, and its header says %d", c.size, c.count, c.declared)
	}
	return nil
}

// ReadAt reads share data.
func (c *ImmutableFile) ReadAt(p []byte, off int64) (int, error) {
	return readData(c.file, p, off, immutableHeader, c.size)
}

// WriteAt writes share data of a container that is not yet a share.
func (c *ImmutableFile) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > c.size || int64(len(p)) > c.size-off {
		return 0, fmt.Errorf("%s: %d bytes at %d, of %d: %w", c.name, len(p), off, c.size, ErrTooBig)
	}
	return c.file.WriteAt(p, immutableHeader+off)
}

// leaseAt is where a lease is in the file.
func (c *ImmutableFile) leaseAt(i uint32) int64 {
	return immutableHeader + c.size + int64(i)*immutableLease
}

// Leases returns the leases.
func (c *ImmutableFile) Leases() ([]Lease, error) {
	records := make([]byte, int(c.count)*immutableLease)
	if err := readFull(c.file, records, c.leaseAt(0)); err != nil {
		return nil, fmt.Errorf("%s: its leases: %w", c.name, err)
	}
	leases := make([]Lease, 0, c.count)
	for ; len(records) > 0; records = records[immutableLease:] {
		leases = append(leases, decodeImmutable(records, c.version))
	}
	return leases, nil
}

// AddLease adds a lease.
func (c *ImmutableFile) AddLease(l NewLease) error {
	if c.count == math.MaxUint32 {
		return fmt.Errorf("%s: another lease: %w", c.name, ErrTooBig)
	}
	if _, err := c.file.WriteAt(l.made(c.version).encodeImmutable(), c.leaseAt(c.count)); err != nil {
		return err
	}
	return c.setCount(c.count + 1)
}

func (c *ImmutableFile) setCount(n uint32) error {
	if _, err := c.file.WriteAt(binary.BigEndian.AppendUint32(nil, n), immutableCountAt); err != nil {
		return err
	}
	c.count = n
	return nil
}

// RenewLease renews the first lease with the secret.
func (c *ImmutableFile) RenewLease(renew Secret, expires time.Time) error {
	leases, err := c.Leases()
	if err != nil {
		return err
	}
	for i, l := range leases {
		if !l.RenewedBy(renew) {
			continue
		}
		if stamp(expires) > l.Expires.Unix() {
			l.Expires = expires
			_, err = c.file.WriteAt(l.encodeImmutable()[immutableEndsAt:], c.leaseAt(uint32(i))+immutableEndsAt)
		}
		return err
	}
	return fmt.Errorf("%s: %w", c.name, ErrNoLease)
}

// AddOrRenewLease renews the lease or adds it.
func (c *ImmutableFile) AddOrRenewLease(l NewLease, grow int64) error {
	err := c.RenewLease(l.Renew, l.Expires)
	if !errors.Is(err, ErrNoLease) {
		return err
	}
	if grow < immutableLease {
		return fmt.Errorf("%s: another lease: %w", c.name, ErrNoSpace)
	}
	return c.AddLease(l)
}

// CancelLease removes leases. Those that stay keep their order.
func (c *ImmutableFile) CancelLease(l Lease) (int, error) {
	leases, err := c.Leases()
	if err != nil {
		return 0, err
	}
	kept := make([]Lease, 0, len(leases))
	for _, other := range leases {
		if !other.cancel.Equal(l.cancel) {
			kept = append(kept, other)
		}
	}
	if len(kept) == len(leases) || len(kept) == 0 {
		return len(kept), nil
	}
	for i, k := range kept {
		if _, err := c.file.WriteAt(k.encodeImmutable(), c.leaseAt(uint32(i))); err != nil {
			return len(leases), err
		}
	}
	if err := c.setCount(uint32(len(kept))); err != nil {
		return len(leases), err
	}
	return len(kept), c.file.Truncate(c.leaseAt(c.count))
}

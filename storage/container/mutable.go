package container

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// A mutable container: the magic of its version; the node that took the write enabler; the write enabler; the size of the
// data; where the further leases are; four places for leases; room for data, of which the first bytes are data; the number of
// further leases; those leases. Room is never given back.
const (
	magicSize       = 32
	mutableNodeAt   = magicSize
	mutableEnabler  = mutableNodeAt + nodeSize
	mutableSizeAt   = mutableEnabler + SecretSize
	mutableExtraAt  = mutableSizeAt + 8
	mutableLeasesAt = mutableExtraAt + 8
	mutablePlaces   = 4
	mutableDataAt   = mutableLeasesAt + mutablePlaces*mutableLease
	mutableNewest   = 2
)

// MaxMutableSize is the largest size of a mutable share's data.
const MaxMutableSize = 69105 * 1000 * 1000 * 1000 * 1000

// mutableMagic is what a mutable container starts with, by version.
var mutableMagic = map[int]string{
	1: "Tahoe mutable container v1\n" + "\x75\x09\x44\x03\x8e",
	2: magicOf("Tahoe mutable container v2\n"),
}

// magicOf returns a text with five bytes of its hash, tagged as Tahoe-LAFS tags hashes.
func magicOf(text string) string {
	const tag = "allmydata_mutable_container_header"
	once := sha256.Sum256(fmt.Appendf(nil, "%d:%s,%s", len(tag), tag, text))
	twice := sha256.Sum256(once[:])
	return text + string(twice[:magicSize-len(text)])
}

// mutableVersion returns the version of the mutable container that starts with some bytes, 0 if none does.
func mutableVersion(start []byte) int {
	for version, magic := range mutableMagic {
		if len(start) >= magicSize && string(start[:magicSize]) == magic {
			return version
		}
	}
	return 0
}

// MutableFile is a mutable container.
type MutableFile struct {
	name    string
	file    File
	version int
	node    NodeID
	enabler Secret
	size    int64 // of the data
	extra   int64 // where the further leases are
	count   int64 // of further leases
	end     int64 // of the file, when it was opened: behind the leases may be what a crash has left
}

var _ Container = (*MutableFile)(nil)

// NewMutable writes an empty container of the newest version into an empty file.
func NewMutable(name string, f File, node NodeID, enabler Secret) (*MutableFile, error) {
	c := &MutableFile{name: name, file: f, version: mutableNewest, node: node, enabler: enabler, extra: mutableDataAt}
	b := make([]byte, 0, mutableDataAt+4)
	b = append(b, mutableMagic[c.version]...)
	b = append(b, node[:]...)
	b = append(b, enabler[:]...)
	b = binary.BigEndian.AppendUint64(b, 0)
	b = binary.BigEndian.AppendUint64(b, mutableDataAt)
	if _, err := f.WriteAt(b[:cap(b)], 0); err != nil {
		return nil, err
	}
	return c, nil
}

// OpenMutable returns the container in a file of some size. The name is for errors.
func OpenMutable(name string, f File, size int64) (*MutableFile, error) {
	head := make([]byte, min(size, mutableLeasesAt))
	if err := readFull(f, head, 0); err != nil {
		return nil, err
	}
	version := mutableVersion(head)
	if version == 0 {
		return nil, unknown(name, "it starts with %x", head[:min(len(head), magicSize)])
	}
	if size < mutableDataAt+4 {
		return nil, damaged(name, "%d bytes are too few for a header", size)
	}
	c := &MutableFile{name: name, file: f, version: version, end: size}
	copy(c.node[:], head[mutableNodeAt:])
	copy(c.enabler[:], head[mutableEnabler:])
	data, extra := binary.BigEndian.Uint64(head[mutableSizeAt:]), binary.BigEndian.Uint64(head[mutableExtraAt:])
	if extra < mutableDataAt || extra > uint64(size)-4 || data > extra-mutableDataAt {
		return nil, damaged(name, "%d bytes of data, and leases at %d, in a file of %d bytes", data, extra, size)
	}
	c.size, c.extra = int64(data), int64(extra)
	count := make([]byte, 4)
	if err := readFull(f, count, c.extra); err != nil {
		return nil, err
	}
	c.count = int64(binary.BigEndian.Uint32(count))
	if c.count > (size-4-c.extra)/mutableLease {
		return nil, damaged(name, "%d further leases at %d, in a file of %d bytes", c.count, c.extra, size)
	}
	return c, nil
}

// Kind returns Mutable.
func (c *MutableFile) Kind() Kind { return Mutable }

// Version returns 1 or 2.
func (c *MutableFile) Version() int { return c.version }

// Size returns the number of bytes of data.
func (c *MutableFile) Size() int64 { return c.size }

// FileSize returns the size that the file has at least.
func (c *MutableFile) FileSize() int64 { return c.extra + 4 + c.count*mutableLease }

// Node returns the node that took the write enabler.
func (c *MutableFile) Node() NodeID { return c.node }

// MayWrite reports, in constant time, whether this is the write enabler.
func (c *MutableFile) MayWrite(enabler Secret) bool { return c.enabler.Equal(enabler) }

// ReadAt reads share data.
func (c *MutableFile) ReadAt(p []byte, off int64) (int, error) {
	return readData(c.file, p, off, mutableDataAt, c.size)
}

// SizeAfter returns the size that the file has after a write of n bytes at off.
func (c *MutableFile) SizeAfter(off, n int64) int64 {
	return max(c.FileSize(), mutableDataAt+off+n+4+c.count*mutableLease)
}

// WriteAt writes share data, and zeros into the gap between old and new data.
func (c *MutableFile) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > MaxMutableSize-int64(len(p)) {
		return 0, fmt.Errorf("%s: %d bytes at %d: %w", c.name, len(p), off, ErrTooBig)
	}
	if end := off + int64(len(p)); end >= c.size {
		used := c.extra - mutableDataAt // beyond is what makeRoom clears, and the end of the file
		if err := c.makeRoom(end); err != nil {
			return 0, err
		}
		if err := writeZeros(c.file, mutableDataAt+c.size, min(off, used)-c.size); err != nil {
			return 0, err
		}
		if err := c.setSize(end); err != nil {
			return 0, err
		}
	}
	return c.file.WriteAt(p, mutableDataAt+off)
}

// Shorten makes the data shorter. The room stays, and so do the bytes in it.
func (c *MutableFile) Shorten(size int64) error {
	if size >= c.size {
		return nil
	}
	return c.setSize(size)
}

func (c *MutableFile) setSize(size int64) error {
	if err := c.putUint64(mutableSizeAt, size); err != nil {
		return err
	}
	c.size = size
	return nil
}

// makeRoom moves the further leases behind the end of the data to come. Where they were are zeros then: their secrets are no
// data. What is between has never been written, and needs no zeros.
func (c *MutableFile) makeRoom(end int64) error {
	to := mutableDataAt + end
	if to <= c.extra {
		return nil
	}
	leases := make([]byte, 4+c.count*mutableLease)
	if err := readFull(c.file, leases, c.extra); err != nil {
		return fmt.Errorf("%s: its further leases: %w", c.name, err)
	}
	if _, err := c.file.WriteAt(leases, to); err != nil {
		return err
	}
	if err := c.putUint64(mutableExtraAt, to); err != nil {
		return err
	}
	was := c.extra
	c.extra = to
	return writeZeros(c.file, was, min(max(int64(len(leases)), c.end-was), to-was))
}

func (c *MutableFile) putUint64(at, value int64) error {
	_, err := c.file.WriteAt(binary.BigEndian.AppendUint64(nil, uint64(value)), at)
	return err
}

// writeZeros writes n zeros, none if n is negative.
func writeZeros(f File, at, n int64) error {
	zeros := make([]byte, min(max(n, 0), 1<<20))
	for ; n > 0; n -= int64(len(zeros)) {
		zeros = zeros[:min(n, int64(len(zeros)))]
		if _, err := f.WriteAt(zeros, at); err != nil {
			return err
		}
		at += int64(len(zeros))
	}
	return nil
}

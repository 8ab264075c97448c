// Package blockfile keeps parts of an immutable content in a local file, and knows which of its bytes can be trusted.
//
// A content is two files. The data file is sparse and has the content's bytes at their own offsets, so that it can be
// renamed away and used as the content itself. The sidecar says what content it is and holds an entry for each block
// of 64 KiB: its CRC32C, and a mark that makes the entry vouch for itself. A block without a good entry is absent.
//
// What a crash leaves is never mistaken for content: data is written before its entry, and what the disk lost or
// altered behind an entry (nothing here is ever synced) fails the checksum. Nothing here is worth keeping: whoever
// finds a damaged file removes it.
package blockfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// BlockSize is what a checksum covers, in bytes. The last block of a content may be shorter.
	BlockSize = 64 << 10

	grain     = 4096 // what a disk gives out, in bytes; costs are counted in it
	entrySize = 8
)

// ErrCorrupt is the error of a block that does not match its checksum, or is not there behind its entry.
var ErrCorrupt = errors.New("the block does not match its checksum")

// ErrDamaged is the error of a content whose sidecar cannot be used.
var ErrDamaged = errors.New("the sidecar is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Meta says what a content is.
type Meta struct {
	ID      uint64
	Key     string
	Version string
	Size    int64 // bytes
}

// Blocks returns how many blocks a content of size bytes has.
func Blocks(size int64) int64 { return (size + BlockSize - 1) / BlockSize }

// BlockLen returns the bytes of a block of a content of size bytes.
func BlockLen(size, block int64) int64 { return min(BlockSize, size-block*BlockSize) }

// Cost returns the bytes of disk that a block takes.
func Cost(size, block int64) int64 { return (BlockLen(size, block) + grain - 1) / grain * grain }

// File is one content on disk, open. It is safe for concurrent use, but for Close, which comes last.
type File struct {
	dir        Dir
	data, side *os.File

	mu        sync.Mutex
	meta      Meta            // guarded by mu
	entriesAt int64           // offset of the entries in the sidecar; constant
	pages     map[int64]*page // the sidecar's pages that hold entries, by number; guarded by mu
	present   int64           // blocks with an entry; guarded by mu
}

// page is a page of the sidecar, as entries. An entry is the block's sum in its high half and the mark in the low; 0 is none.
type page [grain / entrySize]uint64

// Close closes the files.
func (f *File) Close() error { return errors.Join(f.data.Close(), f.side.Close()) }

// Meta returns what the content is.
func (f *File) Meta() Meta {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.meta
}

// SetMeta changes key and version.
func (f *File) SetMeta(key, version string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.meta
	m.Key, m.Version = key, version
	h := m.header(f.entriesAt)
	if int64(len(h)) > f.entriesAt {
		return fmt.Errorf("the header of content %d has no room for key %q", m.ID, key)
	}
	if err := f.write(f.side, h, 0); err != nil {
		return err
	}
	f.meta.Key, f.meta.Version = key, version // the rest is constant, and read without the lock
	return nil
}

// Present returns how many blocks are there.
func (f *File) Present() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.present
}

// SideCost returns the bytes of disk that the sidecar takes.
func (f *File) SideCost() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := int64(len(f.pages))
	for k := range (f.entriesAt + grain - 1) / grain { // the pages of the header
		if f.pages[k] == nil {
			n++
		}
	}
	return n * grain
}

// Run returns how many blocks from block on, up to limit, are present without a gap.
func (f *File) Run(block, limit int64) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := int64(0)
	for n < limit && f.entry(block+n) != 0 {
		n++
	}
	return n
}

// Each calls fn for every present block, in no order.
func (f *File) Each(fn func(block int64)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, pg := range f.pages {
		for i, e := range pg {
			if e != 0 {
				fn((k*grain + int64(i)*entrySize - f.entriesAt) / entrySize)
			}
		}
	}
}

// Read fills p with the blocks from first on, whole ones (but for the last block of the content, which may be short),
// and returns how many of them, from the first on, are present and match their checksums. The error is ErrCorrupt,
// about the block behind those, or the disk's.
func (f *File) Read(p []byte, first int64) (good int64, err error) {
	sums, size := f.sums(first, Blocks(int64(len(p))))
	if len(sums) == 0 {
		return 0, nil
	}
	p = p[:min(int64(len(p)), int64(len(sums))*BlockSize)]
	if err := f.dir.fault("read", f.data.Name()); err != nil {
		return 0, err
	}
	n, err := f.data.ReadAt(p, first*BlockSize)
	if err == io.EOF {
		err = nil // a file that was cut: what is missing fails its sum
	}
	for i, sum := range sums {
		from := int64(i) * BlockSize
		to := from + BlockLen(size, first+int64(i))
		if to > int64(n) {
			if err == nil {
				err = ErrCorrupt
			}
			return good, err
		}
		if crc32.Checksum(p[from:to], castagnoli) != sum {
			return good, ErrCorrupt
		}
		good++
	}
	return good, nil
}

// sums returns the checksums of the present blocks from first on, up to limit and to the first gap.
func (f *File) sums(first, limit int64) ([]uint32, int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	sums := make([]uint32, 0, limit)
	for i := range limit {
		e := f.entry(first + i)
		if e == 0 {
			break
		}
		sums = append(sums, uint32(e>>32))
	}
	return sums, f.meta.Size
}

// Write stores a block, and returns whether it was absent before. A block that could not be stored takes no room.
func (f *File) Write(block int64, data []byte) (added bool, err error) {
	e := f.newEntry(block, crc32.Checksum(data, castagnoli))
	err = f.write(f.data, data, block*BlockSize)
	f.mu.Lock()
	defer f.mu.Unlock()
	had := f.entry(block)
	if err == nil && had != e {
		err = f.write(f.side, binary.LittleEndian.AppendUint64(nil, e), f.entryAt(block))
	}
	switch {
	case err == nil:
		return f.setEntry(block, e), nil
	case had == 0:
		return false, errors.Join(err, f.punch(block, block+1))
	}
	return false, err
}

// Clear forgets the blocks from first to before end and gives their room back to the disk. It returns the cost of
// those that were present.
func (f *File) Clear(first, end int64) (freed int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	const none = -1
	from, to := int64(none), int64(none) // the present blocks are within
	// The entries first: a crash in between leaves room that nobody counts, not entries without data.
	for at, stop := f.entryAt(first), f.entryAt(end); at < stop; {
		next := min((at/grain+1)*grain, stop)
		if pg := f.pages[at/grain]; pg != nil {
			if err := f.write(f.side, make([]byte, next-at), at); err != nil {
				return freed, err
			}
			for ; at < next; at += entrySize {
				block := (at - f.entriesAt) / entrySize
				if f.setEntry(block, 0) {
					continue
				}
				freed += Cost(f.meta.Size, block)
				if from == none {
					from = block
				}
				to = block + 1
			}
		}
		at = next
	}
	if from == none {
		return 0, nil
	}
	return freed, f.punch(from, to)
}

// Reclaim gives back to the disk what absent blocks take of it: data that a crash left without its entry.
func (f *File) Reclaim() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.data.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := Blocks(f.meta.Size)
	counted := f.present * BlockSize
	if n > 0 && f.entry(n-1) != 0 {
		counted += Cost(f.meta.Size, n-1) - BlockSize
	}
	if st.Blocks*512 <= counted {
		return nil
	}
	for b := int64(0); b < n; {
		gap := b
		for gap < n && f.entry(gap) == 0 {
			gap++
		}
		if gap > b {
			if err := f.punch(b, gap); err != nil {
				return err
			}
		}
		b = gap + 1
	}
	return nil
}

// punch makes a hole of the blocks from first to before end.
func (f *File) punch(first, end int64) error {
	off := first * BlockSize
	length := min(end*BlockSize, (f.meta.Size+grain-1)/grain*grain) - off
	err := unix.Fallocate(int(f.data.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, length)
	if err != nil {
		return &os.PathError{Op: "punch hole", Path: f.data.Name(), Err: err}
	}
	return nil
}

func (f *File) write(to *os.File, p []byte, off int64) error {
	if err := f.dir.fault("write", to.Name()); err != nil {
		return err
	}
	_, err := to.WriteAt(p, off)
	return err
}

func (f *File) entryAt(block int64) int64 { return f.entriesAt + block*entrySize }

func (f *File) entry(block int64) uint64 {
	at := f.entryAt(block)
	if pg := f.pages[at/grain]; pg != nil {
		return pg[at%grain/entrySize]
	}
	return 0
}

// setEntry sets an entry in memory and returns whether the block was absent.
func (f *File) setEntry(block int64, e uint64) (added bool) {
	at := f.entryAt(block)
	pg := f.pages[at/grain]
	if pg == nil {
		pg = new(page)
		f.pages[at/grain] = pg
	}
	slot := &pg[at%grain/entrySize]
	added = *slot == 0
	switch {
	case added && e != 0:
		f.present++
	case !added && e == 0:
		f.present--
	}
	*slot = e
	return added
}

// newEntry makes the entry of a block. The mark binds the sum to this block of this content.
func (f *File) newEntry(block int64, sum uint32) uint64 {
	var b [20]byte
	binary.LittleEndian.PutUint64(b[0:], f.meta.ID)
	binary.LittleEndian.PutUint64(b[8:], uint64(block))
	binary.LittleEndian.PutUint32(b[16:], sum)
	return uint64(sum)<<32 | uint64(crc32.Checksum(b[:], castagnoli))
}

package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"sharefs/storage/container"
)

// SlotSecrets are what a client changes a slot with, and holds it.
type SlotSecrets struct {
	WriteEnabler Secret
	Lease        LeaseSecrets
}

// Test says what the data of a share have to be for an update. Beyond the end, and where there is no share, is nothing.
type Test struct {
	Range
	Specimen []byte
}

// Write is new data at an offset.
type Write struct {
	Offset int64
	Data   []byte
}

// ShareUpdate is what becomes of one share of a slot. The writes are done in order.
type ShareUpdate struct {
	Tests  []Test
	Writes []Write
	// NewLength, if not nil, cuts the data off after the writes. It never makes them longer. 0 removes the share, whatever the
	// writes are.
	NewLength *int64
}

// SlotUpdate reads from all shares of a slot, and changes some of them if all tests are true.
type SlotUpdate struct {
	Secrets SlotSecrets
	Shares  map[int]ShareUpdate // by number; those that are not there are made
	Read    []Range             // of each share that is there
	// SkipLease leaves the leases as they are. Else each share that was changed gets the lease.
	SkipLease bool
}

// SlotResult is what came of a SlotUpdate.
type SlotResult struct {
	Written bool             // the tests were true, and the changes are made
	Data    map[int][][]byte // what was read, before any change: by share number, in the order of the ranges
}

// ReadTestWrite updates a slot. ErrWriteEnabler: a share that is there has another one, and nothing is read or changed. Each
// share is changed as a whole, see the package; if one cannot be changed, an error tells, and those before it may be.
func (s *Store) ReadTestWrite(index Index, u SlotUpdate) (SlotResult, error) {
	defer s.stats.time("writev", s.now)()
	if err := u.check(); err != nil {
		return SlotResult{}, err
	}
	defer s.locks.lock(index)()
	slot, err := s.openSlot(index, nil)
	if err != nil {
		return SlotResult{}, err
	}
	defer slot.close()
	for n, c := range slot.shares {
		if !c.MayWrite(u.Secrets.WriteEnabler) {
			return SlotResult{}, fmt.Errorf("share %v: %w: it was recorded by node %v", shareName{index, n}, ErrWriteEnabler, c.Node())
		}
	}
	var result SlotResult
	if result.Written, err = slot.test(u); err != nil {
		return SlotResult{}, err
	}
	if result.Data, err = slot.read(u.Read); err != nil || !result.Written {
		return result, err
	}
	slot.close() // the changes open what they need
	return result, s.updateSlot(index, u)
}

// check refuses what no slot can have.
func (u SlotUpdate) check() error {
	for n, share := range u.Shares {
		if share.NewLength != nil && *share.NewLength < 0 {
			return fmt.Errorf("share %d: a new length of %d", n, *share.NewLength)
		}
		for _, w := range share.Writes {
			if w.Offset < 0 || w.Offset > container.MaxMutableSize-int64(len(w.Data)) {
				return fmt.Errorf("share %d: %d bytes at %d: %w", n, len(w.Data), w.Offset, ErrTooBig)
			}
		}
		for _, t := range share.Tests {
			if t.Offset < 0 || t.Length < 0 {
				return fmt.Errorf("share %d: a test of %d bytes at %d", n, t.Length, t.Offset)
			}
		}
	}
	return checkRanges(u.Read)
}

func checkRanges(read []Range) error {
	for _, r := range read {
		if r.Offset < 0 || r.Length < 0 {
			return fmt.Errorf("reading %d bytes at %d", r.Length, r.Offset)
		}
	}
	return nil
}

// ReadSlot reads ranges of shares of a slot: of those with the numbers, or of all if there are none. Shares that are not
// there are not in the result. Memory is needed for all that is read.
func (s *Store) ReadSlot(index Index, numbers []int, read []Range) (map[int][][]byte, error) {
	defer s.stats.time("readv", s.now)()
	if err := checkRanges(read); err != nil {
		return nil, err
	}
	defer s.locks.rlock(index)()
	slot, err := s.openSlot(index, numbers)
	if err != nil {
		return nil, err
	}
	defer slot.close()
	return slot.read(read)
}

// slot is the open shares of a slot.
type slot struct {
	files  []File
	shares map[int]*container.MutableFile
}

// openSlot opens the shares of a slot: those with the numbers, or all if there are none. The caller has the lock of the index.
func (s *Store) openSlot(index Index, numbers []int) (*slot, error) {
	there, err := s.numbers(index)
	if err != nil {
		return nil, err
	}
	opened := &slot{shares: map[int]*container.MutableFile{}}
	for _, n := range there {
		if len(numbers) > 0 && !slices.Contains(numbers, n) {
			continue
		}
		f, c, _, err := s.openMutable(shareName{index, n}, os.O_RDONLY)
		if err != nil {
			opened.close()
			return nil, err
		}
		opened.files = append(opened.files, f)
		opened.shares[n] = c
	}
	return opened, nil
}

// openMutable opens a mutable container, whose file has a size. The caller has the lock of its index, and closes the file.
func (s *Store) openMutable(name shareName, flag int) (File, *container.MutableFile, int64, error) {
	f, c, size, err := s.open(name, flag)
	if err != nil {
		return nil, nil, 0, err
	}
	m, ok := c.(*container.MutableFile)
	if !ok {
		err := &container.Error{Name: s.sharePath(name), Err: container.ErrUnknown, Detail: "it is an immutable share, where a slot is asked for"}
		return nil, nil, 0, errors.Join(err, f.Close())
	}
	return f, m, size, nil
}

// close closes the files, which were only read.
func (o *slot) close() {
	for _, f := range o.files {
		_ = f.Close()
	}
	o.files = nil
}

func (o *slot) test(u SlotUpdate) (bool, error) {
	for n, share := range u.Shares {
		for _, t := range share.Tests {
			if good, err := t.holds(o.shares[n]); err != nil || !good {
				return false, err
			}
		}
	}
	return true, nil
}

// holds compares with a share, which may be nil.
func (t Test) holds(c *container.MutableFile) (bool, error) {
	size := int64(0)
	if c != nil {
		size = c.Size()
	}
	length := min(t.Length, max(size-t.Offset, 0))
	if length != int64(len(t.Specimen)) {
		return false, nil
	}
	if length == 0 {
		return true, nil
	}
	data, err := readRange(c, Range{t.Offset, length})
	return bytes.Equal(data, t.Specimen), err
}

func (o *slot) read(read []Range) (map[int][][]byte, error) {
	all := map[int][][]byte{}
	for n, c := range o.shares {
		all[n] = make([][]byte, 0, len(read))
		for _, r := range read {
			data, err := readRange(c, r)
			if err != nil {
				return nil, err
			}
			all[n] = append(all[n], data)
		}
	}
	return all, nil
}

// readRange reads as much of a range as there is.
func readRange(c *container.MutableFile, r Range) ([]byte, error) {
	data := make([]byte, min(r.Length, max(c.Size()-r.Offset, 0)))
	if len(data) == 0 {
		return data, nil
	}
	if _, err := c.ReadAt(data, r.Offset); err != nil && err != io.EOF {
		return nil, err
	}
	return data, nil
}

// updateSlot makes the changes of an update, in the order of the share numbers. New contents of all shares are written before the
// first gets its name.
func (s *Store) updateSlot(index Index, u SlotUpdate) (err error) {
	var drafts []*draft
	defer func() {
		for _, d := range drafts {
			err = errors.Join(err, d.discard())
		}
	}()
	var gone []int
	for _, n := range slices.Sorted(maps.Keys(u.Shares)) {
		share := u.Shares[n]
		if share.NewLength != nil && *share.NewLength == 0 {
			gone = append(gone, n)
			continue
		}
		d, err := s.draftOf(shareName{index, n}, u.Secrets, share)
		if err != nil {
			return err
		}
		drafts = append(drafts, d)
		if err := s.rewrite(d, u, share); err != nil {
			return fmt.Errorf("share %v: %w", d.name, err)
		}
	}
	for _, d := range drafts {
		if err := d.commit(); err != nil {
			return fmt.Errorf("share %v: %w", d.name, err)
		}
	}
	return s.removeShares(index, gone)
}

// rewrite does with a share what an update says.
func (s *Store) rewrite(d *draft, u SlotUpdate, share ShareUpdate) error {
	for _, w := range share.Writes {
		if _, err := d.share.WriteAt(w.Data, w.Offset); err != nil {
			return err
		}
	}
	if share.NewLength != nil {
		if err := d.share.Shorten(*share.NewLength); err != nil {
			return err
		}
	}
	if !u.SkipLease {
		if err := d.share.AddOrRenewLease(s.newLease(ownerOfLease, u.Secrets.Lease), s.AvailableSpace()); err != nil {
			return err
		}
	}
	return d.finish()
}

// removeShares removes shares. That one is not there is no error.
func (s *Store) removeShares(index Index, numbers []int) error {
	if len(numbers) == 0 {
		return nil
	}
	for _, n := range numbers {
		if err := s.fs.Remove(s.sharePath(shareName{index, n})); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := s.syncDirs(s.bucketDir(index)); err != nil {
		return err
	}
	s.removeBucket(index)
	return nil
}

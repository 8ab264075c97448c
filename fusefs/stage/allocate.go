package stage

import (
	"context"

	"golang.org/x/sys/unix"
)

// Offsets of Seek, as lseek(2) has them.
const (
	SeekData uint32 = unix.SEEK_DATA
	SeekHole uint32 = unix.SEEK_HOLE
)

// Allocate is fallocate(2) with the modes 0, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE and ZERO_RANGE|KEEP_SIZE;
// EOPNOTSUPP for others, and for those that the local filesystem does not have.
func (f *File) Allocate(ctx context.Context, off, length int64, mode uint32) error {
	switch {
	case off < 0 || length <= 0:
		return unix.EINVAL
	case off+length < off:
		return unix.EFBIG
	}
	switch mode {
	case 0, unix.FALLOC_FL_KEEP_SIZE:
		return f.reserve(ctx, off, length, mode)
	case unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE,
		unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE:
		return f.zero(ctx, off, length, mode)
	}
	return unix.EOPNOTSUPP
}

// reserve allocates blocks. No byte changes, but the file may grow.
func (f *File) reserve(ctx context.Context, off, length int64, mode uint32) error {
	if err := f.lock(ctx); err != nil {
		return err
	}
	defer f.mu.unlock()
	if old, end := f.Size(), off+length; mode == 0 && end > old {
		if err := f.noteChange(old, end); err != nil {
			return err
		}
	}
	err := fallocate(f.data, mode, off, length)
	if err == nil {
		f.allocated.add(off, off+length)
	}
	f.settleSize()
	f.recharge()
	return err
}

// zero makes the bytes zeros; absent pages need no fetch for that, but where they keep bytes at the ends of the range.
func (f *File) zero(ctx context.Context, off, length int64, mode uint32) error {
	end := off + length
	if err := f.lockFilled(ctx, off, end); err != nil {
		return err
	}
	defer f.mu.unlock()
	if err := f.beginChange(off, end); err != nil {
		return err
	}
	err := fallocate(f.data, mode, off, length)
	if err == unix.EOPNOTSUPP && mode&unix.FALLOC_FL_ZERO_RANGE != 0 {
		err = f.zeroByHole(off, end, mode)
	}
	if err == nil {
		err = f.pages.setPresent(off/pageSize, pagesOf(end))
	}
	f.allocated.cut(off, end)
	f.settleSize()
	f.recharge()
	return err
}

// zeroByHole is ZERO_RANGE for filesystems that only have PUNCH_HOLE (tmpfs). The caller holds mu.
func (f *File) zeroByHole(off, end int64, mode uint32) error {
	if err := fallocate(f.data, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, end-off); err != nil {
		return err
	}
	if mode&unix.FALLOC_FL_KEEP_SIZE != 0 || end <= f.Size() {
		return nil
	}
	return errno(f.data.Truncate(end))
}

// Seek is lseek(2) with SeekData and SeekHole. Absent pages count as data.
func (f *File) Seek(ctx context.Context, off int64, whence uint32) (int64, error) {
	if whence != SeekData && whence != SeekHole {
		return 0, unix.EINVAL
	}
	if err := f.rlock(ctx); err != nil {
		return 0, err
	}
	defer f.mu.runlock()
	if off < 0 || off >= f.Size() {
		return 0, unix.ENXIO
	}
	if whence == SeekData {
		return f.seekData(off)
	}
	return f.seekHole(off)
}

func (f *File) seekData(off int64) (int64, error) {
	at, err := seekData(f.data, off)
	if err != nil && err != unix.ENXIO {
		return 0, err
	}
	if page, absent := f.pages.nextAbsent(off/pageSize, f.pages.count()); absent {
		if first := max(off, page*pageSize); err != nil || first < at {
			return first, nil
		}
	}
	if err != nil {
		return 0, unix.ENXIO
	}
	return at, nil
}

func (f *File) seekHole(off int64) (int64, error) {
	for off < f.Size() {
		at, err := seekHole(f.data, off)
		if err != nil {
			return 0, err
		}
		page := at / pageSize
		if at >= f.Size() || !f.pages.isAbsent(page) {
			return at, nil
		}
		off = max(at, f.pages.absentEnd(page, f.pages.count())*pageSize)
	}
	return f.Size(), nil
}

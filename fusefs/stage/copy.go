package stage

import (
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copyChunk is how many bytes are copied before the context is looked at.
const copyChunk = 8 << 20

// copyRanges makes the ranges of dst those of src, holes included. What lies beyond the end of src is left or zeroed.
func copyRanges(ctx context.Context, dst, src *os.File, ranges []Range) error {
	for _, r := range ranges {
		if err := clearRange(dst, r.Off, r.Off+r.Len); err != nil {
			return err
		}
		if err := copyExtents(ctx, dst, src, r.Off, r.Off+r.Len); err != nil {
			return err
		}
	}
	return nil
}

// clearRange makes [off, end) zeros without changing the length of the file.
func clearRange(file *os.File, off, end int64) error {
	st, err := file.Stat()
	if err != nil {
		return err
	}
	end = min(end, st.Size())
	if off >= end {
		return nil
	}
	err = fallocate(file, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, end-off)
	if err == unix.EOPNOTSUPP {
		return writeZeros(file, off, end)
	}
	return err
}

// copyExtents copies what src has data of in [off, end).
func copyExtents(ctx context.Context, dst, src *os.File, off, end int64) error {
	for off < end {
		data, err := seekData(src, off)
		if err == unix.ENXIO || err == nil && data >= end {
			return nil
		}
		if err != nil {
			return err
		}
		hole, err := seekHole(src, data)
		if err == unix.ENXIO {
			return nil // shortened meanwhile
		}
		if err != nil {
			return err
		}
		off = min(hole, end)
		if err := copyBytes(ctx, dst, src, data, off); err != nil {
			return err
		}
	}
	return nil
}

// copyBytes copies [off, end), or less when src ends before.
func copyBytes(ctx context.Context, dst, src *os.File, off, end int64) error {
	for off < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := copyInKernel(dst, src, off, min(end-off, copyChunk))
		if err != nil {
			n, err = copyByHand(dst, src, off, min(end-off, copyChunk))
		}
		if err != nil || n == 0 {
			return err
		}
		off += n
	}
	return nil
}

func copyInKernel(dst, src *os.File, off, length int64) (int64, error) {
	from, to := off, off
	var n int
	err := again(func() (err error) {
		n, err = unix.CopyFileRange(int(src.Fd()), &from, int(dst.Fd()), &to, int(length), 0)
		return err
	})
	return int64(n), err
}

// copyByHand is for filesystems without copy_file_range; where that failed otherwise, so does this.
func copyByHand(dst, src *os.File, off, length int64) (int64, error) {
	return io.Copy(io.NewOffsetWriter(dst, off), io.NewSectionReader(src, off, length))
}

package container

import (
	"fmt"
	"io"
)

// Buffer is a file in memory.
type Buffer struct {
	b       []byte
	changed bool
}

// NewBuffer returns a file with contents, which are the buffer's from then on.
func NewBuffer(contents []byte) *Buffer { return &Buffer{b: contents} }

// Bytes returns the contents, which are the buffer's.
func (b *Buffer) Bytes() []byte { return b.b }

// Changed reports whether anything was written.
func (b *Buffer) Changed() bool { return b.changed }

// ReadAt reads as a file does.
func (b *Buffer) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading at %d: a negative offset", off)
	}
	if off >= int64(len(b.b)) {
		return 0, io.EOF
	}
	n := copy(p, b.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes as a file does: what is skipped is zeros.
func (b *Buffer) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("writing at %d: a negative offset", off)
	}
	if end := off + int64(len(p)); end > int64(len(b.b)) {
		if err := b.Truncate(end); err != nil {
			return 0, err
		}
	}
	b.changed = true
	return copy(b.b[off:], p), nil
}

// Truncate makes the file shorter, or longer by zeros.
func (b *Buffer) Truncate(size int64) error {
	if size < 0 {
		return fmt.Errorf("a file of %d bytes", size)
	}
	if grow := size - int64(len(b.b)); grow > 0 {
		b.b = append(b.b, make([]byte, grow)...)
	}
	b.b, b.changed = b.b[:size], true
	return nil
}

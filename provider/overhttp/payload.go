package overhttp

import (
	"context"
	"errors"
	"fmt"
	"io"

	"sharefs/provider"
)

// ReadThrough reads the whole of a body that is to be sent into the hashes, and returns it as it is to be sent: from
// where it began. One that is shorter or longer than size is KindInvalid, and nothing was sent yet.
func ReadThrough(ctx context.Context, op, key string, from io.ReadSeeker, size int64, hashes ...io.Writer) (*Section, error) {
	start, err := from.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, provider.E(ctx, op, key, provider.KindOther, fmt.Errorf("the body cannot seek: %w", err))
	}
	n, err := io.Copy(io.MultiWriter(hashes...), &untilDone{ctx, io.LimitReader(from, size)})
	if err != nil {
		return nil, provider.E(ctx, op, key, provider.KindOther, fmt.Errorf("reading the body: %w", err))
	}
	more, err := io.CopyN(io.Discard, from, 1)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, provider.E(ctx, op, key, provider.KindOther, fmt.Errorf("reading the body: %w", err))
	case n != size:
		return nil, provider.Invalid(op, key, "the body has %d bytes, not %d as announced", n, size)
	case more != 0:
		return nil, provider.Invalid(op, key, "the body has more bytes than the %d announced", size)
	}
	body := &Section{ctx: ctx, from: from, start: start, size: size}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return nil, provider.E(ctx, op, key, provider.KindOther, fmt.Errorf("rewinding the body: %w", err))
	}
	return body, nil
}

// untilDone ends reading with the context.
type untilDone struct {
	ctx  context.Context
	from io.Reader
}

func (r *untilDone) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(p)
}

// Section is size bytes of a body from start on. A body that has become shorter since it was hashed is an error, not
// an end. It gives nothing more when the context is done, so that a cancelled request is not completed by what the
// transport had yet to read.
type Section struct {
	ctx         context.Context
	from        io.ReadSeeker
	start, size int64
	at          int64
}

// Read reads what is left of the section.
func (s *Section) Read(p []byte) (int, error) {
	left := s.size - s.at
	if left <= 0 {
		return 0, io.EOF
	}
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.from.Read(p[:min(int64(len(p)), left)])
	s.at += int64(n)
	switch {
	case s.ctx.Err() != nil: // while it read
		return 0, s.ctx.Err()
	case err == io.EOF && s.at < s.size:
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// Seek moves within the section.
func (s *Section) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.at
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d", offset)
	}
	if _, err := s.from.Seek(s.start+offset, io.SeekStart); err != nil {
		return 0, err
	}
	s.at = offset
	return offset, nil
}

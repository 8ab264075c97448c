package s3

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"sharefs/provider"
)

// payload is a body that was read once, for its checksums, and is sent from where it began.
type payload struct {
	body   *section
	sha256 string // hexadecimal, as signatures want it
	crc32c string // as S3 writes it
}

// newPayload reads the whole body. One that is shorter or longer than size is KindInvalid, and nothing was sent yet.
func newPayload(ctx context.Context, op, key string, from io.ReadSeeker, size int64) (payload, error) {
	start, err := from.Seek(0, io.SeekCurrent)
	if err != nil {
		return payload{}, provider.E(ctx, op, key, provider.KindOther, fmt.Errorf("the body cannot seek: %w", err))
	}
	sha, crc := sha256.New(), castagnoli()
	n, err := io.Copy(io.MultiWriter(sha, crc), &untilDone{ctx, io.LimitReader(from, size)})
	if err != nil {
		return payload{}, provider.E(ctx, op, key, provider.KindOther, fmt.Errorf("reading the body: %w", err))
	}
	more, err := io.CopyN(io.Discard, from, 1)
	switch {
	case err != nil && err != io.EOF:
		return payload{}, provider.E(ctx, op, key, provider.KindOther, fmt.Errorf("reading the body: %w", err))
	case n != size:
		return payload{}, invalid(op, key, "the body has %d bytes, not %d as announced", n, size)
	case more != 0:
		return payload{}, invalid(op, key, "the body has more bytes than the %d announced", size)
	}
	body := &section{ctx: ctx, from: from, start: start, size: size}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return payload{}, provider.E(ctx, op, key, provider.KindOther, fmt.Errorf("rewinding the body: %w", err))
	}
	return payload{body: body, sha256: hex.EncodeToString(sha.Sum(nil)), crc32c: sumText(crc.Sum32())}, nil
}

// signed has the request signed with the hash that is known already; the SDK would read the body again, or over
// TLS leave it out of the signature.
func (p payload) signed() func(*awss3.Options) {
	return awss3.WithAPIOptions(func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("sharefs:PayloadHash",
			func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
				return next.HandleInitialize(v4.SetPayloadHash(ctx, p.sha256), in)
			}), middleware.Before)
	})
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

// section is size bytes of a body from start on. A body that has become shorter since it was hashed is an error, not
// an end. It gives nothing more when the context is done, so that a cancelled request is not completed by what the
// transport had yet to read.
type section struct {
	ctx         context.Context
	from        io.ReadSeeker
	start, size int64
	at          int64
}

// Read reads what is left of the section.
func (s *section) Read(p []byte) (int, error) {
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
func (s *section) Seek(offset int64, whence int) (int64, error) {
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

package overhttp

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"sharefs/provider"
)

// Body reads the bytes of an object: exactly as many as were promised, verified where possible, and not longer than the store
// is silent. Make it with NewBody.
type Body struct {
	ctx     context.Context // the caller's
	key     string
	from    io.ReadCloser
	cancel  context.CancelFunc // of the request
	timeout time.Duration
	silence *time.Timer // runs while a Read waits
	silent  bool        // for too long, once
	left    int64
	sum     Sum
	err     error // returned from now on
}

// Sum verifies a body that is read to its end. The zero value verifies nothing.
type Sum struct {
	Name string // of the checksum
	Hash hash.Hash
	Text func(hash.Hash) string // how the store writes it
	Want string
}

// NewBody makes the reader of an answer's body of so many bytes. ctx is the caller's; cancel ends the request, whose context is
// another one.
func NewBody(ctx context.Context, cancel context.CancelFunc, key string, from io.ReadCloser, length int64, timeout time.Duration, sum Sum) *Body {
	b := &Body{ctx: ctx, key: key, from: from, cancel: cancel, timeout: timeout, left: length, sum: sum}
	b.silence = time.AfterFunc(timeout, func() { cancel() })
	b.silence.Stop()
	return b
}

// Read reads.
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	if b.ctx.Err() != nil {
		return 0, b.ctx.Err()
	}
	if b.left == 0 {
		b.err = b.finish()
		return 0, b.err
	}
	b.silence.Reset(b.timeout)
	n, err := b.from.Read(p[:min(int64(len(p)), b.left)])
	if !b.silence.Stop() {
		b.silent = true
	}
	b.left -= int64(n)
	if b.sum.Hash != nil {
		b.sum.Hash.Write(p[:n])
	}
	if err == nil || b.left == 0 {
		return n, nil
	}
	b.err = b.broken(err)
	return n, b.err
}

func (b *Body) finish() error {
	if b.sum.Hash == nil {
		return io.EOF
	}
	if got := b.sum.Text(b.sum.Hash); got != b.sum.Want {
		return &provider.Error{Op: "open", Key: b.key, Kind: provider.KindCorrupt,
			Err: fmt.Errorf("the %s of the body is %s, the store keeps %s", b.sum.Name, got, b.sum.Want)}
	}
	return io.EOF
}

func (b *Body) broken(err error) error {
	switch {
	case b.ctx.Err() != nil:
		return b.ctx.Err()
	case b.silent:
		err = fmt.Errorf("the store sent nothing for %v", b.timeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("%d bytes are missing: %w", b.left, io.ErrUnexpectedEOF)
	}
	return &provider.Error{Op: "open", Key: b.key, Kind: provider.KindUnavailable, Err: HideContext(err)}
}

// Close ends the request.
func (b *Body) Close() error {
	b.silence.Stop()
	b.cancel()
	return b.from.Close()
}

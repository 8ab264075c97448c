package retry

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"sharefs/provider"
)

// reader is the body of an Open. When it breaks it is opened again from where it stood.
type reader struct {
	p      *Provider
	ctx    context.Context // ends with the caller's or at Close
	cancel context.CancelFunc
	key    string
	obj    provider.Object
	end    int64 // one past the last byte, in the object
	closed atomic.Bool

	mu     sync.Mutex // held while reading and guards all below
	body   io.ReadCloser
	dog    *watchdog
	pos    int64 // of the next byte, in the object
	broken error // what the body broke with; it is opened again at the next Read
	final  error // what every further Read returns
	budget *budget
}

func (p *Provider) newReader(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
	r := &reader{p: p, key: key, pos: opts.Offset, budget: p.newBudget("open", key)}
	r.ctx, r.cancel = context.WithCancel(ctx)
	for {
		err := r.open(opts)
		if err == nil {
			break
		}
		if err := r.budget.wait(ctx, err); err != nil {
			r.cancel()
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return nil, provider.Object{}, err
		}
	}
	r.budget.reset()
	r.end = r.obj.Size
	if opts.Length > 0 && opts.Length < r.obj.Size-opts.Offset {
		r.end = opts.Offset + opts.Length
	}
	return r, r.obj, nil
}

// open makes one attempt.
func (r *reader) open(opts provider.OpenOptions) (err error) {
	ctx, dog := r.ctx, (*watchdog)(nil)
	if r.p.opts.AttemptTimeout > 0 {
		ctx, dog = r.p.watch(r.ctx)
	}
	body, o, err := r.p.inner.Open(ctx, r.key, opts)
	if err != nil {
		err = dog.explain("open", r.key, err)
		dog.end()
		return err
	}
	dog.pause()
	r.body, r.dog, r.obj = body, dog, o
	return nil
}

// Read reads on, and opens the object again when it has to. It is safe beside Close.
func (r *reader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		switch {
		case r.closed.Load():
			return 0, os.ErrClosed
		case r.final != nil:
			return 0, r.final
		case r.broken != nil:
			if err := r.resume(); err != nil {
				return 0, r.fail(err)
			}
			continue
		}
		n, err := r.readBody(b)
		if n > 0 {
			r.pos += int64(n)
			r.budget.reset()
		}
		switch {
		case err == nil:
			return n, nil
		case err == io.EOF, r.pos >= r.end && provider.Is(err, provider.KindUnavailable):
			return n, r.fail(io.EOF)
		case !r.mayResume(err):
			return n, r.fail(err)
		}
		r.broken = err
		if n > 0 {
			return n, nil
		}
	}
}

func (r *reader) readBody(b []byte) (int, error) {
	r.dog.alive()
	n, err := r.body.Read(b)
	r.dog.pause()
	if err == io.EOF && r.pos+int64(n) < r.end {
		err = &provider.Error{Op: "open", Key: r.key, Kind: provider.KindUnavailable,
			Err: fmt.Errorf("%d of %d bytes are missing: %w", r.end-r.pos-int64(n), r.obj.Size, io.ErrUnexpectedEOF)}
	}
	return n, r.dog.explain("open", r.key, err)
}

// mayResume reports whether a body that broke with err can be read on without anybody noticing. Bytes that fail their
// checksum have been handed out already.
func (r *reader) mayResume(err error) bool {
	return provider.Is(err, provider.KindUnavailable) && r.obj.Version != "" && r.pos < r.end && r.ctx.Err() == nil
}

// resume opens the object again from where reading stood.
func (r *reader) resume() error {
	for r.broken != nil {
		if err := r.budget.wait(r.ctx, r.broken); err != nil {
			return err
		}
		r.drop()
		r.broken = r.open(provider.OpenOptions{Offset: r.pos, Length: r.end - r.pos, IfVersion: r.obj.Version})
	}
	return nil
}

// fail makes err what every further Read returns.
func (r *reader) fail(err error) error {
	switch {
	case err == io.EOF:
	case r.closed.Load():
		err = os.ErrClosed
	case r.ctx.Err() != nil:
		err = r.ctx.Err()
	}
	r.final = err
	return err
}

// drop closes the body that broke.
func (r *reader) drop() {
	if r.body != nil {
		r.body.Close() // what is left of a body that broke already has nothing more to say
		r.dog.end()
		r.body, r.dog = nil, nil
	}
}

// Close frees the body. A Read that is under way ends with os.ErrClosed.
func (r *reader) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	if !r.mu.TryLock() {
		r.cancel()
		r.mu.Lock()
	}
	defer r.mu.Unlock()
	defer r.cancel()
	if r.body == nil {
		return nil
	}
	err := r.body.Close()
	r.dog.end()
	r.body = nil
	return err
}

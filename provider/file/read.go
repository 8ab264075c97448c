package file

import (
	"context"
	"fmt"
	"io"
	"strings"

	"sharefs/provider"
)

// Stat returns the object.
func (s *Store) Stat(ctx context.Context, key string) (provider.Object, error) {
	if err := ctx.Err(); err != nil {
		return provider.Object{}, err
	}
	in, err := s.lookup(key)
	if err != nil {
		return provider.Object{}, s.failRead(ctx, "stat", key, err)
	}
	defer in.close()
	o, err := s.describe(key, in)
	if err != nil {
		return provider.Object{}, s.failRead(ctx, "stat", key, err)
	}
	return o, nil
}

// Open returns a reader of the file that has the key now, also when it is replaced later. A file that another program
// changes in place is read as it changes.
func (s *Store) Open(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
	if err := ctx.Err(); err != nil {
		return nil, provider.Object{}, err
	}
	in, err := s.lookup(key)
	if err != nil {
		return nil, provider.Object{}, s.failRead(ctx, "open", key, err)
	}
	defer in.close()
	o, err := s.describe(key, in)
	if err != nil {
		return nil, provider.Object{}, s.failRead(ctx, "open", key, err)
	}
	if opts.IfVersion != "" && o.Version != opts.IfVersion {
		return nil, provider.Object{}, refuse("open", key, provider.KindPrecondition, "the object has another version")
	}
	offset := min(opts.Offset, o.Size)
	left := o.Size - offset
	if opts.Length > 0 {
		left = min(left, opts.Length)
	}
	src, err := in.content()
	if err != nil {
		return nil, provider.Object{}, s.fail(ctx, "open", key, err)
	}
	if _, err := src.Seek(offset, io.SeekStart); err != nil {
		_ = src.Close()
		return nil, provider.Object{}, s.fail(ctx, "open", key, err)
	}
	return &reader{ctx: ctx, store: s, key: key, src: src, left: left}, o, nil
}

// content returns the bytes of an object.
func (in inode) content() (io.ReadSeekCloser, error) {
	switch in.kind {
	case directory:
		return stringBody{strings.NewReader("")}, nil
	case symlink:
		target, err := in.target()
		return stringBody{strings.NewReader(target)}, err
	}
	return in.reopen()
}

// stringBody is the body of what has no file to be read.
type stringBody struct{ *strings.Reader }

func (stringBody) Close() error { return nil }

// reader reads a range; its context governs it, and it fails when the file ends too early.
type reader struct {
	ctx   context.Context
	store *Store
	key   string
	src   io.ReadCloser
	left  int64
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.src.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	switch {
	case err == io.EOF && r.left > 0:
		err = provider.E(r.ctx, "open", r.key, provider.KindUnavailable, fmt.Errorf("the file was made shorter: %w", io.ErrUnexpectedEOF))
	case err != nil && err != io.EOF:
		err = r.store.fail(r.ctx, "open", r.key, err)
	}
	return n, err
}

func (r *reader) Close() error { return r.src.Close() }

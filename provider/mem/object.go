package mem

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"sharefs/provider"
)

// Open returns a reader of the object as it is now, whatever happens to the key later.
func (s *Store) Open(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
	if err := ctx.Err(); err != nil {
		return nil, provider.Object{}, err
	}
	o, err := s.version("open", key, opts.IfVersion)
	if err != nil {
		return nil, provider.Object{}, err
	}
	start := min(opts.Offset, o.Size)
	end := o.Size
	if opts.Length > 0 && opts.Length < end-start {
		end = start + opts.Length
	}
	return io.NopCloser(&contextReader{ctx, bytes.NewReader(o.data[start:end])}), o.copy(), nil
}

// Put stores an object.
func (s *Store) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
	if err := ctx.Err(); err != nil {
		return provider.Object{}, err
	}
	if err := s.supports("put", key, opts.If); err != nil {
		return provider.Object{}, err
	}
	if s.caps.MaxPutSize > 0 && size > s.caps.MaxPutSize {
		return provider.Object{}, tooLarge("put", key, size, s.caps.MaxPutSize)
	}
	data, err := readBody(ctx, "put", key, body, size)
	if err != nil {
		return provider.Object{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store("put", key, data, described{opts.Metadata, opts.ContentType}, opts.If)
}

// Copy copies an object.
func (s *Store) Copy(ctx context.Context, src, dst string, opts provider.CopyOptions) (provider.Object, error) {
	if err := ctx.Err(); err != nil {
		return provider.Object{}, err
	}
	if !s.caps.Copy {
		return provider.Object{}, fail("copy", src, provider.KindUnsupported, nil)
	}
	if err := s.supports("copy", dst, opts.If); err != nil {
		return provider.Object{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.versionLocked("copy", src, opts.IfSourceVersion)
	if err != nil {
		return provider.Object{}, err
	}
	if s.caps.MaxCopySize > 0 && o.Size > s.caps.MaxCopySize {
		return provider.Object{}, tooLarge("copy", src, o.Size, s.caps.MaxCopySize)
	}
	as := described{opts.Metadata, opts.ContentType}
	if opts.Metadata == nil {
		as = described{o.Metadata, o.ContentType}
	}
	return s.store("copy", dst, o.data, as, opts.If)
}

// version returns the object of the key, which must have the version unless that is empty.
func (s *Store) version(op, key string, want provider.Version) (*object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.versionLocked(op, key, want)
}

func (s *Store) versionLocked(op, key string, want provider.Version) (*object, error) {
	o := s.objects[key]
	if o == nil {
		return nil, fail(op, key, provider.KindNotFound, nil)
	}
	if want != "" && o.Version != want {
		return nil, fail(op, key, provider.KindPrecondition, fmt.Errorf("the object has another version"))
	}
	return o, nil
}

// readBody returns the size bytes that the body must have.
func readBody(ctx context.Context, op, key string, body io.Reader, size int64) ([]byte, error) {
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(&contextReader{ctx, body}, size+1))
	if err == nil {
		err = ctx.Err() // it may have ended with the last byte
	}
	if err != nil {
		return nil, provider.E(ctx, op, key, provider.KindOther, err)
	}
	if n != size {
		return nil, fail(op, key, provider.KindInvalid, fmt.Errorf("the body has not the %d bytes that were announced", size))
	}
	return buf.Bytes(), nil
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

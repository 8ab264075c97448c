// Package stack puts the decorators around a driver, in the one order that is right.
//
// From the store outwards: the driver; faulty, in tests, as part of it; observe, which so counts every attempt as a
// request; prefix, so that all above speak of keys of the mount; limit, so that what waits to be repeated holds no place;
// retry; listahead, which makes one listing of many; and, outermost, the check of arguments, which drivers rely on: keys
// by provider.CheckKey, metadata by provider.CheckMetadata, and what a request's fields allow. A request that does not
// pass costs nothing.
package stack

import (
	"context"
	"io"
	"log/slog"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/limit"
	"sharefs/provider/listahead"
	"sharefs/provider/observe"
	"sharefs/provider/prefix"
	"sharefs/provider/retry"
)

// Options are the options of New. The zero value has the defaults of every decorator.
type Options struct {
	Prefix   string       // of keys, with or without a slash at the end; empty is the whole store
	ReadOnly bool         // everything that would change the store is KindReadOnly
	Logger   *slog.Logger // nil means none
	Retry    retry.Options
	Observe  observe.Options
	Limit    limit.Options
	Faults   *faulty.Options // for tests; nil: no faults
}

// Stack is a driver with its decorators. Make it with New.
type Stack struct {
	top      provider.Provider
	caps     provider.Capabilities
	readOnly bool
	observed *observe.Provider
	limited  *limit.Provider
	faults   *faulty.Provider // nil without Options.Faults
}

var (
	_ provider.Provider = (*Stack)(nil)
	_ provider.Upload   = (*upload)(nil)
)

// New stacks the decorators around a driver. The error is of KindInvalid, for a prefix that cannot be part of a key.
func New(driver provider.Provider, opts Options) (*Stack, error) {
	s := &Stack{readOnly: opts.ReadOnly}
	p := driver
	if opts.Faults != nil {
		s.faults = faulty.New(p, *opts.Faults)
		p = s.faults
	}
	s.observed = observe.New(p, opts.Observe)
	below, err := prefix.New(s.observed, opts.Prefix)
	if err != nil {
		return nil, err
	}
	if opts.Retry.Logger == nil {
		opts.Retry.Logger = opts.Logger
	}
	s.limited = limit.New(below, opts.Limit)
	s.top = listahead.New(retry.New(s.limited, opts.Retry))
	s.caps = s.top.Capabilities()
	return s, nil
}

// Snapshot returns what was counted since New.
func (s *Stack) Snapshot() observe.Snapshot { return s.observed.Snapshot() }

// Limit returns how many requests may be under way now: fewer than usual while the store is asked too much.
func (s *Stack) Limit() int { return s.limited.Limit() }

// Faults returns the faulty store below, whose rules a test may change; nil without Options.Faults.
func (s *Stack) Faults() *faulty.Provider { return s.faults }

// String returns the store's URL, with the prefix.
func (s *Stack) String() string { return s.top.String() }

// Capabilities returns those of the store below the prefix.
func (s *Stack) Capabilities() provider.Capabilities { return s.caps }

// Stat checks the key.
func (s *Stack) Stat(ctx context.Context, key string) (provider.Object, error) {
	if err := s.check("stat", key); err != nil {
		return provider.Object{}, err
	}
	return s.top.Stat(ctx, key)
}

// Open checks the key and the range.
func (s *Stack) Open(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
	if err := s.check("open", key, notNegative("offset", opts.Offset), notNegative("length", opts.Length)); err != nil {
		return nil, provider.Object{}, err
	}
	return s.top.Open(ctx, key, opts)
}

// Put checks the key, the size, the condition and the metadata.
func (s *Stack) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
	err := s.checkChange("put", key, notNegative("size", size), oneCondition(opts.If), s.metadata(opts.Metadata))
	if err != nil {
		return provider.Object{}, err
	}
	return s.top.Put(ctx, key, body, size, opts)
}

// NewUpload checks the key and the metadata.
func (s *Stack) NewUpload(ctx context.Context, key string, opts provider.UploadOptions) (provider.Upload, error) {
	if err := s.checkChange("newupload", key, s.metadata(opts.Metadata)); err != nil {
		return nil, err
	}
	u, err := s.top.NewUpload(ctx, key, opts)
	if err != nil {
		return nil, err
	}
	return &upload{inner: u, s: s, key: key}, nil
}

// ListUploads checks the prefix.
func (s *Stack) ListUploads(ctx context.Context, prefix string) ([]provider.UploadInfo, error) {
	if err := first("listuploads", prefix, flatPrefix(prefix)); err != nil {
		return nil, err
	}
	return s.top.ListUploads(ctx, prefix)
}

// AbortUpload checks the key.
func (s *Stack) AbortUpload(ctx context.Context, key, id string) error {
	if err := s.checkChange("abortupload", key); err != nil {
		return err
	}
	return s.top.AbortUpload(ctx, key, id)
}

// Copy checks both keys, the condition and the metadata.
func (s *Stack) Copy(ctx context.Context, src, dst string, opts provider.CopyOptions) (provider.Object, error) {
	err := s.checkChange("copy", dst, s.key(src), oneCondition(opts.If), s.metadata(opts.Metadata), copyChanges(src, dst, opts))
	if err != nil {
		return provider.Object{}, err
	}
	return s.top.Copy(ctx, src, dst, opts)
}

// Move checks both keys.
func (s *Stack) Move(ctx context.Context, src, dst string) (provider.Object, error) {
	if err := s.checkChange("move", dst, s.key(src)); err != nil {
		return provider.Object{}, err
	}
	return s.top.Move(ctx, src, dst)
}

// Delete checks every key, and deletes none if one is wrong.
func (s *Stack) Delete(ctx context.Context, opts provider.DeleteOptions, keys ...string) error {
	for _, key := range keys {
		if err := s.checkChange("delete", key, oneKey(opts, len(keys))); err != nil {
			return err
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return s.top.Delete(ctx, opts, keys...)
}

// List checks the prefix and the limit.
func (s *Stack) List(ctx context.Context, opts provider.ListOptions) (provider.Page, error) {
	prefix := s.dirPrefix(opts.Prefix)
	if opts.Flat {
		prefix = flatPrefix(opts.Prefix)
	}
	if err := first("list", opts.Prefix, prefix, s.limit(opts.Limit)); err != nil {
		return provider.Page{}, err
	}
	return s.top.List(ctx, opts)
}

// Usage passes through.
func (s *Stack) Usage(ctx context.Context) (provider.Usage, error) { return s.top.Usage(ctx) }

// Create passes through, unless the stack is read-only.
func (s *Stack) Create(ctx context.Context) error {
	if err := first("create", "", s.writable()); err != nil {
		return err
	}
	return s.top.Create(ctx)
}

// Close closes the driver.
func (s *Stack) Close() error { return s.top.Close() }

type upload struct {
	inner provider.Upload
	s     *Stack
	key   string
}

func (u *upload) ID() string { return u.inner.ID() }

func (u *upload) PutPart(ctx context.Context, number int, body io.ReadSeeker, size int64) (provider.Part, error) {
	if err := first("upload.putpart", u.key, u.s.partNumber(number), notNegative("size", size)); err != nil {
		return provider.Part{}, err
	}
	return u.inner.PutPart(ctx, number, body, size)
}

func (u *upload) CopyPart(ctx context.Context, number int, src string, opts provider.CopyPartOptions) (provider.Part, error) {
	err := first("upload.copypart", u.key, u.s.partNumber(number), u.s.key(src), notNegative("offset", opts.Offset), notNegative("length", opts.Length-1))
	if err != nil {
		return provider.Part{}, err
	}
	return u.inner.CopyPart(ctx, number, src, opts)
}

func (u *upload) Complete(ctx context.Context, parts []provider.Part, opts provider.CompleteOptions) (provider.Object, error) {
	if err := first("upload.complete", u.key, oneCondition(opts.If)); err != nil {
		return provider.Object{}, err
	}
	return u.inner.Complete(ctx, parts, opts)
}

func (u *upload) Abort(ctx context.Context) error { return u.inner.Abort(ctx) }

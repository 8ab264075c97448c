// Package prefix shows the part of a store that lies below a key prefix as a store of its own.
//
// Every key that goes down gets the prefix, and every key that comes up, in objects, listings, uploads and errors,
// loses it. What lies elsewhere in the store is not visible and cannot be reached. Usage and Create concern the whole
// store below, because stores count and create nothing smaller.
package prefix

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"

	"sharefs/provider"
)

// Provider is a store below a key prefix of another one. Make it with New.
type Provider struct {
	inner  provider.Provider
	prefix string // empty, or ends in "/"
	caps   provider.Capabilities
}

var (
	_ provider.Provider = (*Provider)(nil)
	_ provider.Upload   = (*upload)(nil)
)

// New returns the part of the store inner below a prefix, which is one or more key components, with or without a
// slash at the end. An empty prefix is the whole store. A prefix that cannot be part of a key is KindInvalid.
func New(inner provider.Provider, prefix string) (*Provider, error) {
	p := &Provider{inner: inner, caps: inner.Capabilities()}
	if prefix == "" {
		return p, nil
	}
	p.prefix = strings.TrimSuffix(prefix, "/") + "/"
	if err := provider.CheckKey(p.prefix, p.caps); err != nil {
		return nil, fmt.Errorf("the prefix %q cannot be used: %w", prefix, err)
	}
	if p.caps.MaxKey > 0 {
		p.caps.MaxKey -= len(p.prefix)
		if p.caps.MaxKey < 1 {
			return nil, &provider.Error{Op: "prefix", Key: prefix, Kind: provider.KindInvalid,
				Err: fmt.Errorf("it leaves no room for keys, which have at most %d bytes", inner.Capabilities().MaxKey)}
		}
	}
	return p, nil
}

// String returns the URL of the store below with the prefix at the end of its path.
func (p *Provider) String() string {
	s := p.inner.String()
	if p.prefix == "" {
		return s
	}
	path := url.URL{Path: "/" + strings.TrimSuffix(p.prefix, "/")}
	store, params, found := strings.Cut(s, "?")
	s = strings.TrimSuffix(store, "/") + path.EscapedPath()
	if found {
		s += "?" + params
	}
	return s
}

// Capabilities are those of the store below; the prefix takes its bytes from the longest key.
func (p *Provider) Capabilities() provider.Capabilities { return p.caps }

// Stat asks for the object below the prefix.
func (p *Provider) Stat(ctx context.Context, key string) (provider.Object, error) {
	o, err := p.inner.Stat(ctx, p.down(key))
	return p.object(o), p.err(err)
}

// Open reads the object below the prefix.
func (p *Provider) Open(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
	body, o, err := p.inner.Open(ctx, p.down(key), opts)
	if err != nil {
		return nil, provider.Object{}, p.err(err)
	}
	return &reader{body, p}, p.object(o), nil
}

// Put stores the object below the prefix.
func (p *Provider) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
	o, err := p.inner.Put(ctx, p.down(key), body, size, opts)
	return p.object(o), p.err(err)
}

// NewUpload starts an upload to a key below the prefix.
func (p *Provider) NewUpload(ctx context.Context, key string, opts provider.UploadOptions) (provider.Upload, error) {
	u, err := p.inner.NewUpload(ctx, p.down(key), opts)
	if err != nil {
		return nil, p.err(err)
	}
	return &upload{u, p}, nil
}

// ListUploads returns the uploads to keys below the prefix.
func (p *Provider) ListUploads(ctx context.Context, prefix string) ([]provider.UploadInfo, error) {
	infos, err := p.inner.ListUploads(ctx, p.down(prefix))
	for i := range infos {
		infos[i].Key = p.up(infos[i].Key)
	}
	return infos, p.err(err)
}

// AbortUpload ends an upload to a key below the prefix.
func (p *Provider) AbortUpload(ctx context.Context, key, id string) error {
	return p.err(p.inner.AbortUpload(ctx, p.down(key), id))
}

// Copy copies between two keys below the prefix.
func (p *Provider) Copy(ctx context.Context, src, dst string, opts provider.CopyOptions) (provider.Object, error) {
	o, err := p.inner.Copy(ctx, p.down(src), p.down(dst), opts)
	return p.object(o), p.err(err)
}

// Move renames between two keys below the prefix.
func (p *Provider) Move(ctx context.Context, src, dst string) (provider.Object, error) {
	o, err := p.inner.Move(ctx, p.down(src), p.down(dst))
	return p.object(o), p.err(err)
}

// Delete removes keys below the prefix.
func (p *Provider) Delete(ctx context.Context, opts provider.DeleteOptions, keys ...string) error {
	down := make([]string, len(keys))
	for i, key := range keys {
		down[i] = p.down(key)
	}
	return p.err(p.inner.Delete(ctx, opts, down...))
}

// List lists below the prefix. The marker of the prefix itself is left out: here it is the root, which has no key.
func (p *Provider) List(ctx context.Context, opts provider.ListOptions) (provider.Page, error) {
	opts.Prefix = p.down(opts.Prefix)
	if opts.After != "" {
		opts.After = p.down(opts.After)
	}
	page, err := p.inner.List(ctx, opts)
	if err != nil {
		return provider.Page{}, p.err(err)
	}
	objects := make([]provider.Object, 0, len(page.Objects))
	for _, o := range page.Objects {
		if o = p.object(o); o.Key != "" {
			objects = append(objects, o)
		}
	}
	page.Objects = objects
	return page, nil
}

// Usage tells what the whole store below holds.
func (p *Provider) Usage(ctx context.Context) (provider.Usage, error) {
	u, err := p.inner.Usage(ctx)
	return u, p.err(err)
}

// Create makes the store below.
func (p *Provider) Create(ctx context.Context) error { return p.err(p.inner.Create(ctx)) }

// Close closes the store below.
func (p *Provider) Close() error { return p.err(p.inner.Close()) }

func (p *Provider) down(key string) string { return p.prefix + key }

func (p *Provider) up(key string) string { return strings.TrimPrefix(key, p.prefix) }

func (p *Provider) object(o provider.Object) provider.Object {
	o.Key = p.up(o.Key)
	return o
}

// err takes the prefix from the keys that a provider's error names. Other errors are the context's own.
func (p *Provider) err(err error) error {
	if p.prefix == "" {
		return err
	}
	switch e := err.(type) {
	case *provider.Error:
		return p.providerError(e)
	case provider.DeleteErrors:
		up := make(provider.DeleteErrors, len(e))
		for i := range e {
			up[i] = p.providerError(e[i])
		}
		return up
	}
	return err
}

func (p *Provider) providerError(e *provider.Error) *provider.Error {
	up := *e
	up.Key = p.up(e.Key)
	up.Err = p.err(e.Err)
	return &up
}

type reader struct {
	io.ReadCloser
	p *Provider
}

func (r *reader) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b)
	return n, r.p.err(err)
}

func (r *reader) Close() error { return r.p.err(r.ReadCloser.Close()) }

type upload struct {
	inner provider.Upload
	p     *Provider
}

func (u *upload) ID() string { return u.inner.ID() }

func (u *upload) PutPart(ctx context.Context, number int, body io.ReadSeeker, size int64) (provider.Part, error) {
	part, err := u.inner.PutPart(ctx, number, body, size)
	return part, u.p.err(err)
}

func (u *upload) CopyPart(ctx context.Context, number int, src string, opts provider.CopyPartOptions) (provider.Part, error) {
	part, err := u.inner.CopyPart(ctx, number, u.p.down(src), opts)
	return part, u.p.err(err)
}

func (u *upload) Complete(ctx context.Context, parts []provider.Part, opts provider.CompleteOptions) (provider.Object, error) {
	o, err := u.inner.Complete(ctx, parts, opts)
	return u.p.object(o), u.p.err(err)
}

func (u *upload) Abort(ctx context.Context) error { return u.p.err(u.inner.Abort(ctx)) }

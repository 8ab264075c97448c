// Package observe counts what goes between sharefs and a store: requests, errors, bytes and time.
//
// It belongs directly around the driver, below retry, so that every attempt counts as the request that it is. It
// counts calls of the driver, each as one request, but a Delete of several keys as the number of batches that
// Capabilities.MaxDeleteBatch makes of them. What a driver asks beyond that (a token, a probe at open, further pages of
// ListUploads) it does not see.
package observe

import (
	"context"
	"io"
	"time"

	"sharefs/provider"
)

// Options are the options of New. The zero value counts and calls nobody.
type Options struct {
	// Hook is called after every request, from the goroutine that made it; it must not block. For an Open that
	// succeeds it is called when the body is closed.
	Hook func(Event)

	// MaxErrors is how many of the last errors a Snapshot holds; 0 means 20.
	MaxErrors int
}

// Event describes one request that has ended.
type Event struct {
	Op       string        // as in provider.Error
	Key      string        // the first key of several
	Requests int           // 1, but for a Delete of several batches
	BytesIn  int64         // bytes of the body that were read
	BytesOut int64         // bytes of the body that the store took
	Start    time.Time     //
	Duration time.Duration // until the answer; for Open until the first byte may be read
	Err      error         // nil, a *provider.Error, or the context's error
}

// Provider counts the requests to a store. Make it with New.
type Provider struct {
	inner provider.Provider
	batch int
	hook  func(Event)
	stats stats
}

var (
	_ provider.Provider = (*Provider)(nil)
	_ provider.Upload   = (*upload)(nil)
)

// New returns a provider that counts the requests to inner.
func New(inner provider.Provider, opts Options) *Provider {
	if opts.MaxErrors <= 0 {
		opts.MaxErrors = 20
	}
	return &Provider{
		inner: inner,
		batch: max(1, inner.Capabilities().MaxDeleteBatch),
		hook:  opts.Hook,
		stats: newStats(opts.MaxErrors),
	}
}

// Snapshot returns what was counted since New.
func (p *Provider) Snapshot() Snapshot { return p.stats.snapshot() }

// String returns the store's URL.
func (p *Provider) String() string { return p.inner.String() }

// Capabilities returns those of the store.
func (p *Provider) Capabilities() provider.Capabilities { return p.inner.Capabilities() }

// Stat counts one request.
func (p *Provider) Stat(ctx context.Context, key string) (provider.Object, error) {
	r := p.begin("stat", key)
	o, err := p.inner.Stat(ctx, key)
	r.end(err)
	return o, err
}

// Open counts one request, and the bytes as they are read. A body that breaks counts as one error.
func (p *Provider) Open(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
	r := p.begin("open", key)
	body, o, err := p.inner.Open(ctx, key, opts)
	if err != nil {
		r.end(err)
		return nil, o, err
	}
	return p.newBody(body, r), o, nil
}

// Put counts one request, and size bytes when it succeeds.
func (p *Provider) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
	r := p.begin("put", key)
	o, err := p.inner.Put(ctx, key, body, size, opts)
	r.sent(size, err)
	return o, err
}

// NewUpload counts one request; so does every method of the upload.
func (p *Provider) NewUpload(ctx context.Context, key string, opts provider.UploadOptions) (provider.Upload, error) {
	r := p.begin("newupload", key)
	u, err := p.inner.NewUpload(ctx, key, opts)
	r.end(err)
	if err != nil {
		return nil, err
	}
	return &upload{inner: u, p: p, key: key}, nil
}

// ListUploads counts one request.
func (p *Provider) ListUploads(ctx context.Context, prefix string) ([]provider.UploadInfo, error) {
	r := p.begin("listuploads", prefix)
	infos, err := p.inner.ListUploads(ctx, prefix)
	r.end(err)
	return infos, err
}

// AbortUpload counts one request.
func (p *Provider) AbortUpload(ctx context.Context, key, id string) error {
	r := p.begin("abortupload", key)
	return r.end(p.inner.AbortUpload(ctx, key, id))
}

// Copy counts one request.
func (p *Provider) Copy(ctx context.Context, src, dst string, opts provider.CopyOptions) (provider.Object, error) {
	r := p.begin("copy", dst)
	o, err := p.inner.Copy(ctx, src, dst, opts)
	r.end(err)
	return o, err
}

// Move counts one request.
func (p *Provider) Move(ctx context.Context, src, dst string) (provider.Object, error) {
	r := p.begin("move", dst)
	o, err := p.inner.Move(ctx, src, dst)
	r.end(err)
	return o, err
}

// Delete counts one request for each batch of keys.
func (p *Provider) Delete(ctx context.Context, opts provider.DeleteOptions, keys ...string) error {
	first := ""
	if len(keys) > 0 {
		first = keys[0]
	}
	r := p.begin("delete", first)
	r.requests = (len(keys) + p.batch - 1) / p.batch
	return r.end(p.inner.Delete(ctx, opts, keys...))
}

// List counts one request.
func (p *Provider) List(ctx context.Context, opts provider.ListOptions) (provider.Page, error) {
	r := p.begin("list", opts.Prefix)
	page, err := p.inner.List(ctx, opts)
	r.end(err)
	return page, err
}

// Usage counts one request.
func (p *Provider) Usage(ctx context.Context) (provider.Usage, error) {
	r := p.begin("usage", "")
	u, err := p.inner.Usage(ctx)
	r.end(err)
	return u, err
}

// Create counts one request.
func (p *Provider) Create(ctx context.Context) error {
	r := p.begin("create", "")
	return r.end(p.inner.Create(ctx))
}

// Close closes the store and counts nothing.
func (p *Provider) Close() error { return p.inner.Close() }

type upload struct {
	inner provider.Upload
	p     *Provider
	key   string
}

func (u *upload) ID() string { return u.inner.ID() }

func (u *upload) PutPart(ctx context.Context, number int, body io.ReadSeeker, size int64) (provider.Part, error) {
	r := u.p.begin("upload.putpart", u.key)
	part, err := u.inner.PutPart(ctx, number, body, size)
	r.sent(size, err)
	return part, err
}

func (u *upload) CopyPart(ctx context.Context, number int, src string, opts provider.CopyPartOptions) (provider.Part, error) {
	r := u.p.begin("upload.copypart", u.key)
	part, err := u.inner.CopyPart(ctx, number, src, opts)
	r.end(err)
	return part, err
}

func (u *upload) Complete(ctx context.Context, parts []provider.Part, opts provider.CompleteOptions) (provider.Object, error) {
	r := u.p.begin("upload.complete", u.key)
	o, err := u.inner.Complete(ctx, parts, opts)
	r.end(err)
	return o, err
}

func (u *upload) Abort(ctx context.Context) error {
	r := u.p.begin("upload.abort", u.key)
	return r.end(u.inner.Abort(ctx))
}

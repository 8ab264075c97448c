// Package limit bounds how many requests are under way at a time, lets those that somebody waits for go first, and learns
// from the store how many it takes.
//
// A request is of the foreground unless its context says Background. Those of the background never take all places, and
// none as long as one of the foreground waits. When the store answers that it is asked too much (KindThrottled) the limit
// falls by a third, at once; it rises again by one for every full round of good answers.
//
// A place is held until the store has answered: of an Open until the answer has begun, so that who reads two bodies at
// once never waits for himself. The wait for a place is not the store's silence: who watches for that is told by a Waiter.
// It is only after that wait that a request's gate is asked (provider.WithGate).
package limit

import (
	"context"
	"io"

	"sharefs/provider"
)

// DefaultMost is how many requests are under way at most, unless Options say otherwise.
const DefaultMost = 64

// Options are the options of New. The zero value has the defaults.
type Options struct {
	Most int // requests at a time, at least 1; 0: DefaultMost
}

// Provider bounds the requests to a store. Make it with New.
type Provider struct {
	inner provider.Provider
	gate  *gate
}

var (
	_ provider.Provider = (*Provider)(nil)
	_ provider.Upload   = (*upload)(nil)
)

// New returns a provider that bounds the requests to inner.
func New(inner provider.Provider, o Options) *Provider {
	if o.Most <= 0 {
		o.Most = DefaultMost
	}
	return &Provider{inner: inner, gate: newGate(o)}
}

type backgroundKey struct{}

// Background returns a context whose requests let others go first; Foreground takes that back.
func Background(ctx context.Context) context.Context {
	return context.WithValue(ctx, backgroundKey{}, true)
}

// Foreground is described at Background.
func Foreground(ctx context.Context) context.Context {
	if !isBackground(ctx) {
		return ctx
	}
	return context.WithValue(ctx, backgroundKey{}, false)
}

func isBackground(ctx context.Context) bool {
	is, _ := ctx.Value(backgroundKey{}).(bool)
	return is
}

// Waiter is told when a request begins to wait for its place, and when it goes on.
type Waiter interface {
	Wait()
	GoOn()
}

type waiterKey struct{}

// WithWaiter returns a context whose requests tell w when they wait.
func WithWaiter(ctx context.Context, w Waiter) context.Context {
	return context.WithValue(ctx, waiterKey{}, w)
}

// Limit returns how many requests may be under way now: fewer than Options.Most while the store is asked too much.
func (p *Provider) Limit() int { return p.gate.current() }

// one sends one request, if it still may be sent when it has its place.
func one[T any](ctx context.Context, g *gate, send func() (T, error)) (got T, err error) {
	leave, err := g.enter(ctx)
	if err != nil {
		return got, err
	}
	defer func() { leave(err) }()
	if err := provider.Pass(ctx); err != nil {
		return got, err
	}
	return send()
}

// bare sends one request that brings nothing but an error.
func bare(ctx context.Context, g *gate, send func() error) error {
	_, err := one(ctx, g, func() (struct{}, error) { return struct{}{}, send() })
	return err
}

// String returns the store's URL.
func (p *Provider) String() string { return p.inner.String() }

// Capabilities returns those of the store.
func (p *Provider) Capabilities() provider.Capabilities { return p.inner.Capabilities() }

// Stat waits for its place.
func (p *Provider) Stat(ctx context.Context, key string) (provider.Object, error) {
	return one(ctx, p.gate, func() (provider.Object, error) { return p.inner.Stat(ctx, key) })
}

// Open waits for its place, and gives it back when the answer has begun.
func (p *Provider) Open(ctx context.Context, key string, opts provider.OpenOptions) (body io.ReadCloser, o provider.Object, err error) {
	err = bare(ctx, p.gate, func() (err error) {
		body, o, err = p.inner.Open(ctx, key, opts)
		return err
	})
	return body, o, err
}

// Put waits for its place.
func (p *Provider) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
	return one(ctx, p.gate, func() (provider.Object, error) { return p.inner.Put(ctx, key, body, size, opts) })
}

// NewUpload waits for its place, and so does every method of the upload.
func (p *Provider) NewUpload(ctx context.Context, key string, opts provider.UploadOptions) (provider.Upload, error) {
	u, err := one(ctx, p.gate, func() (provider.Upload, error) { return p.inner.NewUpload(ctx, key, opts) })
	if err != nil {
		return nil, err
	}
	return &upload{inner: u, gate: p.gate}, nil
}

// ListUploads waits for its place.
func (p *Provider) ListUploads(ctx context.Context, prefix string) ([]provider.UploadInfo, error) {
	return one(ctx, p.gate, func() ([]provider.UploadInfo, error) { return p.inner.ListUploads(ctx, prefix) })
}

// AbortUpload waits for its place.
func (p *Provider) AbortUpload(ctx context.Context, key, id string) error {
	return bare(ctx, p.gate, func() error { return p.inner.AbortUpload(ctx, key, id) })
}

// Copy waits for its place.
func (p *Provider) Copy(ctx context.Context, src, dst string, opts provider.CopyOptions) (provider.Object, error) {
	return one(ctx, p.gate, func() (provider.Object, error) { return p.inner.Copy(ctx, src, dst, opts) })
}

// Move waits for its place.
func (p *Provider) Move(ctx context.Context, src, dst string) (provider.Object, error) {
	return one(ctx, p.gate, func() (provider.Object, error) { return p.inner.Move(ctx, src, dst) })
}

// Delete waits for its place: one, however many batches the keys are.
func (p *Provider) Delete(ctx context.Context, opts provider.DeleteOptions, keys ...string) error {
	return bare(ctx, p.gate, func() error { return p.inner.Delete(ctx, opts, keys...) })
}

// List waits for its place.
func (p *Provider) List(ctx context.Context, opts provider.ListOptions) (provider.Page, error) {
	return one(ctx, p.gate, func() (provider.Page, error) { return p.inner.List(ctx, opts) })
}

// Usage waits for its place.
func (p *Provider) Usage(ctx context.Context) (provider.Usage, error) {
	return one(ctx, p.gate, func() (provider.Usage, error) { return p.inner.Usage(ctx) })
}

// Create waits for its place.
func (p *Provider) Create(ctx context.Context) error {
	return bare(ctx, p.gate, func() error { return p.inner.Create(ctx) })
}

// Close closes the store below.
func (p *Provider) Close() error { return p.inner.Close() }

type upload struct {
	inner provider.Upload
	gate  *gate
}

func (u *upload) ID() string { return u.inner.ID() }

func (u *upload) PutPart(ctx context.Context, number int, body io.ReadSeeker, size int64) (provider.Part, error) {
	return one(ctx, u.gate, func() (provider.Part, error) { return u.inner.PutPart(ctx, number, body, size) })
}

func (u *upload) CopyPart(ctx context.Context, number int, src string, opts provider.CopyPartOptions) (provider.Part, error) {
	return one(ctx, u.gate, func() (provider.Part, error) { return u.inner.CopyPart(ctx, number, src, opts) })
}

func (u *upload) Complete(ctx context.Context, parts []provider.Part, opts provider.CompleteOptions) (provider.Object, error) {
	return one(ctx, u.gate, func() (provider.Object, error) { return u.inner.Complete(ctx, parts, opts) })
}

func (u *upload) Abort(ctx context.Context) error {
	return bare(ctx, u.gate, func() error { return u.inner.Abort(ctx) })
}

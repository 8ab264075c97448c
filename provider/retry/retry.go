// Package retry repeats requests that failed for a reason that may pass.
//
// Errors of a transient kind (throttled, unavailable, corrupt) are repeated, after a random delay whose bound doubles
// ("full jitter") and not before the store's RetryAfter, until an attempt succeeds, fails for good, the budget is
// spent or the context is done. What comes back is the last error, and says how many attempts there were.
//
// A repeat never does harm:
//
//   - The body of a Put is rewound to where it stood. After an attempt nobody below can read from it any more.
//   - A write that got no answer may have taken effect. Without a condition, a repeat changes nothing. With one, a
//     repeat that finds the condition broken is settled: the object is looked at, and when it carries the
//     provider.MetaPut of this request, the request has succeeded; when it cannot be this request's, the condition
//     was broken by somebody else. When it could be, but the request carried no MetaPut to tell, the error is of
//     KindUnavailable: it is not known whether the write took effect. The same holds for completing an upload in
//     parts that is then gone. A Move that got no answer is not repeated.
//   - A body that breaks while it is read is opened again from where it stood, on condition that the object is still
//     the same version. The reader notices nothing. Objects without versions are not resumed.
//
// A NewUpload that got no answer may leave an upload behind that nobody completes; ListUploads finds it.
//
// Time is that of package time; tests run in a testing/synctest bubble.
package retry

import (
	"context"
	"io"
	"log/slog"
	"time"

	"sharefs/provider"
)

// Options are the options of New. The zero value has the defaults; a negative value means no limit.
type Options struct {
	// MaxAttempts of one request; 0 means 25. A body that is read makes progress and starts again.
	MaxAttempts int

	// MaxElapsed is how long after its first failure a request is still repeated; 0 means one minute.
	MaxElapsed time.Duration

	// BaseDelay bounds the first delay, MaxDelay all of them; 0 means 100 ms and 5 s.
	BaseDelay, MaxDelay time.Duration

	// AttemptTimeout is how long one attempt may go without a sign of life: until it is answered, and between the
	// bytes of a body in either direction; 0 means one minute. It does not apply to what may take a store long
	// for good reason: Copy, Move, CopyPart, Complete, Create, a Delete of several batches.
	AttemptTimeout time.Duration

	// Logger gets every repeat at level debug; nil means none.
	Logger *slog.Logger
}

// Provider repeats the requests to a store. Make it with New.
type Provider struct {
	inner provider.Provider
	opts  Options
}

var (
	_ provider.Provider = (*Provider)(nil)
	_ provider.Upload   = (*upload)(nil)
)

// New returns a provider that repeats requests to inner.
func New(inner provider.Provider, opts Options) *Provider {
	if opts.MaxAttempts == 0 {
		opts.MaxAttempts = 25
	}
	for _, d := range []struct {
		to *time.Duration
		is time.Duration
	}{
		{&opts.MaxElapsed, time.Minute}, {&opts.BaseDelay, 100 * time.Millisecond}, {&opts.MaxDelay, 5 * time.Second},
		{&opts.AttemptTimeout, time.Minute},
	} {
		if *d.to == 0 {
			*d.to = d.is
		}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Provider{inner: inner, opts: opts}
}

// String returns the store's URL.
func (p *Provider) String() string { return p.inner.String() }

// Capabilities returns those of the store.
func (p *Provider) Capabilities() provider.Capabilities { return p.inner.Capabilities() }

// Stat repeats as it is.
func (p *Provider) Stat(ctx context.Context, key string) (o provider.Object, err error) {
	err = p.do(ctx, request{op: "stat", key: key}, func(ctx context.Context, _ *watchdog) (err error) {
		o, err = p.inner.Stat(ctx, key)
		return err
	})
	return o, err
}

// Open repeats as it is, and returns a body that resumes when it breaks.
func (p *Provider) Open(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
	return p.newReader(ctx, key, opts)
}

// Put rewinds the body. A conditional Put is settled.
func (p *Provider) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (o provider.Object, err error) {
	lender, err := newLender("put", key, body)
	if err != nil {
		return provider.Object{}, err
	}
	r := request{op: "put", key: key}
	if !opts.If.IsZero() {
		r.settle = func(ctx context.Context) (verdict, error) {
			found, v, err := p.settle(ctx, key, size, opts.Metadata)
			o = found
			return v, err
		}
	}
	err = p.do(ctx, r, func(ctx context.Context, dog *watchdog) error {
		lent, err := lender.lend(dog)
		if err != nil {
			return err
		}
		defer lent.takeBack()
		o, err = p.inner.Put(ctx, key, lent, size, opts)
		return err
	})
	return o, err
}

// NewUpload repeats as it is, and so does every method of the upload; its Complete is settled.
func (p *Provider) NewUpload(ctx context.Context, key string, opts provider.UploadOptions) (provider.Upload, error) {
	var u provider.Upload
	err := p.do(ctx, request{op: "newupload", key: key}, func(ctx context.Context, _ *watchdog) (err error) {
		u, err = p.inner.NewUpload(ctx, key, opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &upload{inner: u, p: p, key: key, metadata: opts.Metadata}, nil
}

// ListUploads repeats as it is.
func (p *Provider) ListUploads(ctx context.Context, prefix string) (infos []provider.UploadInfo, err error) {
	err = p.do(ctx, request{op: "listuploads", key: prefix}, func(ctx context.Context, _ *watchdog) (err error) {
		infos, err = p.inner.ListUploads(ctx, prefix)
		return err
	})
	return infos, err
}

// AbortUpload repeats as it is.
func (p *Provider) AbortUpload(ctx context.Context, key, id string) error {
	return p.do(ctx, request{op: "abortupload", key: key}, func(ctx context.Context, _ *watchdog) error {
		return p.inner.AbortUpload(ctx, key, id)
	})
}

// Copy repeats as it is. A conditional Copy is settled.
func (p *Provider) Copy(ctx context.Context, src, dst string, opts provider.CopyOptions) (o provider.Object, err error) {
	r := request{op: "copy", key: dst, slow: true}
	if !opts.If.IsZero() {
		r.settle = func(ctx context.Context) (verdict, error) {
			found, v, err := p.settle(ctx, dst, anySize, opts.Metadata)
			o = found
			return v, err
		}
	}
	err = p.do(ctx, r, func(ctx context.Context, _ *watchdog) (err error) {
		o, err = p.inner.Copy(ctx, src, dst, opts)
		return err
	})
	return o, err
}

// Move repeats as long as no attempt may have taken effect: a repeat would find src gone, or move another object that
// has taken its place.
func (p *Provider) Move(ctx context.Context, src, dst string) (o provider.Object, err error) {
	err = p.do(ctx, request{op: "move", key: dst, slow: true, once: true}, func(ctx context.Context, _ *watchdog) (err error) {
		o, err = p.inner.Move(ctx, src, dst)
		return err
	})
	return o, err
}

// List repeats as it is.
func (p *Provider) List(ctx context.Context, opts provider.ListOptions) (page provider.Page, err error) {
	err = p.do(ctx, request{op: "list", key: opts.Prefix}, func(ctx context.Context, _ *watchdog) (err error) {
		page, err = p.inner.List(ctx, opts)
		return err
	})
	return page, err
}

// Usage repeats as it is.
func (p *Provider) Usage(ctx context.Context) (u provider.Usage, err error) {
	err = p.do(ctx, request{op: "usage"}, func(ctx context.Context, _ *watchdog) (err error) {
		u, err = p.inner.Usage(ctx)
		return err
	})
	return u, err
}

// Create repeats as it is.
func (p *Provider) Create(ctx context.Context) error {
	return p.do(ctx, request{op: "create", slow: true}, func(ctx context.Context, _ *watchdog) error {
		return p.inner.Create(ctx)
	})
}

// Close closes the store below.
func (p *Provider) Close() error { return p.inner.Close() }

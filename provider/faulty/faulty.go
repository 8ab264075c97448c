// Package faulty is a store that fails as real ones do, for tests.
//
// Rules say which calls fail, and how: before anything happened, after everything happened, in the middle of a body,
// or never to end. What it never does is what no store may do: hand out wrong bytes, or listings with gaps. Choices by
// chance come from a seed, so that a run can be had again as long as the calls come in the same order.
//
// It stands for the driver: stack puts it below observe, prefix and retry. So rules see whole keys, and calls that
// fail are counted as the requests they stand for.
package faulty

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"

	"sharefs/provider"
)

// Options are the options of New. The zero value has no rules and seed 0.
type Options struct {
	Seed  uint64
	Rules []Rule // the first that applies to a call is the one that acts
}

// Provider is a store with faults. Make it with New.
type Provider struct {
	inner provider.Provider

	mu       sync.Mutex // guards all below
	rand     *rand.Rand
	rules    []*state
	injected []Call
}

var (
	_ provider.Provider = (*Provider)(nil)
	_ provider.Upload   = (*upload)(nil)
)

// New returns a provider that does what inner does, except where a rule applies.
func New(inner provider.Provider, opts Options) *Provider {
	p := &Provider{inner: inner, rand: rand.New(rand.NewPCG(opts.Seed, opts.Seed))}
	for _, r := range opts.Rules {
		p.Add(r)
	}
	return p
}

// Add adds a rule behind those that are there. The function it returns takes the rule away again.
func (p *Provider) Add(r Rule) (remove func()) {
	s := &state{Rule: r}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, s)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for i := range p.rules {
			if p.rules[i] == s {
				p.rules = append(p.rules[:i:i], p.rules[i+1:]...)
				return
			}
		}
	}
}

// Injected returns the calls that a rule has applied to, in their order.
func (p *Provider) Injected() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Call(nil), p.injected...)
}

// String returns the store's URL.
func (p *Provider) String() string { return p.inner.String() }

// Capabilities returns those of the store.
func (p *Provider) Capabilities() provider.Capabilities { return p.inner.Capabilities() }

// Stat fails by rules for "stat".
func (p *Provider) Stat(ctx context.Context, key string) (o provider.Object, err error) {
	err = p.run(ctx, Call{"stat", key}, func() (err error) {
		o, err = p.inner.Stat(ctx, key)
		return err
	})
	return o, err
}

// Open fails by rules for "open", which may also cut or stall its body.
func (p *Provider) Open(ctx context.Context, key string, opts provider.OpenOptions) (body io.ReadCloser, o provider.Object, err error) {
	c := Call{"open", key}
	r := p.match(c)
	open := func() (err error) {
		body, o, err = p.inner.Open(ctx, key, opts)
		return err
	}
	if r.onBody() {
		err = open()
	} else {
		err = r.run(ctx, c, open)
	}
	if err != nil {
		if body != nil {
			body.Close() // it was opened, and is to look as if it were not
		}
		return nil, provider.Object{}, err
	}
	return r.download(ctx, key, body), o, nil
}

// Put fails by rules for "put", which may also cut its body.
func (p *Provider) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (o provider.Object, err error) {
	c := Call{"put", key}
	r := p.match(c)
	err = r.send(ctx, c, body, func() (err error) {
		o, err = p.inner.Put(ctx, key, body, size, opts)
		return err
	})
	return o, err
}

// NewUpload fails by rules for "newupload".
func (p *Provider) NewUpload(ctx context.Context, key string, opts provider.UploadOptions) (u provider.Upload, err error) {
	err = p.run(ctx, Call{"newupload", key}, func() (err error) {
		u, err = p.inner.NewUpload(ctx, key, opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &upload{inner: u, p: p, key: key}, nil
}

// ListUploads fails by rules for "listuploads", with the prefix as key.
func (p *Provider) ListUploads(ctx context.Context, prefix string) (infos []provider.UploadInfo, err error) {
	err = p.run(ctx, Call{"listuploads", prefix}, func() (err error) {
		infos, err = p.inner.ListUploads(ctx, prefix)
		return err
	})
	return infos, err
}

// AbortUpload fails by rules for "abortupload".
func (p *Provider) AbortUpload(ctx context.Context, key, id string) error {
	return p.run(ctx, Call{"abortupload", key}, func() error { return p.inner.AbortUpload(ctx, key, id) })
}

// Copy fails by rules for "copy", with dst as key.
func (p *Provider) Copy(ctx context.Context, src, dst string, opts provider.CopyOptions) (o provider.Object, err error) {
	err = p.run(ctx, Call{"copy", dst}, func() (err error) {
		o, err = p.inner.Copy(ctx, src, dst, opts)
		return err
	})
	return o, err
}

// Move fails by rules for "move", with dst as key.
func (p *Provider) Move(ctx context.Context, src, dst string) (o provider.Object, err error) {
	err = p.run(ctx, Call{"move", dst}, func() (err error) {
		o, err = p.inner.Move(ctx, src, dst)
		return err
	})
	return o, err
}

// Delete fails by rules for "delete", asked for every key: the keys that a rule applies to fail, the others are
// deleted. With a condition, which is for one key only, the rules are asked for the first.
func (p *Provider) Delete(ctx context.Context, opts provider.DeleteOptions, keys ...string) error {
	if opts.IfVersion != "" && len(keys) > 0 {
		return p.run(ctx, Call{"delete", keys[0]}, func() error { return p.inner.Delete(ctx, opts, keys...) })
	}
	var failed provider.DeleteErrors
	var left []string
	for _, key := range keys {
		err := p.run(ctx, Call{"delete", key}, func() error {
			left = append(left, key) // to be deleted, even if it is then said to have failed
			return nil
		})
		var e *provider.Error
		switch {
		case errors.As(err, &e):
			failed = append(failed, e)
		case err != nil:
			return err
		}
	}
	if len(left) == 0 {
		return provider.NewDeleteError(failed)
	}
	err := p.inner.Delete(ctx, opts, left...)
	if len(failed) == 0 || err != nil && provider.Failed(err) == nil {
		return err
	}
	return provider.NewDeleteError(append(failed, provider.Failed(err)...))
}

// List fails by rules for "list", with the prefix as key. A page that comes is whole.
func (p *Provider) List(ctx context.Context, opts provider.ListOptions) (page provider.Page, err error) {
	err = p.run(ctx, Call{"list", opts.Prefix}, func() (err error) {
		page, err = p.inner.List(ctx, opts)
		return err
	})
	return page, err
}

// Usage fails by rules for "usage".
func (p *Provider) Usage(ctx context.Context) (u provider.Usage, err error) {
	err = p.run(ctx, Call{"usage", ""}, func() (err error) {
		u, err = p.inner.Usage(ctx)
		return err
	})
	return u, err
}

// Create fails by rules for "create".
func (p *Provider) Create(ctx context.Context) error {
	return p.run(ctx, Call{"create", ""}, func() error { return p.inner.Create(ctx) })
}

// Close closes the store. It never fails by a rule.
func (p *Provider) Close() error { return p.inner.Close() }

type upload struct {
	inner provider.Upload
	p     *Provider
	key   string
}

func (u *upload) ID() string { return u.inner.ID() }

func (u *upload) PutPart(ctx context.Context, number int, body io.ReadSeeker, size int64) (part provider.Part, err error) {
	c := Call{"upload.putpart", u.key}
	r := u.p.match(c)
	err = r.send(ctx, c, body, func() (err error) {
		part, err = u.inner.PutPart(ctx, number, body, size)
		return err
	})
	return part, err
}

func (u *upload) CopyPart(ctx context.Context, number int, src string, opts provider.CopyPartOptions) (part provider.Part, err error) {
	err = u.p.run(ctx, Call{"upload.copypart", u.key}, func() (err error) {
		part, err = u.inner.CopyPart(ctx, number, src, opts)
		return err
	})
	return part, err
}

func (u *upload) Complete(ctx context.Context, parts []provider.Part, opts provider.CompleteOptions) (o provider.Object, err error) {
	err = u.p.run(ctx, Call{"upload.complete", u.key}, func() (err error) {
		o, err = u.inner.Complete(ctx, parts, opts)
		return err
	})
	return o, err
}

func (u *upload) Abort(ctx context.Context) error {
	return u.p.run(ctx, Call{"upload.abort", u.key}, func() error { return u.inner.Abort(ctx) })
}

// Package listahead answers listings of directories from one flat listing of many, for whoever goes through them in order.
//
// A crawl of a store of which nothing is known lists each directory, and most have few keys. So who lists a directory soon after
// one that comes before it in the same parent is taken for a crawler: instead of the directory the keys of the parent are
// listed flat, from there on, and the page tells of the directories that follow too. Each is told from it once, within
// ten seconds. So a crawl of n keys costs about one request for each full page, and not one for each directory.
//
// What this process changes meanwhile is seen: a directory in or below which something is being changed, or was since the page was asked
// for, is asked of the store. What others change is seen as late as ten seconds. A flat listing that the caller makes is a look at
// the store as it is: nothing is told afterwards that was listed before its end.
//
// Where directories exist by themselves, or a listing brings metadata, a flat listing does not tell the same, and everything
// is passed on as it is.
package listahead

import (
	"context"
	"io"
	"strings"
	"sync"
	"time"

	"sharefs/provider"
)

const (
	maxAge     = 10 * time.Second // of a page, and between two listings of a crawler
	maxWindows = 4                // pages that are kept
)

// Provider answers listings ahead. Make it with New.
type Provider struct {
	inner provider.Provider
	off   bool

	mu      sync.Mutex
	windows []*window      // the newest last; guarded by mu
	last    map[int]listed // by depth: the directory that was listed last; guarded by mu
	busy    map[string]int // keys that are being changed, and how often; guarded by mu
}

// listed is a directory that was listed.
type listed struct {
	parent, name string
	at           time.Time
	vain         bool // a page of the parent did not even tell of one directory
}

var (
	_ provider.Provider = (*Provider)(nil)
	_ provider.Upload   = (*upload)(nil)
)

// New returns a provider that answers listings of inner ahead.
func New(inner provider.Provider) *Provider {
	caps := inner.Capabilities()
	return &Provider{inner: inner, off: caps.Directories || caps.ListMetadata, last: map[int]listed{}, busy: map[string]int{}}
}

// List answers from a page that is here, or asks the store.
func (p *Provider) List(ctx context.Context, opts provider.ListOptions) (provider.Page, error) {
	switch {
	case p.off:
		return p.inner.List(ctx, opts)
	case opts.Flat:
		p.forget()
		defer p.forget()
		return p.inner.List(ctx, opts)
	case opts.Prefix == "" || opts.After != "" || opts.Token != "" || opts.Limit != 0:
		return p.inner.List(ctx, opts)
	}
	for {
		page, w, fetch := p.look(opts.Prefix)
		switch {
		case fetch:
			if err := p.fetch(ctx, w); err != nil {
				return provider.Page{}, err
			}
		case w != nil: // another one fetches it
			select {
			case <-w.done:
			case <-ctx.Done():
				return provider.Page{}, ctx.Err()
			}
		case page != nil:
			return *page, nil
		default:
			return p.inner.List(ctx, opts)
		}
	}
}

// look returns the answer for a directory; or a window that may have it soon, which the caller is to fetch or to wait for; or
// nothing.
func (p *Provider) look(dir string) (page *provider.Page, w *window, fetch bool) {
	parent, name := split(dir)
	depth := strings.Count(parent, "/")
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.last[depth]
	now := time.Now()
	in := before.parent == parent && now.Sub(before.at) < maxAge
	p.last[depth] = listed{parent, name, now, in && before.vain}
	for _, w := range p.windows {
		switch {
		case !w.mayTell(dir, now):
		case !w.fetched:
			return nil, w, false
		case w.tells(dir):
			w.spent[dir] = true
			return w.page(dir), nil, false
		}
	}
	if !in || before.vain || before.name >= name {
		// The same name: its page, which was just fetched, does not tell of it.
		if in && before.name == name {
			p.last[depth] = listed{parent, name, now, true}
		}
		return nil, nil, false
	}
	w = newWindow(parent, parent+name+".", now) // the byte before the slash
	for key := range p.busy {
		w.spend(key)
	}
	p.windows = append(p.windows, w)
	if len(p.windows) > maxWindows {
		p.windows = p.windows[1:]
	}
	return nil, w, true
}

// split returns a directory's parent, empty or with a slash at its end, and its name without one.
func split(dir string) (parent, name string) {
	dir = strings.TrimSuffix(dir, "/")
	i := strings.LastIndexByte(dir, '/') + 1
	return dir[:i], dir[i:]
}

// fetch asks the store for a window's page.
func (p *Provider) fetch(ctx context.Context, w *window) error {
	page, err := p.inner.List(ctx, provider.ListOptions{Prefix: w.prefix, After: w.after, Flat: true})
	p.mu.Lock()
	defer p.mu.Unlock()
	defer close(w.done)
	w.fetched = true
	if err != nil {
		w.dead = true
		return err
	}
	w.objects, w.whole = page.Objects, page.Next == ""
	return nil
}

// forget lets nothing be told of what was listed up to now.
func (p *Provider) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.windows {
		w.dead = true
	}
	p.windows = nil
}

// change notes that keys are being changed, until the function that it returns is called.
func (p *Provider) change(keys ...string) (done func()) {
	p.note(1, keys)
	return func() { p.note(-1, keys) }
}

func (p *Provider) note(n int, keys []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range keys {
		if p.busy[key] += n; p.busy[key] == 0 {
			delete(p.busy, key)
		}
		for _, w := range p.windows {
			w.spend(key)
		}
	}
}

// String is that of the store below.
func (p *Provider) String() string { return p.inner.String() }

// Capabilities are those of the store below.
func (p *Provider) Capabilities() provider.Capabilities { return p.inner.Capabilities() }

// Stat asks the store.
func (p *Provider) Stat(ctx context.Context, key string) (provider.Object, error) {
	return p.inner.Stat(ctx, key)
}

// Open reads from the store.
func (p *Provider) Open(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
	return p.inner.Open(ctx, key, opts)
}

// Put changes a key.
func (p *Provider) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
	defer p.change(key)()
	return p.inner.Put(ctx, key, body, size, opts)
}

// NewUpload starts an upload, which changes its key when it is completed.
func (p *Provider) NewUpload(ctx context.Context, key string, opts provider.UploadOptions) (provider.Upload, error) {
	u, err := p.inner.NewUpload(ctx, key, opts)
	if err != nil {
		return nil, err
	}
	return &upload{u, p, key}, nil
}

// ListUploads asks the store.
func (p *Provider) ListUploads(ctx context.Context, prefix string) ([]provider.UploadInfo, error) {
	return p.inner.ListUploads(ctx, prefix)
}

// AbortUpload changes no key.
func (p *Provider) AbortUpload(ctx context.Context, key, id string) error {
	return p.inner.AbortUpload(ctx, key, id)
}

// Copy changes a key.
func (p *Provider) Copy(ctx context.Context, src, dst string, opts provider.CopyOptions) (provider.Object, error) {
	defer p.change(dst)()
	return p.inner.Copy(ctx, src, dst, opts)
}

// Move changes two keys.
func (p *Provider) Move(ctx context.Context, src, dst string) (provider.Object, error) {
	defer p.change(src, dst)()
	return p.inner.Move(ctx, src, dst)
}

// Delete changes keys.
func (p *Provider) Delete(ctx context.Context, opts provider.DeleteOptions, keys ...string) error {
	defer p.change(keys...)()
	return p.inner.Delete(ctx, opts, keys...)
}

// Usage asks the store.
func (p *Provider) Usage(ctx context.Context) (provider.Usage, error) { return p.inner.Usage(ctx) }

// Create makes the store.
func (p *Provider) Create(ctx context.Context) error { return p.inner.Create(ctx) }

// Close closes the store below.
func (p *Provider) Close() error { return p.inner.Close() }

// upload is an upload whose end changes a key.
type upload struct {
	provider.Upload
	p   *Provider
	key string
}

// Complete changes the key.
func (u *upload) Complete(ctx context.Context, parts []provider.Part, opts provider.CompleteOptions) (provider.Object, error) {
	defer u.p.change(u.key)()
	return u.Upload.Complete(ctx, parts, opts)
}

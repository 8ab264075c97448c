package commit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"sharefs/provider"
)

// strict is a store that takes no object above or below another one, as stores do that keep objects as files.
type strict struct{ provider.Provider }

func (s strict) check(ctx context.Context, op, key string, moving string) error {
	path := strings.TrimSuffix(key, "/")
	conflict := func(why string) error {
		return &provider.Error{Op: op, Key: key, Kind: provider.KindConflict, Err: errors.New(why)}
	}
	for i := range path {
		if path[i] != '/' {
			continue
		}
		if _, err := s.Provider.Stat(ctx, path[:i]); err == nil {
			return conflict("there is an object at " + path[:i])
		}
	}
	if strings.HasSuffix(key, "/") {
		if _, err := s.Provider.Stat(ctx, path); err == nil {
			return conflict("there is an object in the place of the directory")
		}
		return nil
	}
	page, err := s.Provider.List(ctx, provider.ListOptions{Prefix: path + "/", Flat: true, Limit: 2})
	for _, o := range page.Objects {
		if o.Key != moving {
			return conflict("there is an object below it: " + o.Key)
		}
	}
	return err
}

func (s strict) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o provider.PutOptions) (provider.Object, error) {
	if err := s.check(ctx, "put", key, ""); err != nil {
		return provider.Object{}, err
	}
	return s.Provider.Put(ctx, key, body, size, o)
}

func (s strict) NewUpload(ctx context.Context, key string, o provider.UploadOptions) (provider.Upload, error) {
	u, err := s.Provider.NewUpload(ctx, key, o)
	return strictUpload{u, s, key}, err
}

type strictUpload struct {
	provider.Upload
	s   strict
	key string
}

func (u strictUpload) Complete(ctx context.Context, parts []provider.Part, o provider.CompleteOptions) (provider.Object, error) {
	if err := u.s.check(ctx, "upload.complete", u.key, ""); err != nil {
		return provider.Object{}, err
	}
	return u.Upload.Complete(ctx, parts, o)
}

func (s strict) Copy(ctx context.Context, src, dst string, o provider.CopyOptions) (provider.Object, error) {
	if err := s.check(ctx, "copy", dst, ""); err != nil {
		return provider.Object{}, err
	}
	return s.Provider.Copy(ctx, src, dst, o)
}

func (s strict) Move(ctx context.Context, src, dst string) (provider.Object, error) {
	if err := s.check(ctx, "move", dst, src); err != nil {
		return provider.Object{}, err
	}
	return s.Provider.Move(ctx, src, dst)
}

// directories is a store with directories: one that is not empty cannot be deleted.
type directories struct{ provider.Provider }

func (d directories) Capabilities() provider.Capabilities {
	caps := d.Provider.Capabilities()
	caps.Directories = true
	return caps
}

func (d directories) Delete(ctx context.Context, o provider.DeleteOptions, keys ...string) error {
	var failed provider.DeleteErrors
	for _, key := range keys {
		page, err := d.List(ctx, provider.ListOptions{Prefix: key, Flat: true, Limit: 2})
		if err != nil {
			return err
		}
		if strings.HasSuffix(key, "/") && slices.ContainsFunc(page.Objects, func(o provider.Object) bool { return o.Key != key }) {
			failed = append(failed, &provider.Error{Op: "delete", Key: key, Kind: provider.KindNotEmpty})
		} else if err := d.Provider.Delete(ctx, o, key); err != nil {
			return err
		}
	}
	return provider.NewDeleteError(failed)
}

// call is one request that changes the store.
type call struct {
	op     string
	at     time.Duration // since the tracer was made
	keys   keySet
	failed error
}

// tracer notes the requests that change a store, lets each take its time, and sees that conflicting ones do not overlap.
type tracer struct {
	provider.Provider
	start time.Time
	takes func(op, key string) time.Duration // nil: no time

	mu       sync.Mutex
	calls    []*call
	inFlight map[*call]bool
	most     int
	overlap  error
}

func newTracer(p provider.Provider) *tracer {
	return &tracer{Provider: p, start: time.Now(), inFlight: map[*call]bool{}}
}

func (tr *tracer) do(ctx context.Context, op string, ks keySet, f func() error) error {
	c := &call{op: op, keys: ks, at: time.Since(tr.start)}
	tr.mu.Lock()
	for other := range tr.inFlight {
		if conflict(ks, other.keys) {
			tr.overlap = errors.Join(tr.overlap, fmt.Errorf("%s %v while %s %v was under way", op, ks, other.op, other.keys))
		}
	}
	tr.calls = append(tr.calls, c)
	tr.inFlight[c] = true
	tr.most = max(tr.most, len(tr.inFlight))
	var takes time.Duration
	if tr.takes != nil {
		takes = tr.takes(op, ks.writes[0])
	}
	tr.mu.Unlock()
	if takes > 0 { // in a bubble, two timers of no time at once crash the race detector (Go 1.26)
		select {
		case <-time.After(takes):
		case <-ctx.Done():
		}
	}
	err := f()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	delete(tr.inFlight, c)
	c.failed = err
	return err
}

func (tr *tracer) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o provider.PutOptions) (obj provider.Object, err error) {
	err = tr.do(ctx, "put", keySet{writes: []string{key}}, func() error {
		obj, err = tr.Provider.Put(ctx, key, body, size, o)
		return err
	})
	return obj, err
}

func (tr *tracer) Copy(ctx context.Context, src, dst string, o provider.CopyOptions) (obj provider.Object, err error) {
	ks := keySet{writes: []string{dst}}
	if src != dst {
		ks.reads = []string{src}
	}
	err = tr.do(ctx, "copy", ks, func() error {
		obj, err = tr.Provider.Copy(ctx, src, dst, o)
		return err
	})
	return obj, err
}

// NewUpload makes an upload whose end is traced, as a "patch" of what was copied from. What it does before, the queue is trusted
// to keep apart as well.
func (tr *tracer) NewUpload(ctx context.Context, key string, o provider.UploadOptions) (provider.Upload, error) {
	u, err := tr.Provider.NewUpload(ctx, key, o)
	if err != nil {
		return nil, err
	}
	return &tracedUpload{Upload: u, tr: tr, key: key}, nil
}

type tracedUpload struct {
	provider.Upload
	tr   *tracer
	key  string
	mu   sync.Mutex
	from string
}

func (u *tracedUpload) CopyPart(ctx context.Context, number int, src string, o provider.CopyPartOptions) (provider.Part, error) {
	u.mu.Lock()
	u.from = src
	u.mu.Unlock()
	return u.Upload.CopyPart(ctx, number, src, o)
}

func (u *tracedUpload) Complete(ctx context.Context, parts []provider.Part, o provider.CompleteOptions) (obj provider.Object, err error) {
	ks := keySet{writes: []string{u.key}}
	if u.from != u.key {
		ks.reads = []string{u.from}
	}
	err = u.tr.do(ctx, "patch", ks, func() error {
		obj, err = u.Upload.Complete(ctx, parts, o)
		return err
	})
	return obj, err
}

func (tr *tracer) Move(ctx context.Context, src, dst string) (obj provider.Object, err error) {
	err = tr.do(ctx, "move", keySet{writes: []string{dst, src}}, func() error {
		obj, err = tr.Provider.Move(ctx, src, dst)
		return err
	})
	return obj, err
}

func (tr *tracer) Delete(ctx context.Context, o provider.DeleteOptions, keys ...string) error {
	return tr.do(ctx, "delete", keySet{writes: slices.Clone(keys)}, func() error { return tr.Provider.Delete(ctx, o, keys...) })
}

// did returns the requests so far, as "put a", "copy a>b", "delete a b".
func (tr *tracer) did() (list []string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, c := range tr.calls {
		list = append(list, c.String())
	}
	return list
}

// times returns when the requests for a key were sent.
func (tr *tracer) times(op, key string) (list []time.Duration) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, c := range tr.calls {
		if c.op == op && slices.Contains(c.keys.writes, key) {
			list = append(list, c.at)
		}
	}
	return list
}

func (c *call) String() string {
	switch {
	case c.op == "move":
		return "move " + c.keys.writes[1] + ">" + c.keys.writes[0]
	case (c.op == "copy" || c.op == "patch") && len(c.keys.reads) > 0:
		return c.op + " " + c.keys.reads[0] + ">" + c.keys.writes[0]
	case c.op == "delete":
		keys := slices.Clone(c.keys.writes)
		slices.Sort(keys)
		return "delete " + strings.Join(keys, " ")
	}
	return c.op + " " + c.keys.writes[0]
}

func (tr *tracer) forget() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.calls = nil
}

// objects returns what is in a store: keys and contents.
func objects(ctx context.Context, p provider.Provider) (map[string]string, error) {
	all := map[string]string{}
	for token := ""; ; {
		page, err := p.List(ctx, provider.ListOptions{Flat: true, Token: token})
		if err != nil {
			return nil, err
		}
		for _, o := range page.Objects {
			r, _, err := p.Open(ctx, o.Key, provider.OpenOptions{})
			if err != nil {
				return nil, err
			}
			b, err := io.ReadAll(r)
			r.Close()
			if err != nil {
				return nil, err
			}
			all[o.Key] = string(b)
		}
		if page.Next == "" {
			return all, nil
		}
		token = page.Next
	}
}

var errNoNet = errors.New("no network")

// failDeletes fails every Delete, and cannot say which keys are concerned.
type failDeletes struct{ provider.Provider }

func (failDeletes) Delete(context.Context, provider.DeleteOptions, ...string) error {
	return &provider.Error{Op: "delete", Kind: provider.KindUnavailable, Err: errNoNet}
}

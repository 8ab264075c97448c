package providertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sharefs/provider"
)

// tester is one case at work. Its methods take full keys; key makes them.
type tester struct {
	*testing.T
	cfg    Config
	p      provider.Provider
	caps   provider.Capabilities
	ctx    context.Context
	prefix string // ends in "/", no other case uses it
}

// sub runs a part of a case as a subtest that shares the prefix.
func (t *tester) sub(name string, run func(t *tester)) {
	t.Helper()
	t.Run(name, func(tt *testing.T) {
		s := *t
		s.T = tt
		run(&s)
	})
}

func (t *tester) key(name string) string { return t.prefix + name }

func (t *tester) keys(names ...string) []string {
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = t.key(name)
	}
	return keys
}

func (t *tester) put(key string, data []byte, md provider.Metadata) provider.Object {
	t.Helper()
	given := maps.Clone(md)
	o, err := t.p.Put(t.ctx, key, bytes.NewReader(data), int64(len(data)), provider.PutOptions{Metadata: given})
	if err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
	if !maps.Equal(given, md) {
		t.Fatalf("put %q changed the caller's metadata to %v", key, given)
	}
	if o.Key != key || o.Size != int64(len(data)) {
		t.Fatalf("put %q of %d bytes returned key %q, size %d", key, len(data), o.Key, o.Size)
	}
	return o
}

func (t *tester) putString(key, data string) provider.Object {
	t.Helper()
	return t.put(key, []byte(data), nil)
}

func (t *tester) stat(key string) provider.Object {
	t.Helper()
	o, err := t.p.Stat(t.ctx, key)
	if err != nil {
		t.Fatalf("stat %q: %v", key, err)
	}
	return o
}

// open returns what Open reads, and its object.
func (t *tester) open(key string, opts provider.OpenOptions) ([]byte, provider.Object, error) {
	r, o, err := t.p.Open(t.ctx, key, opts)
	if err != nil {
		return nil, o, err
	}
	data, err := io.ReadAll(r)
	return data, o, errors.Join(err, r.Close())
}

func (t *tester) get(key string) ([]byte, provider.Object) {
	t.Helper()
	data, o, err := t.open(key, provider.OpenOptions{})
	if err != nil {
		t.Fatalf("open %q: %v", key, err)
	}
	return data, o
}

func (t *tester) delete(keys ...string) {
	t.Helper()
	if err := t.p.Delete(t.ctx, provider.DeleteOptions{}, keys...); err != nil {
		t.Fatalf("delete %q: %v", keys, err)
	}
}

func (t *tester) wantContent(key string, want []byte) {
	t.Helper()
	got, o := t.get(key)
	if !bytes.Equal(got, want) {
		t.Fatalf("%q has %s, want %s", key, shown(got), shown(want))
	}
	if o.Size != int64(len(want)) {
		t.Fatalf("open %q returned size %d, want %d", key, o.Size, len(want))
	}
}

// wantOneOf is for the cases whose outcome is one of several whole objects.
func (t *tester) wantOneOf(key string, wants ...[]byte) []byte {
	t.Helper()
	got, _ := t.get(key)
	for _, want := range wants {
		if bytes.Equal(got, want) {
			return want
		}
	}
	t.Fatalf("%q has %s, which nobody put there whole", key, shown(got))
	return nil
}

func (t *tester) wantMissing(key string) {
	t.Helper()
	_, err := t.p.Stat(t.ctx, key)
	t.wantError(err, "stat", provider.KindNotFound, key)
	_, _, err = t.open(key, provider.OpenOptions{})
	t.wantError(err, "open", provider.KindNotFound, key)
}

// wantError demands a *provider.Error with the op, the kind and one of the keys.
func (t *tester) wantError(err error, op string, kind provider.Kind, keys ...string) {
	t.Helper()
	if problem := checkError(err, op, kind, keys...); problem != "" {
		t.Fatal(problem)
	}
}

func checkError(err error, op string, kind provider.Kind, keys ...string) string {
	if err == nil {
		return fmt.Sprintf("%s succeeded, want %q", op, kind)
	}
	var e *provider.Error
	if !errors.As(err, &e) {
		return fmt.Sprintf("%s: %v (%T) is not a *provider.Error", op, err, err)
	}
	if e.Kind != kind {
		return fmt.Sprintf("%s: kind %q, want %q: %v", op, e.Kind, kind, err)
	}
	if e.Op != op {
		return fmt.Sprintf("the error's op is %q, want %q: %v", e.Op, op, err)
	}
	if !slices.Contains(keys, e.Key) {
		return fmt.Sprintf("the error names key %q, want one of %q: %v", e.Key, keys, err)
	}
	notExist := kind == provider.KindNotFound || kind == provider.KindNoStore
	if errors.Is(err, fs.ErrNotExist) != notExist {
		return fmt.Sprintf("%s: errors.Is(err, fs.ErrNotExist) is %v: %v", op, !notExist, err)
	}
	return ""
}

// list returns all objects that the pages bring, and checks what holds for every page.
func (t *tester) list(opts provider.ListOptions) []provider.Object {
	t.Helper()
	objects, err := t.tryList(opts)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func (t *tester) tryList(opts provider.ListOptions) ([]provider.Object, error) {
	var all []provider.Object
	if most := t.caps.MaxListPage; most > 0 {
		opts.Limit = min(opts.Limit, most)
	}
	last, limit := opts.After, opts.Limit
	if limit == 0 {
		limit = t.caps.MaxListPage
	}
	for pages := 0; ; pages++ {
		page, err := t.p.List(t.ctx, opts)
		if err != nil {
			return nil, fmt.Errorf("list %+v: %w", opts, err)
		}
		if limit > 0 && len(page.Objects) > limit {
			return nil, fmt.Errorf("list %+v: %d objects on a page, the limit is %d", opts, len(page.Objects), limit)
		}
		for _, o := range page.Objects {
			if o.Key <= last {
				return nil, fmt.Errorf("list %+v: %q comes after %q", opts, o.Key, last)
			}
			if !strings.HasPrefix(o.Key, opts.Prefix) {
				return nil, fmt.Errorf("list %+v: %q is not below the prefix", opts, o.Key)
			}
			last = o.Key
		}
		all = append(all, page.Objects...)
		if page.Next == "" {
			return all, nil
		}
		if pages > 10000 {
			return nil, fmt.Errorf("list %+v: does not end", opts)
		}
		opts.Token = page.Next
	}
}

// wantListed compares the keys of a whole listing, and waits for them where listings lag.
func (t *tester) wantListed(opts provider.ListOptions, want []string) {
	t.Helper()
	t.settled(func() error {
		objects, err := t.tryList(opts)
		if err != nil {
			return err
		}
		if got := keysOf(objects); !slices.Equal(got, want) {
			return fmt.Errorf("list %+v:\n got %q\nwant %q", opts, got, want)
		}
		return nil
	})
}

// settled runs check until it holds: once where the store is Consistent, else for Config.Settle.
func (t *tester) settled(check func() error) {
	t.Helper()
	deadline := time.Now().Add(t.cfg.Settle)
	for {
		err := check()
		if err == nil {
			return
		}
		if t.caps.Consistent || time.Now().After(deadline) {
			t.Fatal(err)
		}
		t.pause(50 * time.Millisecond)
	}
}

// passGrain waits until the store's clock shows a later time than that of the changes before.
func (t *tester) passGrain() { t.pause(t.caps.TimeGrain + t.caps.TimeGrain/10) }

func (t *tester) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.ctx.Done():
		t.Fatal(t.ctx.Err())
	}
}

// withDirs returns keys with the directories that exist because of them, where directories exist by themselves: what a
// Flat listing below the case's prefix shows.
func (t *tester) withDirs(keys []string) []string {
	set := map[string]bool{}
	for _, key := range keys {
		set[key] = true
		if !t.caps.Directories {
			continue
		}
		for dir := parent(key); len(dir) >= len(t.prefix); dir = parent(dir) {
			set[dir] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// parent returns the directory of a key, with its slash, or "".
func parent(key string) string {
	return key[:strings.LastIndexByte(strings.TrimSuffix(key, "/"), '/')+1]
}

func keysOf(objects []provider.Object) []string {
	keys := make([]string, len(objects))
	for i, o := range objects {
		keys[i] = o.Key
	}
	return keys
}

func shown(data []byte) string {
	if len(data) > 40 {
		return fmt.Sprintf("%d bytes %q…", len(data), data[:40])
	}
	return fmt.Sprintf("%d bytes %q", len(data), data)
}

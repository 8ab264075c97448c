package prefix_test

import (
	"context"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
	"sharefs/provider/prefix"
	"sharefs/provider/providertest"
)

func mustNew(t *testing.T, inner provider.Provider, pre string) *prefix.Provider {
	t.Helper()
	p, err := prefix.New(inner, pre)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustPut(t *testing.T, p provider.Provider, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, err := p.Put(t.Context(), key, strings.NewReader(""), 0, provider.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConformance(t *testing.T) {
	for _, pre := range []string{"", "a", "team a/b%c/"} {
		t.Run("prefix "+pre, func(t *testing.T) {
			providertest.Run(t, providertest.Config{New: func(t *testing.T) provider.Provider {
				inner := mem.New(mem.Options{})
				mustPut(t, inner, "0", "a.", "a0", "team a", "team b/x", "z")
				if pre == "" {
					inner = mem.New(mem.Options{})
				}
				return mustNew(t, inner, pre)
			}})
		})
	}
}

func TestNothingOutsideIsSeenOrTouched(t *testing.T) {
	inner := mem.New(mem.Options{})
	outside := []string{"a", "a.", "a/", "ab", "ab/x", "b/x", "x"}
	mustPut(t, inner, outside...)
	p := mustNew(t, inner, "a")
	if page, err := p.List(t.Context(), provider.ListOptions{Flat: true}); err != nil || len(page.Objects) != 0 {
		t.Errorf("%v, %v", page, err)
	}
	mustPut(t, p, "x", "y/z")
	for _, tc := range []struct {
		opts provider.ListOptions
		want []string
	}{
		{provider.ListOptions{}, []string{"x", "y/"}},
		{provider.ListOptions{Flat: true}, []string{"x", "y/z"}},
		{provider.ListOptions{Flat: true, After: "x"}, []string{"y/z"}},
		{provider.ListOptions{Prefix: "y/"}, []string{"y/z"}},
	} {
		page, err := p.List(t.Context(), tc.opts)
		var keys []string
		for _, o := range page.Objects {
			keys = append(keys, o.Key)
		}
		if err != nil || !slices.Equal(keys, tc.want) {
			t.Errorf("%+v: %q (%v), want %q", tc.opts, keys, err, tc.want)
		}
	}
	if err := p.Delete(t.Context(), provider.DeleteOptions{}, "x", "y/z", "a", "b/x"); err != nil {
		t.Error(err)
	}
	page, err := inner.List(t.Context(), provider.ListOptions{Flat: true})
	if err != nil || len(page.Objects) != len(outside) {
		t.Errorf("%v (%v), want %q", page.Objects, err, outside)
	}
}

func TestErrorsNameKeysWithoutThePrefix(t *testing.T) {
	f := faulty.New(mem.New(mem.Options{}), faulty.Options{})
	p := mustNew(t, f, "deep/er")
	mustPut(t, p, "k", "l")
	u, err := p.NewUpload(t.Context(), "k", provider.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.Add(faulty.Rule{Ops: []string{"open"}, Times: 1, Effect: faulty.CutBody})
	body, _, err := p.Open(t.Context(), "k", provider.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	f.Add(faulty.Rule{})
	ctx, text := t.Context(), func() io.ReadSeeker { return strings.NewReader("") }
	for name, call := range map[string]func() error{
		"stat":       func() error { _, err := p.Stat(ctx, "k"); return err },
		"open":       func() error { _, _, err := p.Open(ctx, "k", provider.OpenOptions{}); return err },
		"read":       func() error { _, err := body.Read(make([]byte, 1)); return err },
		"put":        func() error { _, err := p.Put(ctx, "k", text(), 0, provider.PutOptions{}); return err },
		"newupload":  func() error { _, err := p.NewUpload(ctx, "k", provider.UploadOptions{}); return err },
		"listupload": func() error { _, err := p.ListUploads(ctx, "k"); return err },
		"abort":      func() error { return p.AbortUpload(ctx, "k", "1") },
		"copy":       func() error { _, err := p.Copy(ctx, "l", "k", provider.CopyOptions{}); return err },
		"move":       func() error { _, err := p.Move(ctx, "l", "k"); return err },
		"delete":     func() error { return p.Delete(ctx, provider.DeleteOptions{}, "k") },
		"delete two": func() error { return p.Delete(ctx, provider.DeleteOptions{}, "k", "l") },
		"list":       func() error { _, err := p.List(ctx, provider.ListOptions{Prefix: "k"}); return err },
		"putpart":    func() error { _, err := u.PutPart(ctx, 1, text(), 0); return err },
		"copypart":   func() error { _, err := u.CopyPart(ctx, 1, "l", provider.CopyPartOptions{Length: 1}); return err },
		"complete":   func() error { _, err := u.Complete(ctx, nil, provider.CompleteOptions{}); return err },
		"uabort":     func() error { return u.Abort(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			err := call()
			e, ok := err.(*provider.Error)
			if !ok || e.Key != "k" || strings.Contains(err.Error(), "deep") {
				t.Errorf("%v", err)
			}
			for _, e := range provider.Failed(err) {
				if strings.Contains(e.Key, "deep") {
					t.Errorf("%v", e)
				}
			}
		})
	}
}

func TestContextErrorsPassUnchanged(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := mustNew(t, mem.New(mem.Options{}), "a").Stat(ctx, "k"); err != context.Canceled {
		t.Error(err)
	}
}

func TestThePrefixTakesItsBytesFromTheLongestKey(t *testing.T) {
	caps := mem.Full()
	caps.MaxKey = 10
	inner := mem.New(mem.Options{Capabilities: caps})
	if got := mustNew(t, inner, "abc").Capabilities().MaxKey; got != 6 {
		t.Errorf("MaxKey %d, want 6", got)
	}
	for _, bad := range []string{"abcdefghij", "abcdefghi", "/", "/a", "a//b", "a/../b", ".", "a//", "\xff"} {
		if _, err := prefix.New(inner, bad); !provider.Is(err, provider.KindInvalid) {
			t.Errorf("prefix %q: %v", bad, err)
		}
	}
}

// named is a store with a URL of its own.
type named struct {
	*mem.Store
	url string
}

func (n named) String() string { return n.url }

func TestStringShowsThePrefix(t *testing.T) {
	for _, tc := range []struct{ url, prefix, want string }{
		{"s3://bucket", "a/b", "s3://bucket/a/b"},
		{"s3://bucket", "", "s3://bucket"},
		{"s3://bucket?endpoint=http%3A%2F%2F127.0.0.1%3A9000", "a/", "s3://bucket/a?endpoint=http%3A%2F%2F127.0.0.1%3A9000"},
		{"s3://bucket", "a b%/#?", "s3://bucket/a%20b%25/%23%3F"},
		{"file:///srv/data", "a", "file:///srv/data/a"},
		{"mem:", "a", "mem:/a"},
		{"mem:name", "a b", "mem:name/a%20b"},
	} {
		got := mustNew(t, named{mem.New(mem.Options{}), tc.url}, tc.prefix).String()
		if got != tc.want {
			t.Errorf("%s below %q is %s, want %s", tc.url, tc.prefix, got, tc.want)
		}
		if _, err := url.Parse(got); err != nil {
			t.Error(err)
		}
	}
}

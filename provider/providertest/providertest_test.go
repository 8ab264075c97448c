package providertest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/provider/mem"
	"sharefs/provider/providertest"
)

// brokenName selects, in a child process, the broken provider on which the suite runs there.
const brokenName = "PROVIDERTEST_BROKEN"

// faults are providers that break one sentence of the contract each, and the case that must notice.
var faults = map[string]struct {
	apply func(p *broken)
	noted string
}{
	"a missing object is some error": {func(p *broken) {
		p.stat = func(ctx context.Context, key string) (provider.Object, error) {
			o, err := p.Provider.Stat(ctx, key)
			if provider.Is(err, provider.KindNotFound) {
				err = &provider.Error{Op: "stat", Key: key}
			}
			return o, err
		}
	}, "Stat/a_missing_object_is_KindNotFound"},
	"errors without a type": {func(p *broken) {
		p.stat = func(ctx context.Context, key string) (provider.Object, error) {
			o, err := p.Provider.Stat(ctx, key)
			if err != nil && ctx.Err() == nil {
				err = fmt.Errorf("no %s", key)
			}
			return o, err
		}
	}, "Stat/a_missing_object_is_KindNotFound"},
	"a context's error is dressed up": {func(p *broken) {
		p.stat = func(ctx context.Context, key string) (provider.Object, error) {
			o, err := p.Provider.Stat(ctx, key)
			if ctx.Err() != nil {
				err = &provider.Error{Op: "stat", Key: key, Kind: provider.KindUnavailable, Err: err}
			}
			return o, err
		}
	}, "Error/a_context's_error_is_nobody's_else"},
	"metadata is lost": {func(p *broken) {
		p.put = func(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
			delete(opts.Metadata, provider.MetaCtime)
			return p.Provider.Put(ctx, key, body, size, opts)
		}
	}, "Metadata/what_Put_was_given_comes_back"},
	"a content type is lost": {func(p *broken) {
		p.put = func(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
			opts.ContentType = ""
			return p.Provider.Put(ctx, key, body, size, opts)
		}
	}, "ContentType/what_Put_was_given_comes_back"},
	"a copy keeps the content type of its source": {func(p *broken) {
		p.copy = func(ctx context.Context, src, dst string, opts provider.CopyOptions) (provider.Object, error) {
			if o, err := p.Provider.Stat(ctx, src); err == nil && opts.ContentType == "" {
				opts.ContentType = o.ContentType
			}
			return p.Provider.Copy(ctx, src, dst, opts)
		}
	}, "ContentType/Copy_with_metadata_replaces_it"},
	"a content type that only Stat tells": {func(p *broken) {
		p.open = func(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
			r, o, err := p.Provider.Open(ctx, key, opts)
			o.ContentType = ""
			return r, o, err
		}
	}, "ContentType/what_Put_was_given_comes_back"},
	"the body is read from its start": {func(p *broken) {
		p.put = func(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
			_, _ = body.Seek(0, io.SeekStart)
			return p.Provider.Put(ctx, key, body, size, opts)
		}
	}, "Put/the_body_is_read_from_where_it_stands"},
	"a longer body is cut": {func(p *broken) {
		p.put = func(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
			data, err := io.ReadAll(io.LimitReader(body, size))
			if err != nil {
				return provider.Object{}, &provider.Error{Op: "put", Key: key, Err: err}
			}
			return p.Provider.Put(ctx, key, bytes.NewReader(data), size, opts)
		}
	}, "Put/a_body_of_another_size_stores_nothing"},
	"a cancelled Put leaves what it had": {func(p *broken) {
		p.put = func(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
			data, err := io.ReadAll(&interrupted{ctx, body})
			if ctx.Err() != nil {
				_, _ = p.Provider.Put(context.WithoutCancel(ctx), key, bytes.NewReader(data), int64(len(data)), opts)
				return provider.Object{}, ctx.Err()
			}
			if err != nil {
				return provider.Object{}, &provider.Error{Op: "put", Key: key, Err: err}
			}
			return p.Provider.Put(ctx, key, bytes.NewReader(data), size, opts)
		}
	}, "Cancel/a_cancelled_Put_leaves_a_whole_object"},
	"a Put in two steps": {func(p *broken) {
		p.put = func(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
			if err := p.Provider.Delete(ctx, provider.DeleteOptions{}, key); err != nil {
				return provider.Object{}, err
			}
			time.Sleep(time.Millisecond)
			return p.Provider.Put(ctx, key, body, size, opts)
		}
	}, "Atomic/readers_beside_a_writer_see_whole_objects"},
	"a condition that is not checked": {func(p *broken) {
		p.put = func(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
			opts.If = provider.Condition{}
			return p.Provider.Put(ctx, key, body, size, opts)
		}
	}, "Condition/Put_Absent"},
	"a condition that is checked before": {func(p *broken) {
		p.put = func(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
			if opts.If.Absent {
				if _, err := p.Provider.Stat(ctx, key); err == nil {
					return provider.Object{}, &provider.Error{Op: "put", Key: key, Kind: provider.KindPrecondition}
				}
				opts.If.Absent = false
				time.Sleep(time.Millisecond)
			}
			return p.Provider.Put(ctx, key, body, size, opts)
		}
	}, "Condition/writers_race_for_an_absent_key:_one_wins"},
	"a range beyond the end is an error": {func(p *broken) {
		p.open = func(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
			r, o, err := p.Provider.Open(ctx, key, opts)
			if err == nil && opts.Offset > o.Size {
				return nil, o, &provider.Error{Op: "open", Key: key, Kind: provider.KindInvalid}
			}
			return r, o, err
		}
	}, "Open/ranges"},
	"a version that is not checked": {func(p *broken) {
		p.open = func(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
			opts.IfVersion = ""
			return p.Provider.Open(ctx, key, opts)
		}
	}, "Open/IfVersion_reads_that_version_or_fails"},
	"a listing that ends too early": {func(p *broken) {
		p.list = func(ctx context.Context, opts provider.ListOptions) (provider.Page, error) {
			page, err := p.Provider.List(ctx, opts)
			if opts.Token != "" {
				page.Next = ""
			}
			return page, err
		}
	}, "List/every_prefix,_mode,_limit_and_start"},
	"a directory listed on two pages": {func(p *broken) {
		p.list = func(ctx context.Context, opts provider.ListOptions) (provider.Page, error) {
			opts.Token = strings.TrimSuffix(opts.Token, "/")
			return p.Provider.List(ctx, opts)
		}
	}, "List/every_prefix,_mode,_limit_and_start"},
	"After that is not beyond a directory": {func(p *broken) {
		p.list = func(ctx context.Context, opts provider.ListOptions) (provider.Page, error) {
			if i := strings.LastIndexByte(opts.After, '/'); i >= len(opts.Prefix) && !opts.Flat {
				opts.After = opts.After[:i]
			}
			return p.Provider.List(ctx, opts)
		}
	}, "List/every_prefix,_mode,_limit_and_start"},
	"listed metadata that was not fetched": {func(p *broken) {
		p.list = func(ctx context.Context, opts provider.ListOptions) (provider.Page, error) {
			page, err := p.Provider.List(ctx, opts)
			for i := range page.Objects {
				page.Objects[i].Metadata = nil
			}
			return page, err
		}
	}, "Identity/Stat,_Open_and_List_tell_the_same"},
	"Delete of a missing object fails": {func(p *broken) {
		p.delete = func(ctx context.Context, opts provider.DeleteOptions, keys ...string) error {
			for _, key := range keys {
				if _, err := p.Provider.Stat(ctx, key); err != nil {
					return &provider.Error{Op: "delete", Key: key, Kind: provider.KindNotFound}
				}
			}
			return p.Provider.Delete(ctx, opts, keys...)
		}
	}, "Delete/a_missing_object_is_no_error"},
	"a copy without metadata": {func(p *broken) {
		p.copy = func(ctx context.Context, src, dst string, opts provider.CopyOptions) (provider.Object, error) {
			if opts.Metadata == nil {
				opts.Metadata = provider.Metadata{}
			}
			return p.Provider.Copy(ctx, src, dst, opts)
		}
	}, "Copy/bytes_and_metadata"},
	"metadata that are merged": {func(p *broken) {
		p.copy = func(ctx context.Context, src, dst string, opts provider.CopyOptions) (provider.Object, error) {
			old, err := p.Provider.Stat(ctx, src)
			if err == nil && opts.Metadata != nil {
				for name, value := range opts.Metadata {
					old.Metadata[name] = value
				}
				opts.Metadata = old.Metadata
			}
			return p.Provider.Copy(ctx, src, dst, opts)
		}
	}, "Copy/other_metadata"},
	"a Revision that is of the bytes only": {func(p *broken) {
		p.stat = func(ctx context.Context, key string) (provider.Object, error) {
			o, err := p.Provider.Stat(ctx, key)
			o.Revision = provider.Revision(fmt.Sprint(o.Size))
			return o, err
		}
	}, "Identity/Revision_changes_with_the_metadata_alone"},
	"a capability that is claimed": {func(p *broken) {
		p.caps.AtomicMove = true
		p.Provider = mem.New(mem.Options{Capabilities: mem.Weak()})
	}, "Move/bytes_and_metadata"},
	"a capability that is denied and works": {func(p *broken) {
		p.caps.CreateIfAbsent = false
	}, "Condition/Put_Absent"},
}

// broken is a provider with some methods replaced.
type broken struct {
	provider.Provider
	caps   provider.Capabilities
	stat   func(ctx context.Context, key string) (provider.Object, error)
	open   func(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error)
	put    func(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error)
	copy   func(ctx context.Context, src, dst string, opts provider.CopyOptions) (provider.Object, error)
	delete func(ctx context.Context, opts provider.DeleteOptions, keys ...string) error
	list   func(ctx context.Context, opts provider.ListOptions) (provider.Page, error)
}

func newBroken() *broken {
	m := mem.New(mem.Options{})
	return &broken{Provider: m, caps: m.Capabilities(), stat: m.Stat, open: m.Open, put: m.Put, copy: m.Copy, delete: m.Delete, list: m.List}
}

func (b *broken) Capabilities() provider.Capabilities { return b.caps }

func (b *broken) Stat(ctx context.Context, key string) (provider.Object, error) {
	return b.stat(ctx, key)
}

func (b *broken) Open(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
	return b.open(ctx, key, opts)
}

func (b *broken) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
	return b.put(ctx, key, body, size, opts)
}

func (b *broken) Copy(ctx context.Context, src, dst string, opts provider.CopyOptions) (provider.Object, error) {
	return b.copy(ctx, src, dst, opts)
}

func (b *broken) Delete(ctx context.Context, opts provider.DeleteOptions, keys ...string) error {
	return b.delete(ctx, opts, keys...)
}

func (b *broken) List(ctx context.Context, opts provider.ListOptions) (provider.Page, error) {
	return b.list(ctx, opts)
}

// interrupted ends a body with its context.
type interrupted struct {
	ctx context.Context
	r   io.Reader
}

func (r *interrupted) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// The suite must fail on each broken provider, in the case that is about the sentence that it breaks. That case runs in
// a child process, since a test that fails cannot be taken back.
func TestSuiteNoticesBrokenProviders(t *testing.T) {
	if name := os.Getenv(brokenName); name != "" {
		p := newBroken()
		faults[name].apply(p)
		providertest.Run(t, providertest.Config{New: func(*testing.T) provider.Provider { return p }, Timeout: 20 * time.Second})
		return
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			noted := t.Name()[:strings.IndexByte(t.Name(), '/')] + "/" + fault.noted
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+strings.ReplaceAll(regexp.QuoteMeta(noted), "/", "$/^")+"$", "-test.v")
			cmd.Env = append(os.Environ(), brokenName+"="+name)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatal("the suite passes")
			}
			if !strings.Contains(string(out), "--- FAIL: "+noted) {
				t.Errorf("case %q does not fail:\n%s", fault.noted, failures(string(out)))
			}
		})
	}
}

func failures(out string) string {
	var lines []string
	for line := range strings.Lines(out) {
		if strings.Contains(line, "--- FAIL") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

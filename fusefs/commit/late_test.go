package commit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
)

// laggard is a store of which one request gets no answer, and is carried out later all the same.
type laggard struct {
	provider.Provider

	mu   sync.Mutex
	op   string // whose next one gets lost; empty: none
	lag  time.Duration
	wait sync.WaitGroup // for what is on its way
}

// lose lets the next request of a kind be so late.
func (l *laggard) lose(op string, lag time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.op, l.lag = op, lag
}

// late reports whether a request is lost, and has it carried out later then.
func (l *laggard) late(op string, f func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.op != op {
		return nil
	}
	l.op = ""
	lag := l.lag
	l.wait.Go(func() {
		time.Sleep(lag)
		f()
	})
	return &provider.Error{Op: op, Kind: provider.KindUnavailable, Unanswered: true, Err: errors.New("no answer, on purpose")}
}

func (l *laggard) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o provider.PutOptions) (provider.Object, error) {
	b, err := io.ReadAll(body)
	if err != nil {
		return provider.Object{}, err
	}
	put := func(ctx context.Context) (provider.Object, error) {
		return l.Provider.Put(ctx, key, bytes.NewReader(b), size, o)
	}
	if err := l.late("put", func() { _, _ = put(context.Background()) }); err != nil {
		return provider.Object{}, err
	}
	return put(ctx)
}

func (l *laggard) Copy(ctx context.Context, src, dst string, o provider.CopyOptions) (provider.Object, error) {
	if err := l.late("copy", func() { _, _ = l.Provider.Copy(context.Background(), src, dst, o) }); err != nil {
		return provider.Object{}, err
	}
	return l.Provider.Copy(ctx, src, dst, o)
}

func (l *laggard) Delete(ctx context.Context, o provider.DeleteOptions, keys ...string) error {
	keys = slices.Clone(keys)
	if err := l.late("delete", func() { _ = l.Provider.Delete(context.Background(), o, keys...) }); err != nil {
		var failed provider.DeleteErrors
		for _, key := range keys {
			failed = append(failed, &provider.Error{Op: "delete", Key: key, Kind: provider.KindUnavailable, Unanswered: true, Err: err})
		}
		return provider.NewDeleteError(failed)
	}
	return l.Provider.Delete(ctx, o, keys...)
}

// TestALateRequestSpoilsNothing: a request gets no answer and is carried out five seconds later, when the file has moved on.
func TestALateRequestSpoilsNothing(t *testing.T) {
	weak := mem.Weak()
	weak.Consistent = true
	for _, tc := range []struct {
		name string
		caps provider.Capabilities
		lost string // the request that gets lost
		do   func(*bed) error
		then func(*bed) error // two seconds later
	}{
		{"a delete, and the name is used again", s3like(), "delete",
			func(b *bed) error { return b.rm("stored") }, func(b *bed) error { return done(b.write("stored", "new")) }},
		{"two deletes in one request, and a name is used again", s3like(), "delete",
			func(b *bed) error { return errors.Join(b.rm("stored"), b.rm("other")) }, func(b *bed) error { return done(b.write("stored", "new")) }},
		{"a delete, and a file is renamed to the name", s3like(), "delete",
			func(b *bed) error { return b.rm("stored") }, func(b *bed) error { return b.mv("other", "stored") }},
		{"a delete, and the name becomes a directory", s3like(), "delete",
			func(b *bed) error { return b.rm("stored") },
			func(b *bed) error {
				return errors.Join(done(b.mkdir("stored", 0o755)), done(b.write("stored/x", "new")))
			}},
		{"the marker of a directory is deleted, and it is made again", s3like(), "delete",
			func(b *bed) error { return b.rm("dir") }, func(b *bed) error { return done(b.mkdir("dir", 0o700)) }},
		{"a put, and the file is deleted", s3like(), "put",
			func(b *bed) error { return done(b.write("f", "old")) }, func(b *bed) error { return b.rm("f") }},
		{"a put, and the file is written again", s3like(), "put",
			func(b *bed) error { return done(b.write("stored", "old")) }, func(b *bed) error { return done(b.write("stored", "new")) }},
		{"a put to a store without conditions, and the file is written again", weak, "put",
			func(b *bed) error { return done(b.write("stored", "old")) }, func(b *bed) error { return done(b.write("stored", "new")) }},
		{"a put to a store without conditions, and the file is deleted", weak, "put",
			func(b *bed) error { return done(b.write("stored", "old")) }, func(b *bed) error { return b.rm("stored") }},
		{"a copy, and the file is written", s3like(), "copy",
			func(b *bed) error { return b.mv("stored", "to") }, func(b *bed) error { return done(b.write("to", "new")) }},
		{"a copy, and the file is deleted", s3like(), "copy",
			func(b *bed) error { return b.mv("stored", "to") }, func(b *bed) error { return b.rm("to") }},
		{"a copy, and the file is renamed again", s3like(), "copy",
			func(b *bed) error { return b.mv("stored", "to") }, func(b *bed) error { return b.mv("to", "stored") }},
	} {
		for _, crash := range []bool{false, true} {
			name := tc.name
			if crash {
				name += ", after a crash"
			}
			t.Run(name, func(t *testing.T) {
				bubble(t, tc.caps, Options{Patience: 10 * time.Second, Attributes: true}, func(t *testing.T, b *bed) {
					must(t, done(b.write("stored", "stored content")), done(b.write("other", "other content")), done(b.mkdir("dir", 0o700)), b.flush())
					l := &laggard{Provider: b.store.Provider}
					b.store.Provider = l
					defer l.wait.Wait()
					l.lose(tc.lost, 5*time.Second)
					must(t, tc.do(b))
					time.Sleep(1100 * time.Millisecond) // the request is lost
					if crash {
						must(t, b.crash())
					}
					time.Sleep(900 * time.Millisecond)
					must(t, tc.then(b))
					time.Sleep(2 * time.Minute)
					if l.op != "" {
						t.Fatal("no request was lost")
					}
					wantInStep(t, b)
				})
			})
		}
	}
}

// hashed is a store whose versions are those of the bytes, as S3's are: the same bytes have the same version.
type hashed struct{ provider.Provider }

func (h hashed) Stat(ctx context.Context, key string) (provider.Object, error) {
	o, err := h.Provider.Stat(ctx, key)
	if err != nil {
		return o, err
	}
	r, _, err := h.Provider.Open(ctx, key, provider.OpenOptions{})
	if err != nil {
		return o, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	o.Version = provider.Version(fmt.Sprintf("%x", sha256.Sum256(b)))
	return o, err
}

func (h hashed) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o provider.PutOptions) (provider.Object, error) {
	o.If.Version = "" // nobody else writes here
	if _, err := h.Provider.Put(ctx, key, body, size, o); err != nil {
		return provider.Object{}, err
	}
	return h.Stat(ctx, key)
}

func (h hashed) Copy(ctx context.Context, src, dst string, o provider.CopyOptions) (provider.Object, error) {
	o.IfSourceVersion = ""
	if _, err := h.Provider.Copy(ctx, src, dst, o); err != nil {
		return provider.Object{}, err
	}
	return h.Stat(ctx, dst)
}

// TestACopyThatWasNotMadeIsNotTakenForOneThatWas: what is renamed over an object with the same bytes keeps its own attributes.
func TestACopyThatWasNotMadeIsNotTakenForOneThatWas(t *testing.T) {
	bubble(t, s3like(), Options{Attributes: true}, func(t *testing.T, b *bed) {
		b.store.Provider = hashed{b.store.Provider}
		must(t, done(b.write("a", "same")), done(b.write("b", "same")), b.chmod("a", 0o700), b.flush())
		b.faults.Add(faulty.Rule{Ops: []string{"copy"}, Times: 1})
		must(t, b.mv("a", "b"))
		time.Sleep(time.Minute)
		o, err := b.mem.Stat(context.Background(), "b")
		must(t, err)
		if mode := provider.ParseAttrs(o.Metadata).Mode & 0o777; mode != 0o700 {
			t.Errorf("b has the mode %04o in the store, want 0700", mode)
		}
	})
}

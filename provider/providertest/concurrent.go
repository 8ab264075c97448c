package providertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"sharefs/provider"
)

var errorCases = []testCase{
	{"errors name the method, the key and the kind", func(t *tester) {
		_, err := t.p.Stat(t.ctx, t.key("missing"))
		t.wantError(err, "stat", provider.KindNotFound, t.key("missing"))
		_, _, err = t.p.Open(t.ctx, t.key("missing"), provider.OpenOptions{})
		t.wantError(err, "open", provider.KindNotFound, t.key("missing"))
		_, err = t.p.Put(t.ctx, t.key("k"), bytes.NewReader(nil), 1, provider.PutOptions{})
		t.wantError(err, "put", provider.KindInvalid, t.key("k"))
	}},
	{"a context's error is nobody's else", func(t *tester) {
		ctx, cancel := context.WithCancel(t.ctx)
		cancel()
		_, err := t.p.Stat(ctx, t.key("missing"))
		var e *provider.Error
		if !errors.Is(err, context.Canceled) || errors.As(err, &e) {
			t.Errorf("%v (%T), want the context's own", err, err)
		}
	}},
}

var concurrentCases = []testCase{
	{"many callers of every method", func(t *tester) {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 3 {
					if err := t.oneRound(t.key(fmt.Sprintf("w%d/k%d", i, j)), byte(i)); err != nil {
						t.Errorf("caller %d, round %d: %v", i, j, err)
						return
					}
				}
			})
		}
		wg.Wait()
		t.wantListed(provider.ListOptions{Prefix: t.key("w0/")}, t.expected(t.keys("w0/k0", "w0/k1", "w0/k2"), provider.ListOptions{Prefix: t.key("w0/")}))
	}},
	{"directories made and removed by many", func(t *tester) {
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				key := t.key(fmt.Sprintf("shared/deep/k%d", i))
				for range 5 {
					if err := t.putPatiently(key); err != nil {
						t.Error(err)
						return
					}
					if err := t.deletePatiently(key); err != nil {
						t.Error(err)
						return
					}
					for _, dir := range t.keys("shared/deep/", "shared/") {
						if err := t.deletePatiently(dir); err != nil && !provider.Is(err, provider.KindNotEmpty) {
							t.Error(err)
							return
						}
					}
				}
			})
		}
		wg.Wait()
	}},
}

// oneRound calls the methods on a key that no other caller uses.
func (t *tester) oneRound(key string, seed byte) error {
	data := pattern(1000, seed)
	if _, err := t.p.Put(t.ctx, key, bytes.NewReader(data), 1000, provider.PutOptions{}); err != nil {
		return err
	}
	got, _, err := t.open(key, provider.OpenOptions{})
	if err != nil {
		return err
	}
	if !bytes.Equal(got, data) {
		return fmt.Errorf("read %s", shown(got))
	}
	if _, err := t.p.Stat(t.ctx, key); err != nil {
		return err
	}
	if _, err := t.p.List(t.ctx, provider.ListOptions{Prefix: t.prefix, Limit: 5}); err != nil {
		return err
	}
	if _, err := t.p.Put(t.ctx, key+".gone", bytes.NewReader(data), 1000, provider.PutOptions{}); err != nil {
		return err
	}
	return t.p.Delete(t.ctx, provider.DeleteOptions{}, key+".gone")
}

// putPatiently stores a byte.
func (t *tester) putPatiently(key string) error {
	return t.patiently(func() error {
		_, err := t.p.Put(t.ctx, key, bytes.NewReader([]byte("x")), 1, provider.PutOptions{})
		return err
	})
}

func (t *tester) deletePatiently(key string) error {
	return t.patiently(func() error { return t.p.Delete(t.ctx, provider.DeleteOptions{}, key) })
}

// patiently does it again when the store says that it may work later: a driver does not retry.
func (t *tester) patiently(do func() error) error {
	for {
		err := do()
		if err == nil || !provider.KindOf(err).Transient() || t.ctx.Err() != nil {
			return err
		}
	}
}

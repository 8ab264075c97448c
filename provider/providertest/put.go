package providertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"sharefs/provider"
)

var putCases = []testCase{
	{"objects of many sizes", func(t *tester) {
		for _, n := range []int{0, 1, 7, 4095, 4096, 4097, 65537, 1<<20 + 1} {
			if t.caps.MaxPutSize > 0 && int64(n) > t.caps.MaxPutSize {
				continue
			}
			data := pattern(n, byte(n))
			t.put(t.key("k"), data, nil)
			t.wantContent(t.key("k"), data)
		}
	}},
	{"what is returned agrees with Stat", func(t *tester) {
		put := t.put(t.key("k"), pattern(10, 1), nil)
		got := t.stat(t.key("k"))
		if put.Version != got.Version {
			t.Errorf("put returned version %q, stat %q", put.Version, got.Version)
		}
		if put.Revision != "" && put.Revision != got.Revision {
			t.Errorf("put returned revision %q, stat %q", put.Revision, got.Revision)
		}
	}},
	{"the body is read from where it stands", func(t *tester) {
		data := pattern(1000, 5)
		body := bytes.NewReader(data)
		if _, err := body.Seek(400, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := t.p.Put(t.ctx, t.key("k"), body, 600, provider.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		t.wantContent(t.key("k"), data[400:])
	}},
	{"a body that stands at its end is empty", func(t *tester) {
		body := bytes.NewReader([]byte("read already"))
		if _, err := body.Seek(0, io.SeekEnd); err != nil {
			t.Fatal(err)
		}
		if _, err := t.p.Put(t.ctx, t.key("k"), body, 0, provider.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		t.wantContent(t.key("k"), nil)
	}},
	{"a body that comes in small pieces", func(t *tester) {
		data := pattern(5000, 6)
		body := dripBody{bytes.NewReader(append([]byte("skipped"), data...))}
		if _, err := body.Seek(7, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := t.p.Put(t.ctx, t.key("k"), body, 5000, provider.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		t.wantContent(t.key("k"), data)
	}},
	{"a body of another size stores nothing", func(t *tester) {
		old := []byte("old")
		t.put(t.key("old"), old, nil)
		for _, c := range []struct {
			name       string
			body, size int
		}{{"shorter", 999, 1000}, {"longer", 1001, 1000}, {"empty", 0, 1000}, {"not empty", 1, 0}, {"much longer", 300_000, 5}} {
			t.sub(c.name, func(t *tester) {
				for _, key := range t.keys("old", "new") {
					_, err := t.p.Put(t.ctx, key, bytes.NewReader(pattern(c.body, 1)), int64(c.size), provider.PutOptions{})
					t.wantError(err, "put", provider.KindInvalid, key)
				}
				t.wantContent(t.key("old"), old)
				t.wantMissing(t.key("new"))
			})
		}
	}},
	{"a body that fails stores nothing", func(t *tester) {
		old, failure := []byte("old"), errors.New("the disk of the body is broken")
		t.put(t.key("old"), old, nil)
		for _, at := range []int64{0, 1, 150_000, 299_999} {
			for _, key := range t.keys("old", "new") {
				body := newTrap(pattern(300_000, 1), at, func() error { return failure })
				_, err := t.p.Put(t.ctx, key, body, 300_000, provider.PutOptions{})
				var e *provider.Error
				if !errors.As(err, &e) || e.Op != "put" || e.Key != key {
					t.Errorf("fails at %d: %v (%T)", at, err, err)
				}
			}
			t.wantContent(t.key("old"), old)
			t.wantMissing(t.key("new"))
		}
	}},
	{"an object beyond MaxPutSize is KindTooLarge", func(t *tester) {
		if t.caps.MaxPutSize == 0 || t.caps.MaxPutSize > 4<<20 {
			return // too large to try
		}
		data := pattern(int(t.caps.MaxPutSize)+1, 1)
		_, err := t.p.Put(t.ctx, t.key("k"), bytes.NewReader(data), int64(len(data)), provider.PutOptions{})
		t.wantError(err, "put", provider.KindTooLarge, t.key("k"))
		t.wantMissing(t.key("k"))
		t.put(t.key("k"), data[1:], nil)
		t.wantContent(t.key("k"), data[1:])
	}},
	{"a marker has no bytes", func(t *tester) {
		if !t.caps.Directories {
			return // elsewhere a marker is an object like others
		}
		_, err := t.p.Put(t.ctx, t.key("d/"), bytes.NewReader([]byte("x")), 1, provider.PutOptions{})
		t.wantError(err, "put", provider.KindInvalid, t.key("d/"))
		t.wantMissing(t.key("d/"))
	}},
	{"a marker is put again beside keys below it", func(t *tester) {
		t.put(t.key("d/"), nil, nil)
		t.putString(t.key("d/x"), "x")
		t.put(t.key("d/"), nil, provider.Metadata{"note": "again"})
		if got := t.stat(t.key("d/")).Metadata["note"]; got != "again" {
			t.Errorf("the marker's metadata is %q", got)
		}
		t.wantContent(t.key("d/x"), []byte("x"))
	}},
	{"a key below an object is taken or refused whole", func(t *tester) {
		t.putString(t.key("a"), "object")
		_, err := t.p.Put(t.ctx, t.key("a/b"), bytes.NewReader([]byte("below")), 5, provider.PutOptions{})
		if err != nil {
			t.wantError(err, "put", provider.KindConflict, t.key("a/b"))
			t.wantMissing(t.key("a/b"))
			t.wantContent(t.key("a"), []byte("object"))
		} else {
			t.wantContent(t.key("a/b"), []byte("below"))
		}
		t.delete(t.keys("a/b", "a")...)
	}},
	{"a key where keys are below is taken or refused whole", func(t *tester) {
		t.putString(t.key("a/b"), "below")
		_, err := t.p.Put(t.ctx, t.key("a"), bytes.NewReader([]byte("object")), 6, provider.PutOptions{})
		if err != nil {
			t.wantError(err, "put", provider.KindConflict, t.key("a"))
			t.wantMissing(t.key("a"))
		} else {
			t.wantContent(t.key("a"), []byte("object"))
		}
		t.wantContent(t.key("a/b"), []byte("below"))
		t.delete(t.keys("a/b", "a")...)
	}},
}

var cancelCases = []testCase{
	{"a cancelled Put leaves a whole object", func(t *tester) {
		const size = 300_000
		old, changed := fill(1000, 'o'), fill(size, 'c')
		// Points beyond one pass lie in the second one, where the driver reads the body twice.
		for _, at := range []int64{0, 1, size / 2, size - 1, size, size + 1, size * 3 / 2, 2 * size} {
			t.sub(fmt.Sprintf("after %d bytes", at), func(t *tester) {
				t.put(t.key("old"), old, nil)
				t.delete(t.key("new"))
				for _, key := range t.keys("old", "new") {
					ctx, cancel := context.WithCancel(t.ctx)
					body := newTrap(changed, at, func() error { cancel(); return nil })
					_, err := t.p.Put(ctx, key, body, size, provider.PutOptions{})
					if err == nil && at <= size/2 {
						t.Error("the context ended in the middle of the body, and Put succeeded")
					}
					if err != nil && !errors.Is(err, context.Canceled) {
						t.Errorf("%v, want context.Canceled", err)
					}
					cancel()
					t.wantWholeAfter(key, err, old, changed)
				}
			})
		}
	}},
	{"a context that ended does nothing", func(t *tester) {
		t.putString(t.key("k"), "old")
		ctx, cancel := context.WithCancel(t.ctx)
		cancel()
		for name, call := range t.everyCall(ctx) {
			if err := call(); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v, want context.Canceled", name, err)
			}
		}
		t.wantContent(t.key("k"), []byte("old"))
		t.wantMissing(t.key("new"))
	}},
	{"a deadline that passed is context.DeadlineExceeded", func(t *tester) {
		t.putString(t.key("k"), "old")
		ctx, cancel := context.WithTimeout(t.ctx, 0)
		defer cancel()
		for name, call := range t.everyCall(ctx) {
			if err := call(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v, want context.DeadlineExceeded", name, err)
			}
		}
		t.wantContent(t.key("k"), []byte("old"))
	}},
}

// everyCall returns a call of every method that takes a context and that the store can do.
func (t *tester) everyCall(ctx context.Context) map[string]func() error {
	k := t.key("k")
	calls := map[string]func() error{
		"stat": func() error { _, err := t.p.Stat(ctx, k); return err },
		"open": func() error { _, _, err := t.p.Open(ctx, k, provider.OpenOptions{}); return err },
		"put": func() error {
			_, err := t.p.Put(ctx, t.key("new"), bytes.NewReader([]byte("x")), 1, provider.PutOptions{})
			return err
		},
		"newupload":   func() error { _, err := t.p.NewUpload(ctx, k, provider.UploadOptions{}); return err },
		"listuploads": func() error { _, err := t.p.ListUploads(ctx, k); return err },
		"delete":      func() error { return t.p.Delete(ctx, provider.DeleteOptions{}, k) },
		"list":        func() error { _, err := t.p.List(ctx, provider.ListOptions{Prefix: t.prefix}); return err },
	}
	if t.caps.Copy {
		calls["copy"] = func() error { _, err := t.p.Copy(ctx, k, t.key("new"), provider.CopyOptions{}); return err }
	}
	if t.caps.AtomicMove {
		calls["move"] = func() error { _, err := t.p.Move(ctx, k, t.key("new")); return err }
	}
	return calls
}

// wantWholeAfter checks what a Put that returned err may have left of an object.
func (t *tester) wantWholeAfter(key string, err error, old, changed []byte) {
	t.Helper()
	switch _, statErr := t.p.Stat(t.ctx, key); {
	case err == nil:
		t.wantContent(key, changed)
	case key == t.key("old"):
		t.wantOneOf(key, old, changed)
	case statErr == nil:
		t.wantContent(key, changed)
	default:
		t.wantMissing(key)
	}
}

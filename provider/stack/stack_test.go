package stack_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
	"sharefs/provider/providertest"
	"sharefs/provider/stack"
)

func mustNew(t *testing.T, driver provider.Provider, opts stack.Options) *stack.Stack {
	t.Helper()
	s, err := stack.New(driver, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	for name, caps := range map[string]provider.Capabilities{"a store that can do all": mem.Full(), "a store that can do little": mem.Weak()} {
		t.Run(name, func(t *testing.T) {
			providertest.Run(t, providertest.Config{New: func(t *testing.T) provider.Provider {
				return mustNew(t, mem.New(mem.Options{Capabilities: caps}), stack.Options{Prefix: "mounts/a"})
			}})
		})
	}
}

func put(t *testing.T, p provider.Provider, key, text string) provider.Object {
	t.Helper()
	o, err := p.Put(t.Context(), key, strings.NewReader(text), int64(len(text)), provider.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestEveryAttemptIsCountedAndFaultsSeeWholeKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		driver := mem.New(mem.Options{})
		s := mustNew(t, driver, stack.Options{
			Prefix: "a",
			Logger: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Faults: &faulty.Options{Rules: []faulty.Rule{{Key: func(k string) bool { return k == "a/k" }, Times: 2}}},
		})
		put(t, s, "k", "text")
		if n := s.Snapshot().Of("put").Requests; n != 3 {
			t.Errorf("%d requests, want 3", n)
		}
		if n := len(s.Faults().Injected()); n != 2 {
			t.Errorf("%d faults, want 2", n)
		}
		if _, err := driver.Stat(t.Context(), "a/k"); err != nil {
			t.Error(err)
		}
		if n := strings.Count(logged.String(), "key=k"); n != 2 {
			t.Errorf("%d repeats are logged, want 2:\n%s", n, &logged)
		}
	})
}

func TestWithoutFaultsThereIsNoFaultyStore(t *testing.T) {
	if s := mustNew(t, mem.New(mem.Options{}), stack.Options{}); s.Faults() != nil {
		t.Error("there is one")
	}
}

func TestABadPrefixIsRefused(t *testing.T) {
	if _, err := stack.New(mem.New(mem.Options{}), stack.Options{Prefix: "a//b"}); !provider.Is(err, provider.KindInvalid) {
		t.Error(err)
	}
}

func TestWhatIsInvalidCostsNoRequest(t *testing.T) {
	caps := mem.Full()
	caps.MaxKey, caps.MaxMetadata = 100, 50
	s := mustNew(t, mem.New(mem.Options{Capabilities: caps}), stack.Options{Prefix: "pre"})
	ctx := t.Context()
	u, err := s.NewUpload(ctx, "u", provider.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before := s.Snapshot().Requests
	body := func() io.ReadSeeker { return strings.NewReader("x") }
	long := strings.Repeat("k", 97) // fits the store, but not below pre/
	for _, tc := range []struct {
		what, op string
		kind     provider.Kind
		call     func() error
	}{
		{"empty key", "stat", provider.KindInvalid, func() error { _, err := s.Stat(ctx, ""); return err }},
		{"key with NUL", "open", provider.KindInvalid, func() error { _, _, err := s.Open(ctx, "a\x00", provider.OpenOptions{}); return err }},
		{"key beyond the limit", "put", provider.KindInvalid, func() error { _, err := s.Put(ctx, long, body(), 1, provider.PutOptions{}); return err }},
		{"negative offset", "open", provider.KindInvalid, func() error { _, _, err := s.Open(ctx, "k", provider.OpenOptions{Offset: -1}); return err }},
		{"negative length", "open", provider.KindInvalid, func() error { _, _, err := s.Open(ctx, "k", provider.OpenOptions{Length: -1}); return err }},
		{"negative size", "put", provider.KindInvalid, func() error { _, err := s.Put(ctx, "k", body(), -1, provider.PutOptions{}); return err }},
		{"two conditions", "put", provider.KindInvalid, func() error {
			_, err := s.Put(ctx, "k", body(), 1, provider.PutOptions{If: provider.Condition{Absent: true, Version: "v"}})
			return err
		}},
		{"bad metadata", "put", provider.KindInvalid, func() error {
			_, err := s.Put(ctx, "k", body(), 1, provider.PutOptions{Metadata: provider.Metadata{"Upper": "x"}})
			return err
		}},
		{"empty metadata", "put", provider.KindInvalid, func() error {
			_, err := s.Put(ctx, "k", body(), 1, provider.PutOptions{Metadata: provider.Metadata{"note": ""}})
			return err
		}},
		{"too much metadata", "newupload", provider.KindTooLarge, func() error {
			_, err := s.NewUpload(ctx, "k", provider.UploadOptions{Metadata: provider.Metadata{"a": strings.Repeat("x", 50)}})
			return err
		}},
		{"upload to no key", "newupload", provider.KindInvalid, func() error { _, err := s.NewUpload(ctx, "/", provider.UploadOptions{}); return err }},
		{"prefix of uploads", "listuploads", provider.KindInvalid, func() error { _, err := s.ListUploads(ctx, "\xff"); return err }},
		{"abort of a bad key", "abortupload", provider.KindInvalid, func() error { return s.AbortUpload(ctx, "..", "1") }},
		{"copy from a bad key", "copy", provider.KindInvalid, func() error { _, err := s.Copy(ctx, "a//b", "k", provider.CopyOptions{}); return err }},
		{"copy to a bad key", "copy", provider.KindInvalid, func() error { _, err := s.Copy(ctx, "k", "a//b", provider.CopyOptions{}); return err }},
		{"copy that changes nothing", "copy", provider.KindInvalid, func() error { _, err := s.Copy(ctx, "k", "k", provider.CopyOptions{}); return err }},
		{"move from a bad key", "move", provider.KindInvalid, func() error { _, err := s.Move(ctx, ".", "k"); return err }},
		{"delete of a good and a bad key", "delete", provider.KindInvalid, func() error { return s.Delete(ctx, provider.DeleteOptions{}, "k", "a/./b") }},
		{"delete of two keys with a version", "delete", provider.KindInvalid, func() error {
			return s.Delete(ctx, provider.DeleteOptions{IfVersion: "v"}, "k", "l")
		}},
		{"list of no directory", "list", provider.KindInvalid, func() error { _, err := s.List(ctx, provider.ListOptions{Prefix: "a"}); return err }},
		{"list of a bad directory", "list", provider.KindInvalid, func() error { _, err := s.List(ctx, provider.ListOptions{Prefix: "a//"}); return err }},
		{"list of a flat prefix that no key has", "list", provider.KindInvalid, func() error {
			_, err := s.List(ctx, provider.ListOptions{Prefix: "a\x00", Flat: true})
			return err
		}},
		{"too large a page", "list", provider.KindInvalid, func() error { _, err := s.List(ctx, provider.ListOptions{Limit: 1001}); return err }},
		{"part zero", "upload.putpart", provider.KindInvalid, func() error { _, err := u.PutPart(ctx, 0, body(), 1); return err }},
		{"part beyond the last", "upload.putpart", provider.KindInvalid, func() error { _, err := u.PutPart(ctx, 10_001, body(), 1); return err }},
		{"part copied from a bad key", "upload.copypart", provider.KindInvalid, func() error {
			_, err := u.CopyPart(ctx, 1, "", provider.CopyPartOptions{Length: 1})
			return err
		}},
		{"part copied of no bytes", "upload.copypart", provider.KindInvalid, func() error {
			_, err := u.CopyPart(ctx, 1, "k", provider.CopyPartOptions{})
			return err
		}},
		{"complete with two conditions", "upload.complete", provider.KindInvalid, func() error {
			_, err := u.Complete(ctx, nil, provider.CompleteOptions{If: provider.Condition{Absent: true, Version: "v"}})
			return err
		}},
	} {
		t.Run(tc.what, func(t *testing.T) {
			err := tc.call()
			var e *provider.Error
			if !errors.As(err, &e) || e.Kind != tc.kind || e.Op != tc.op {
				t.Errorf("%v, want %s: %v", err, tc.op, tc.kind)
			}
		})
	}
	if n := s.Snapshot().Requests - before; n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	if err := s.Delete(ctx, provider.DeleteOptions{}); err != nil || s.Snapshot().Requests != before {
		t.Errorf("delete of nothing: %v", err)
	}
	if err := u.Abort(ctx); err != nil {
		t.Error(err)
	}
}

func TestAReadOnlyStackChangesNothing(t *testing.T) {
	driver := mem.New(mem.Options{})
	put(t, driver, "k", "text")
	s := mustNew(t, driver, stack.Options{ReadOnly: true})
	ctx := t.Context()
	for op, call := range map[string]func() error{
		"put":         func() error { _, err := s.Put(ctx, "l", strings.NewReader(""), 0, provider.PutOptions{}); return err },
		"newupload":   func() error { _, err := s.NewUpload(ctx, "l", provider.UploadOptions{}); return err },
		"abortupload": func() error { return s.AbortUpload(ctx, "l", "1") },
		"copy":        func() error { _, err := s.Copy(ctx, "k", "l", provider.CopyOptions{}); return err },
		"move":        func() error { _, err := s.Move(ctx, "k", "l"); return err },
		"delete":      func() error { return s.Delete(ctx, provider.DeleteOptions{}, "k") },
		"create":      func() error { return s.Create(ctx) },
	} {
		err := call()
		var e *provider.Error
		if !errors.As(err, &e) || e.Kind != provider.KindReadOnly || e.Op != op {
			t.Errorf("%s: %v", op, err)
		}
	}
	if n := s.Snapshot().Requests; n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	if o, err := s.Stat(ctx, "k"); err != nil || o.Size != 4 {
		t.Errorf("%+v, %v", o, err)
	}
}

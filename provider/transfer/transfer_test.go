package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
	"sharefs/provider/observe"
	"sharefs/provider/transfer"
)

// small is a store with small limits, and what was asked of it.
func small(rules ...faulty.Rule) (*observe.Provider, *mem.Store) {
	caps := mem.Full()
	caps.MinPartSize, caps.MaxParts, caps.MaxCopySize, caps.MaxObjectSize = 10, 50, 100, 10_000
	m := mem.New(mem.Options{Capabilities: caps})
	f := faulty.New(m, faulty.Options{})
	for _, r := range rules {
		f.Add(r)
	}
	return observe.New(f, observe.Options{}), m
}

func content(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i * 7)
	}
	return p
}

func get(t *testing.T, p provider.Provider, key string) []byte {
	t.Helper()
	r, _, err := p.Open(t.Context(), key, provider.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPutChoosesTheNumberOfRequests(t *testing.T) {
	for name, c := range map[string]struct{ size, puts, parts int }{
		"empty":              {0, 1, 0},
		"two parts' size":    {40, 1, 0},
		"more":               {41, 0, 3},
		"more than MaxParts": {1500, 0, 50},
	} {
		t.Run(name, func(t *testing.T) {
			p, m := small()
			var id string
			obj, err := transfer.Put(t.Context(), p, "k", bytes.NewReader(content(c.size)), int64(c.size), transfer.Options{
				PartSize: 20, Metadata: provider.Metadata{"a": "b"}, OnUpload: func(i string) error { id = i; return nil }})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(get(t, m, "k"), content(c.size)) || obj.Size != int64(c.size) {
				t.Fatalf("%+v", obj)
			}
			s := p.Snapshot()
			if puts, parts := s.Of("put").Requests, s.Of("upload.putpart").Requests; puts != int64(c.puts) || parts != int64(c.parts) {
				t.Errorf("%d puts and %d parts, want %d and %d", puts, parts, c.puts, c.parts)
			}
			if (id != "") != (c.parts > 0) {
				t.Errorf("the upload's id is %q", id)
			}
			if have, err := m.Stat(t.Context(), "k"); err != nil || have.Metadata["a"] != "b" {
				t.Errorf("%+v, %v", have, err)
			}
		})
	}
}

func TestTooLargeIsSaidBeforeAnythingIsSent(t *testing.T) {
	p, _ := small()
	_, err := transfer.Put(t.Context(), p, "k", bytes.NewReader(nil), 10_001, transfer.Options{PartSize: 20})
	if !provider.Is(err, provider.KindTooLarge) || p.Snapshot().Requests != 0 {
		t.Fatalf("%v after %d requests", err, p.Snapshot().Requests)
	}
}

func TestAFailedUploadIsAborted(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		rule faulty.Rule
		on   func(string) error
		want func(error) bool
	}{
		"part fails":     {faulty.Rule{Ops: []string{"upload.putpart"}, Skip: 2, Kind: provider.KindDenied}, nil, func(err error) bool { return provider.Is(err, provider.KindDenied) }},
		"complete fails": {faulty.Rule{Ops: []string{"upload.complete"}, Kind: provider.KindQuota}, nil, func(err error) bool { return provider.Is(err, provider.KindQuota) }},
		"cancelled": {faulty.Rule{Ops: []string{"upload.putpart"}, Skip: 2, Effect: faulty.Stall, Notify: func(faulty.Call) { cancel() }}, nil,
			func(err error) bool { return errors.Is(err, context.Canceled) }},
		"not noted": {faulty.Rule{Ops: []string{"none"}}, func(string) error { return io.ErrShortWrite }, func(err error) bool { return errors.Is(err, io.ErrShortWrite) }},
	} {
		t.Run(name, func(t *testing.T) {
			p, m := small(c.rule)
			ctx := t.Context()
			if name == "cancelled" {
				ctx = cancelled
			}
			_, err := transfer.Put(ctx, p, "k", bytes.NewReader(content(200)), 200, transfer.Options{PartSize: 20, OnUpload: c.on})
			if !c.want(err) {
				t.Fatal(err)
			}
			if left, err := m.ListUploads(t.Context(), ""); err != nil || len(left) != 0 {
				t.Errorf("%v, %v", left, err)
			}
			if _, err := m.Stat(t.Context(), "k"); !provider.Is(err, provider.KindNotFound) {
				t.Errorf("the object is there: %v", err)
			}
		})
	}
}

func TestCopyGoesInPartsBeyondTheLimit(t *testing.T) {
	for _, size := range []int{100, 101, 450} {
		p, m := small()
		body := content(size)
		src, err := m.Put(t.Context(), "src", bytes.NewReader(body), int64(size), provider.PutOptions{Metadata: provider.Metadata{"a": "b"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := transfer.Copy(t.Context(), p, "src", "dst", int64(size), src.Version, transfer.Options{PartSize: 100}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(get(t, m, "dst"), body) {
			t.Errorf("%d bytes: the copy differs", size)
		}
		if have, err := m.Stat(t.Context(), "dst"); err != nil || have.Metadata["a"] != "b" {
			t.Errorf("%d bytes: %+v, %v", size, have, err)
		}
		if parts := p.Snapshot().Of("upload.copypart").Requests; (parts > 0) != (size > 100) {
			t.Errorf("%d bytes: %d parts", size, parts)
		}
	}
}

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

func TestPartsGrowWithTheContent(t *testing.T) {
	bucket := provider.Capabilities{MinPartSize: 5 << 20, MaxPartSize: 5 << 30, MaxParts: 10_000, MaxObjectSize: 5 << 40}
	few := bucket
	few.MaxParts = 1000 // of Swift's own S3 layer
	for _, c := range []struct {
		name string
		caps provider.Capabilities
		size int64
		part int64 // 0: it is too large
	}{
		{"small", bucket, 100 << 20, transfer.DefaultPartSize},
		{"as much as parts of the usual size hold", bucket, 10_000 * transfer.DefaultPartSize, transfer.DefaultPartSize},
		{"a byte more", bucket, 10_000*transfer.DefaultPartSize + 1, transfer.DefaultPartSize + 1},
		{"5 TiB", bucket, 5 << 40, (5<<40 + 9_999) / 10_000},
		{"more than the store takes", bucket, 5<<40 + 1, 0},
		{"a store of few parts", few, 100 << 30, (100<<30 + 999) / 1000},
	} {
		part, err := transfer.PartSize(c.caps, c.size, transfer.DefaultPartSize)
		if part != c.part || (err != nil) != (c.part == 0) {
			t.Errorf("%s: parts of %d bytes, %v, want %d", c.name, part, err, c.part)
		}
		if parts := (c.size + max(part, 1) - 1) / max(part, 1); err == nil && parts > int64(c.caps.MaxParts) {
			t.Errorf("%s: %d parts", c.name, parts)
		}
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

// changed returns an object as it was and as it is to be, and the pieces for that.
func changed() (before, after []byte, pieces []transfer.Piece) {
	before = content(60)
	after = append(bytes.Clone(before), 1, 2, 3)
	copy(after[20:30], "0123456789")
	return before, after, []transfer.Piece{{Off: 0, Len: 20, Copy: true}, {Off: 20, Len: 10}, {Off: 30, Len: 30, Copy: true}, {Off: 60, Len: 3}}
}

// onlySent has what is sent; the rest must not be asked for.
type onlySent struct {
	t      *testing.T
	body   []byte
	pieces []transfer.Piece
}

func (r onlySent) ReadAt(p []byte, off int64) (int, error) {
	for _, piece := range r.pieces {
		if piece.Copy && off < piece.Off+piece.Len && piece.Off < off+int64(len(p)) {
			r.t.Errorf("%d bytes at %d are read, though the store copies them", len(p), off)
		}
	}
	return bytes.NewReader(r.body).ReadAt(p, off)
}

func TestPatchSendsWhatChangedAndCopiesTheRest(t *testing.T) {
	for _, key := range []string{"k", "elsewhere"} {
		t.Run(key, func(t *testing.T) {
			p, m := small()
			before, after, pieces := changed()
			old, err := m.Put(t.Context(), "k", bytes.NewReader(before), int64(len(before)), provider.PutOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var began, gone string
			obj, err := transfer.Patch(t.Context(), p, key, onlySent{t, after, pieces}, pieces, "k", old.Version, transfer.Options{
				Metadata: provider.Metadata{"a": "b"},
				OnUpload: func(id string) error { began = id; return nil }, OnGone: func(id string) { gone = id }})
			if err != nil {
				t.Fatal(err)
			}
			if got := get(t, m, key); !bytes.Equal(got, after) || obj.Size != int64(len(after)) {
				t.Errorf("%d bytes, want %d: %q", len(got), len(after), got)
			}
			if sent := p.Snapshot().Of("upload.putpart"); sent.Requests != 2 {
				t.Errorf("%d parts are sent, want 2", sent.Requests)
			}
			if began == "" || began != gone {
				t.Errorf("upload %q began, %q is gone", began, gone)
			}
		})
	}
}

func TestPatchStoresNothingWhenTheOldVersionIsNotThere(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(m *mem.Store) error
		key    string
		source bool // the error is about what was to be copied
	}{
		"replaced": {func(m *mem.Store) error {
			_, err := m.Put(context.Background(), "k", bytes.NewReader(content(60)), 60, provider.PutOptions{})
			return err
		}, "elsewhere", true},
		"deleted":      {func(m *mem.Store) error { return m.Delete(context.Background(), provider.DeleteOptions{}, "k") }, "elsewhere", true},
		"key is taken": {nil, "taken", false},
	} {
		t.Run(name, func(t *testing.T) {
			p, m := small()
			before, after, pieces := changed()
			put := func(key string) provider.Object {
				o, err := m.Put(t.Context(), key, bytes.NewReader(before), int64(len(before)), provider.PutOptions{})
				if err != nil {
					t.Fatal(err)
				}
				return o
			}
			old := put("k")
			put("taken")
			if tc.change != nil {
				if err := tc.change(m); err != nil {
					t.Fatal(err)
				}
			}
			_, err := transfer.Patch(t.Context(), p, tc.key, bytes.NewReader(after), pieces, "k", old.Version,
				transfer.Options{If: provider.Condition{Absent: true}})
			if err == nil || errors.Is(err, transfer.ErrSource) != tc.source {
				t.Errorf("%v; about the source: %v", err, tc.source)
			}
			if !bytes.Equal(get(t, m, "taken"), before) {
				t.Error("what was there is replaced")
			}
			if _, err := m.Stat(t.Context(), "elsewhere"); !provider.Is(err, provider.KindNotFound) {
				t.Errorf("an object is there: %v", err)
			}
			if left, err := m.ListUploads(t.Context(), ""); err != nil || len(left) != 0 {
				t.Errorf("%v, %v", left, err)
			}
		})
	}
}

// plain is a store that checks conditions for a Put and not at the end of an upload.
type plain struct{ provider.Provider }

type plainUpload struct{ provider.Upload }

func (p plain) NewUpload(ctx context.Context, key string, o provider.UploadOptions) (provider.Upload, error) {
	u, err := p.Provider.NewUpload(ctx, key, o)
	return plainUpload{u}, err
}

func (u plainUpload) Complete(ctx context.Context, parts []provider.Part, o provider.CompleteOptions) (provider.Object, error) {
	if !o.If.IsZero() {
		return provider.Object{}, &provider.Error{Op: "upload.complete", Kind: provider.KindUnsupported}
	}
	return u.Upload.Complete(ctx, parts, o)
}

func TestAConditionThatTheEndOfAnUploadCannotCheckIsLeftOut(t *testing.T) {
	p, m := small()
	_, err := transfer.Put(t.Context(), plain{p}, "k", bytes.NewReader(content(200)), 200,
		transfer.Options{PartSize: 20, If: provider.Condition{Absent: true}})
	if err != nil || !bytes.Equal(get(t, m, "k"), content(200)) {
		t.Error(err)
	}
}

package providertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"sharefs/provider"
)

var statCases = []testCase{
	{"a missing object is KindNotFound", func(t *tester) {
		t.wantMissing(t.key("missing"))
		t.wantMissing(t.key("no/such/dir/missing"))
	}},
	{"a name that only begins like an object's is not that object", func(t *tester) {
		t.putString(t.key("name"), "x")
		t.wantMissing(t.key("nam"))
		t.wantMissing(t.key("name2"))
		t.wantMissing(t.key("Name"))
	}},
	{"the object's size, time and identity", func(t *tester) {
		began := time.Now()
		t.put(t.key("k"), pattern(1234, 1), nil)
		o := t.stat(t.key("k"))
		if o.Key != t.key("k") || o.Size != 1234 || o.IsDir() {
			t.Errorf("got %+v", o)
		}
		const skew = 10 * time.Minute // between this clock and the store's
		if o.ModTime.Before(began.Add(-skew)) || o.ModTime.After(time.Now().Add(skew)) {
			t.Errorf("stored at %v, ModTime is %v", began, o.ModTime)
		}
		if o.Revision == "" {
			t.Error("the Revision is empty")
		}
		if o.Metadata == nil {
			t.Error("the Metadata is nil, which means not known")
		}
	}},
	{"a prefix of keys is no object", func(t *tester) {
		t.putString(t.key("d/x"), "x")
		t.wantMissing(t.key("d"))
		t.wantMissing(t.key("d/x/"))
		t.wantMissing(t.key("d/x/y"))
	}},
	{"a directory that exists only through keys below it", func(t *tester) {
		t.putString(t.key("d/e/x"), "x")
		if !t.caps.Directories {
			t.wantMissing(t.key("d/e/"))
			t.wantMissing(t.key("d/"))
			return
		}
		for _, key := range t.keys("d/", "d/e/") {
			if o := t.stat(key); o.Key != key || !o.IsDir() || o.Size != 0 || o.Revision == "" {
				t.Errorf("stat %q: %+v", key, o)
			}
		}
	}},
	{"a marker is an object of size 0", func(t *tester) {
		t.put(t.key("d/"), nil, nil)
		if o := t.stat(t.key("d/")); o.Key != t.key("d/") || !o.IsDir() || o.Size != 0 {
			t.Errorf("got %+v", o)
		}
		t.wantContent(t.key("d/"), nil)
		t.wantMissing(t.key("d"))
	}},
}

var openCases = []testCase{
	{"reads the bytes and returns the object of Stat", func(t *tester) {
		data := pattern(100_000, 1)
		t.put(t.key("k"), data, provider.Metadata{"note": "x"})
		t.wantContent(t.key("k"), data)
		_, o := t.get(t.key("k"))
		t.wantSame(o, t.stat(t.key("k")))
	}},
	{"an empty object", func(t *tester) {
		t.put(t.key("k"), nil, nil)
		t.wantContent(t.key("k"), nil)
	}},
	{"ranges", func(t *tester) {
		data := pattern(1000, 2)
		t.put(t.key("k"), data, nil)
		t.put(t.key("empty"), nil, nil)
		whole := t.stat(t.key("k"))
		for _, r := range []struct{ offset, length int64 }{{0, 0}, {0, 1}, {1, 0}, {0, 1000}, {500, 100}, {999, 0}, {999, 1},
			{999, 5}, {0, 5000}, {1000, 0}, {1000, 1}, {1001, 10}, {1 << 40, 1}} {
			t.sub(fmt.Sprintf("offset %d length %d", r.offset, r.length), func(t *tester) {
				got, o, err := t.open(t.key("k"), provider.OpenOptions{Offset: r.offset, Length: r.length})
				if err != nil {
					t.Fatal(err)
				}
				if want := cut(data, r.offset, r.length); !bytes.Equal(got, want) {
					t.Errorf("got %s, want %s", shown(got), shown(want))
				}
				if o.Key != whole.Key || o.Size != whole.Size || o.Version != whole.Version {
					t.Errorf("the object is %+v, want that of the whole %+v", o, whole)
				}
			})
			got, o, err := t.open(t.key("empty"), provider.OpenOptions{Offset: r.offset, Length: r.length})
			if err != nil || len(got) != 0 || o.Size != 0 {
				t.Errorf("offset %d length %d of an empty object: %s, size %d, %v", r.offset, r.length, shown(got), o.Size, err)
			}
		}
	}},
	{"a range of a missing object is KindNotFound", func(t *tester) {
		_, _, err := t.open(t.key("k"), provider.OpenOptions{Offset: 5, Length: 5, IfVersion: "some version"})
		t.wantError(err, "open", provider.KindNotFound, t.key("k"))
	}},
	{"IfVersion reads that version or fails", func(t *tester) {
		old, changed := pattern(1000, 1), pattern(1000, 2)
		t.put(t.key("k"), old, nil)
		v := t.stat(t.key("k")).Version
		if v == "" {
			return // the store cannot tell versions apart
		}
		got, _, err := t.open(t.key("k"), provider.OpenOptions{Offset: 10, Length: 20, IfVersion: v})
		if err != nil || !bytes.Equal(got, old[10:30]) {
			t.Fatalf("the right version: %s, %v", shown(got), err)
		}
		if got, _, err = t.open(t.key("k"), provider.OpenOptions{Offset: 2000, IfVersion: v}); err != nil || len(got) != 0 {
			t.Fatalf("the right version, beyond the end: %s, %v", shown(got), err)
		}
		t.put(t.key("k"), changed, nil)
		for _, offset := range []int64{0, 10, 2000} {
			_, _, err = t.open(t.key("k"), provider.OpenOptions{Offset: offset, IfVersion: v})
			t.wantError(err, "open", provider.KindPrecondition, t.key("k"))
		}
	}},
	{"a reader that was opened before a change never mixes", func(t *tester) {
		old, changed := fill(256<<10, 'o'), fill(200<<10, 'c')
		t.put(t.key("k"), old, nil)
		r, _, err := t.p.Open(t.ctx, t.key("k"), provider.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		head := make([]byte, 1000)
		if _, err := io.ReadFull(r, head); err != nil {
			t.Fatal(err)
		}
		t.put(t.key("k"), changed, nil)
		rest, err := io.ReadAll(r)
		if bytes.IndexByte(rest, 'c') >= 0 {
			t.Error("the reader of the old object brought bytes of the new one")
		}
		if err == nil && len(head)+len(rest) != len(old) {
			t.Errorf("the reader ended after %d of %d bytes without an error", len(head)+len(rest), len(old))
		}
	}},
	{"a reader stops when its context ends", func(t *tester) {
		t.put(t.key("k"), pattern(4<<20, 3), nil)
		ctx, cancel := context.WithCancel(t.ctx)
		defer cancel()
		r, _, err := t.p.Open(ctx, t.key("k"), provider.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if n, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
			t.Errorf("read %d bytes more, then %v; want context.Canceled", n, err)
		}
	}},
	{"a reader may be closed before its end", func(t *tester) {
		t.put(t.key("k"), pattern(1<<20, 4), nil)
		for range 5 {
			r, _, err := t.p.Open(t.ctx, t.key("k"), provider.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}},
}

// cut returns the range of data that Open reads.
func cut(data []byte, offset, length int64) []byte {
	size := int64(len(data))
	if offset >= size {
		return nil
	}
	if length == 0 || offset+length > size {
		length = size - offset
	}
	return data[offset : offset+length]
}

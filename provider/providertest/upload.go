package providertest

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"sharefs/provider"
)

var uploadCases = []testCase{
	{"parts that come out of order make one object", func(t *tester) {
		data := t.partData(2, 100, 1)
		cut := int(t.minPart())
		up := t.newUpload("k", provider.UploadOptions{Metadata: fileMetadata, ContentType: "text/plain"})
		t.putPart(up, 7, data[cut:2*cut])
		t.putPart(up, 9, data[2*cut:])
		first := t.putPart(up, 2, data[:cut])
		if first.Number != 2 || first.Size != int64(cut) {
			t.Errorf("the part is %+v", first)
		}
		t.wantMissing(t.key("k"))
		t.wantListed(provider.ListOptions{Prefix: t.key("k"), Flat: true}, []string{})
		parts := []provider.Part{t.putPart(up, 9, data[2*cut:]), first, t.putPart(up, 7, data[cut:2*cut])}
		o := t.complete(up, parts)
		if o.Key != t.key("k") || o.Size != int64(len(data)) {
			t.Errorf("complete returned %+v", o)
		}
		t.wantContent(t.key("k"), data)
		t.wantMetadata(t.key("k"), fileMetadata)
		got := t.stat(t.key("k"))
		if o.Version != got.Version || o.Revision != "" && o.Revision != got.Revision {
			t.Errorf("complete returned version %q, revision %q; stat %q, %q", o.Version, o.Revision, got.Version, got.Revision)
		}
		t.wantListedSame(got)
		if ids := t.uploadIDs(t.key("k")); len(ids) != 0 {
			t.Errorf("uploads %q after it was completed", ids)
		}
	}},
	{"one small part", func(t *tester) {
		t.uploadOne("k", []byte("small"))
		t.wantContent(t.key("k"), []byte("small"))
		t.wantMetadata(t.key("k"), provider.Metadata{})
	}},
	{"a part that is sent again replaces the first", func(t *tester) {
		up := t.newUpload("k", provider.UploadOptions{})
		t.putPart(up, 1, []byte("first"))
		part := t.putPart(up, 1, []byte("second try"))
		t.complete(up, []provider.Part{part})
		t.wantContent(t.key("k"), []byte("second try"))
	}},
	{"parts in parallel", func(t *tester) {
		data := t.partData(2, 1000, 2)
		cut := int(t.minPart())
		up := t.newUpload("k", provider.UploadOptions{})
		parts := make([]provider.Part, 3)
		errs := make(chan error, len(parts))
		for i := range parts {
			piece := data[i*cut : min((i+1)*cut, len(data))]
			go func() {
				var err error
				parts[i], err = up.PutPart(t.ctx, i+1, bytes.NewReader(piece), int64(len(piece)))
				errs <- err
			}()
		}
		for range parts {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		t.complete(up, parts)
		t.wantContent(t.key("k"), data)
	}},
	{"the old object stands until Complete", func(t *tester) {
		t.put(t.key("k"), []byte("old"), provider.Metadata{"note": "old"})
		up, part := t.onePart(t.key("k"), []byte("new"), provider.UploadOptions{Metadata: provider.Metadata{"note": "new"}})
		t.wantContent(t.key("k"), []byte("old"))
		t.complete(up, []provider.Part{part})
		t.wantContent(t.key("k"), []byte("new"))
		t.wantMetadata(t.key("k"), provider.Metadata{"note": "new"})
	}},
	{"a part's body is read from where it stands", func(t *tester) {
		body := bytes.NewReader([]byte("skipped|kept"))
		if _, err := body.Seek(8, 0); err != nil {
			t.Fatal(err)
		}
		up := t.newUpload("k", provider.UploadOptions{})
		part, err := up.PutPart(t.ctx, 1, body, 4)
		if err != nil {
			t.Fatal(err)
		}
		t.complete(up, []provider.Part{part})
		t.wantContent(t.key("k"), []byte("kept"))
	}},
	{"uploads under way are listed, oldest first", func(t *tester) {
		began := time.Now()
		a := t.newUpload("d/a", provider.UploadOptions{})
		t.passGrain()
		b := t.newUpload("d/b", provider.UploadOptions{})
		t.putPart(b, 1, []byte("x"))
		other := t.newUpload("e", provider.UploadOptions{})
		for _, c := range []struct {
			prefix string
			want   []string
			exact  bool
		}{{t.prefix, []string{a.ID(), b.ID(), other.ID()}, false}, {t.key("d/"), []string{a.ID(), b.ID()}, false},
			{t.key("d/a"), []string{a.ID()}, true}, {t.key("d/b"), []string{b.ID()}, true}, {t.key("none"), nil, true}} {
			if !c.exact && t.cfg.ExactUploads {
				continue
			}
			ids := t.uploadIDs(c.prefix)
			slices.Sort(ids)
			slices.Sort(c.want)
			if !slices.Equal(ids, c.want) {
				t.Errorf("below %q: uploads %q, want %q", c.prefix, ids, c.want)
			}
		}
		uploads, err := t.p.ListUploads(t.ctx, t.key("d/a"))
		if err != nil || len(uploads) != 1 {
			t.Fatalf("%v, %v", uploads, err)
		}
		if u := uploads[0]; u.Key != t.key("d/a") || u.Started.Sub(began).Abs() > 10*time.Minute {
			t.Errorf("%+v", u)
		}
		for _, up := range []provider.Upload{a, b, other} {
			t.abort(up)
		}
		t.wantListed(provider.ListOptions{Prefix: t.prefix, After: t.prefix, Flat: true}, []string{})
	}},
	{"several uploads of one key do not mix", func(t *tester) {
		one, partOne := t.onePart(t.key("k"), []byte("one"), provider.UploadOptions{})
		two, partTwo := t.onePart(t.key("k"), []byte("two"), provider.UploadOptions{})
		if one.ID() == two.ID() || one.ID() == "" {
			t.Fatalf("ids %q and %q", one.ID(), two.ID())
		}
		t.complete(two, []provider.Part{partTwo})
		t.wantContent(t.key("k"), []byte("two"))
		t.complete(one, []provider.Part{partOne})
		t.wantContent(t.key("k"), []byte("one"))
	}},
	{"nasty keys", func(t *tester) {
		for _, name := range []string{"a b+c%2F&?#", "é/日本 😀", `q"u'o\te`} {
			t.uploadOne(name, []byte(name))
			t.wantContent(t.key(name), []byte(name))
			t.wantListedSame(t.stat(t.key(name)))
		}
	}},
}

// minPart is the size of the suite's parts that are not the last.
func (t *tester) minPart() int64 { return max(t.caps.MinPartSize, 1000) }

// partData returns the bytes of n parts of minPart and some more.
func (t *tester) partData(n, more int, seed byte) []byte {
	return pattern(n*int(t.minPart())+more, seed)
}

func (t *tester) newUpload(name string, opts provider.UploadOptions) provider.Upload {
	t.Helper()
	up, err := t.p.NewUpload(t.ctx, t.key(name), opts)
	if err != nil {
		t.Fatalf("newupload %q: %v", name, err)
	}
	return up
}

// onePart begins an upload and sends its only part.
func (t *tester) onePart(key string, data []byte, opts provider.UploadOptions) (provider.Upload, provider.Part) {
	t.Helper()
	up, err := t.p.NewUpload(t.ctx, key, opts)
	if err != nil {
		t.Fatalf("newupload %q: %v", key, err)
	}
	return up, t.putPart(up, 1, data)
}

func (t *tester) uploadOne(name string, data []byte) {
	t.Helper()
	up, part := t.onePart(t.key(name), data, provider.UploadOptions{})
	t.complete(up, []provider.Part{part})
}

func (t *tester) putPart(up provider.Upload, number int, data []byte) provider.Part {
	t.Helper()
	part, err := up.PutPart(t.ctx, number, bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatalf("part %d: %v", number, err)
	}
	return part
}

func (t *tester) copyPart(up provider.Upload, number int, src string, offset, length int64) provider.Part {
	t.Helper()
	part, err := up.CopyPart(t.ctx, number, t.key(src), provider.CopyPartOptions{Offset: offset, Length: length})
	if err != nil {
		t.Fatalf("part %d: %v", number, err)
	}
	return part
}

func (t *tester) complete(up provider.Upload, parts []provider.Part) provider.Object {
	t.Helper()
	o, err := up.Complete(t.ctx, parts, provider.CompleteOptions{})
	if err != nil {
		t.Fatalf("complete: %v", err)
	}
	return o
}

func (t *tester) abort(up provider.Upload) {
	t.Helper()
	if err := up.Abort(t.ctx); err != nil {
		t.Fatalf("abort: %v", err)
	}
}

// uploadIDs returns what is under way below the prefix, and checks that the oldest is first.
func (t *tester) uploadIDs(prefix string) []string {
	t.Helper()
	uploads, err := t.p.ListUploads(t.ctx, prefix)
	if err != nil {
		t.Fatalf("listuploads %q: %v", prefix, err)
	}
	var ids []string
	for i, u := range uploads {
		if !strings.HasPrefix(u.Key, prefix) {
			t.Errorf("listuploads %q returned %q", prefix, u.Key)
		}
		if i > 0 && u.Started.Before(uploads[i-1].Started) {
			t.Errorf("listuploads %q: %v comes after %v", prefix, u.Started, uploads[i-1].Started)
		}
		ids = append(ids, u.ID)
	}
	return ids
}

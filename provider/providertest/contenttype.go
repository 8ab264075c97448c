package providertest

import (
	"strings"

	"sharefs/provider"
)

// contentTypeCases run on stores that keep content types, and on those that keep none: these say so always.
var contentTypeCases = []testCase{
	{"what Put was given comes back", func(t *tester) {
		for _, want := range []string{"text/plain", "application/json; charset=utf-8", "application/vnd.example+xml"} {
			t.putTyped("k", want, nil)
			t.wantType("k", want)
		}
		t.putTyped("d/", "application/x-directory", nil)
		t.wantType("d/", "application/x-directory")
	}},
	{"Put replaces it", func(t *tester) {
		t.putTyped("k", "text/plain", nil)
		t.putTyped("k", "text/html", fileMetadata)
		t.wantType("k", "text/html")
		t.wantMetadata(t.key("k"), fileMetadata)
		t.putTyped("k", "", nil)
		t.wantDefaultType("k", "text/html")
	}},
	{"an object of parts has that of its upload", func(t *tester) {
		t.putTyped("k", "text/plain", nil)
		up, part := t.onePart(t.key("k"), []byte("x"), provider.UploadOptions{ContentType: "text/html", Metadata: fileMetadata})
		t.agreesOnType(t.complete(up, []provider.Part{part}))
		t.wantType("k", "text/html")
		up, part = t.onePart(t.key("k"), []byte("x"), provider.UploadOptions{})
		t.agreesOnType(t.complete(up, []provider.Part{part}))
		t.wantDefaultType("k", "text/html")
	}},
	{"Copy without metadata keeps that of the source", copying(func(t *tester) {
		t.putTyped("src", "text/plain", fileMetadata)
		t.putTyped("dst", "text/html", nil)
		t.copyTyped("src", "dst", provider.CopyOptions{})
		t.wantType("dst", "text/plain")
		t.copyTyped("src", "dst", provider.CopyOptions{ContentType: "text/html"}) // which is with Metadata only
		t.wantType("dst", "text/plain")
	})},
	{"Copy with metadata replaces it", copying(func(t *tester) {
		t.putTyped("src", "text/plain", nil)
		for _, dst := range []string{"dst", "src"} {
			t.copyTyped("src", dst, provider.CopyOptions{Metadata: fileMetadata, ContentType: "text/html"})
			t.wantType(dst, "text/html")
			t.wantMetadata(t.key(dst), fileMetadata)
			t.copyTyped("src", dst, provider.CopyOptions{Metadata: fileMetadata})
			t.wantDefaultType(dst, "text/plain", "text/html")
			t.wantMetadata(t.key(dst), fileMetadata)
		}
	})},
	{"Move keeps it", moving(func(t *tester) {
		t.putTyped("src", "text/plain", nil)
		t.putTyped("dst", "text/html", nil)
		t.move("src", "dst")
		t.wantType("dst", "text/plain")
	})},
}

// putTyped stores an object of a content type, with a byte unless it is a marker.
func (t *tester) putTyped(name, contentType string, md provider.Metadata) {
	t.Helper()
	body := "x"
	if strings.HasSuffix(name, "/") {
		body = ""
	}
	o, err := t.p.Put(t.ctx, t.key(name), strings.NewReader(body), int64(len(body)), provider.PutOptions{ContentType: contentType, Metadata: md})
	if err != nil {
		t.Fatalf("put %q as %q: %v", name, contentType, err)
	}
	t.agreesOnType(o)
}

func (t *tester) copyTyped(src, dst string, opts provider.CopyOptions) {
	t.Helper()
	o, err := t.p.Copy(t.ctx, t.key(src), t.key(dst), opts)
	if err != nil {
		t.Fatalf("copy %q to %q as %q: %v", src, dst, opts.ContentType, err)
	}
	t.agreesOnType(o)
}

// agreesOnType compares what a change returned with Stat: it may not have told.
func (t *tester) agreesOnType(o provider.Object) {
	t.Helper()
	if got := t.stat(o.Key).ContentType; o.ContentType != "" && o.ContentType != got {
		t.Errorf("%q: the change returned content type %q, stat %q", o.Key, o.ContentType, got)
	}
}

// typeOf returns what Stat and Open say, and List unless it does not tell.
func (t *tester) typeOf(name string) string {
	t.Helper()
	got := t.stat(t.key(name)).ContentType
	if _, o := t.get(t.key(name)); o.ContentType != got {
		t.Errorf("%q: stat says content type %q, open %q", name, got, o.ContentType)
	}
	for _, o := range t.list(provider.ListOptions{Prefix: t.key(name), Flat: true}) {
		if t.caps.Consistent && o.Key == t.key(name) && o.ContentType != "" && o.ContentType != got {
			t.Errorf("%q: stat says content type %q, list %q", name, got, o.ContentType)
		}
	}
	return got
}

// wantType demands a content type that was given; none on a store that keeps none.
func (t *tester) wantType(name, want string) {
	t.Helper()
	if !t.keepsTypes() {
		want = ""
	}
	if got := t.typeOf(name); got != want {
		t.Errorf("%q has content type %q, want %q", name, got, want)
	}
}

// wantDefaultType demands the store's own content type, which need not be the same in all its methods, and none of
// those that were given before.
func (t *tester) wantDefaultType(name string, before ...string) {
	t.Helper()
	got := t.typeOf(name)
	if got != "" && !t.keepsTypes() {
		t.Errorf("%q has content type %q, and others have none", name, got)
	}
	for _, old := range before {
		if got == old {
			t.Errorf("%q still has content type %q, want the store's default", name, got)
		}
	}
}

// keepsTypes reports whether the store keeps content types at all.
func (t *tester) keepsTypes() bool {
	t.Helper()
	t.putTyped("typed", "image/png", nil)
	return t.stat(t.key("typed")).ContentType != ""
}

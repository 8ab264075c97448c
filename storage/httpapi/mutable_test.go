package httpapi

import (
	"math"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sharefs/storage"
)

func TestASlotIsReadBeforeItIsChanged(t *testing.T) {
	w := newWorld(t, storage.Options{}, Options{})
	w.want(http.StatusOK, w.slot(change(0, written(0, "abcdef-0"))))
	w.want(http.StatusOK, w.slot(change(1, written(0, "abcdef-1"))))
	got := decoded[slotReply](t, w.want(http.StatusOK, w.slot(change(0, written(1, "XYZ"),
		fields{"offset": 0, "size": 8}, fields{"offset": 6, "size": 1000}, fields{"offset": uint64(math.MaxUint64), "size": 1}))))
	want := slotReply{true, map[int][][]byte{
		0: {[]byte("abcdef-0"), []byte("-0"), {}},
		1: {[]byte("abcdef-1"), []byte("-1"), {}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	read := w.want(http.StatusOK, ask{method: "GET", path: "mutable/" + index + "/0"})
	if string(read.body) != "aXYZef-0" {
		t.Errorf("the share is %q", read.body)
	}
	part := w.want(http.StatusPartialContent, ask{method: "GET", path: "mutable/" + index + "/0", header: map[string]string{"Range": "bytes=3-17"}})
	if string(part.body) != "Zef-0" || part.Get("Content-Range") != "bytes 3-7/*" {
		t.Errorf("%q of %q", part.Get("Content-Range"), part.body)
	}
	if got := w.want(http.StatusOK, ask{method: "GET", path: "mutable/" + index + "/shares"}); string(got.body) != "\xd9\x01\x02\x82\x00\x01" {
		t.Errorf("the list is %x", got.body)
	}
}

func TestASlotIsChangedWhenItIsAsTheClientBelieves(t *testing.T) {
	w := newWorld(t, storage.Options{}, Options{})
	fresh := fields{"offset": 0, "size": 1, "specimen": []byte{}} // there is nothing
	first := written(0, "abcdef")
	first["test"] = []fields{fresh}
	for i, want := range []bool{true, false} {
		if got := decoded[slotReply](t, w.want(http.StatusOK, w.slot(change(0, first)))); got.Success != want {
			t.Errorf("creation %d: %v", i, got.Success)
		}
	}
	for specimen, want := range map[string]bool{"FAIL": false, "bcde": true} {
		second := written(6, "x")
		second["test"] = []fields{{"offset": 1, "size": 4, "specimen": []byte(specimen)}}
		if got := decoded[slotReply](t, w.want(http.StatusOK, w.slot(change(0, second)))); got.Success != want {
			t.Errorf("with %q: %v", specimen, got.Success)
		}
	}
	w.want(http.StatusOK, w.slot(change(0, fields{"new-length": 2})))
	if got := w.want(http.StatusOK, ask{method: "GET", path: "mutable/" + index + "/0"}); string(got.body) != "ab" {
		t.Errorf("the share is %q", got.body)
	}
	w.want(http.StatusOK, w.slot(change(0, fields{"new-length": 0})))
	w.want(http.StatusNotFound, ask{method: "GET", path: "mutable/" + index + "/0"})
}

// TestALargeMessageIsNotInMemory: it is larger than all that may be there. Nothing of it stays in the directory for temporary files.
func TestALargeMessageIsNotInMemory(t *testing.T) {
	w := newWorld(t, storage.Options{}, Options{Memory: 8 << 20})
	data := strings.Repeat("abcdefghij", 2<<20)
	w.want(http.StatusOK, w.slot(change(0, written(0, data))))
	if got := w.want(http.StatusOK, ask{method: "GET", path: "mutable/" + index + "/0"}); string(got.body) != data {
		t.Errorf("%d bytes come back, or others", len(got.body))
	}
	if left, err := os.ReadDir(w.server.options.TempDir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	whole := w.slot(change(0, fields{}, fields{"offset": 0, "size": uint64(math.MaxUint64)}))
	w.want(http.StatusRequestEntityTooLarge, whole)
}

func TestAMessageMayBeTooLarge(t *testing.T) {
	w := newWorld(t, storage.Options{}, Options{MaxMessage: 2 << 20})
	a := w.slot(change(0, written(0, strings.Repeat("x", 2<<20))))
	w.want(http.StatusRequestEntityTooLarge, a)
	r := a.request()
	r.ContentLength = -1 // it comes in chunks
	rec := &recorder{header: http.Header{}}
	w.server.ServeHTTP(rec, r)
	if rec.code != http.StatusRequestEntityTooLarge {
		t.Errorf("in chunks: %d", rec.code)
	}
}

// recorder is a ResponseWriter that keeps the code.
type recorder struct {
	header http.Header
	code   int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(code int)        { r.code = code }
func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }

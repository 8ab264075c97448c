package swift

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sharefs/provider"
	"sharefs/provider/transfer"
	"sharefs/test/servers"
)

func TestSegmentsGoWithTheirObject(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	a, c := bytesOf('a', 1000), bytesOf('c', 2000)
	for _, end := range []struct {
		name string
		end  func() error
	}{
		{"deleted", func() error { return b.Delete(ctx, provider.DeleteOptions{}, "k") }},
		{"deleted with others", func() error { return b.Delete(ctx, provider.DeleteOptions{}, "k", "other", "none") }},
		{"replaced by a small one", func() error { b.must("k", a, nil); return nil }},
		{"replaced by a copy", func() error { _, err := b.Copy(ctx, "other", "k", provider.CopyOptions{}); return err }},
	} {
		for _, again := range []bool{false, true} {
			b.must("other", a, nil)
			b.large("k", a, c)
			b.wantSegments(2, "made")
			if again {
				b.reopen() // by a process that has not made it
			}
			if err := end.end(); err != nil {
				t.Fatal(err)
			}
			b.wantSegments(0, end.name)
		}
	}
	b.large("k", a, c)
	b.large("k", c)
	b.wantContent("k", c)
	b.wantSegments(1, "replaced by a large one")
	b.large("k/below", a)
	b.must("k", a, nil)
	b.wantContent("k/below", a)
	b.wantSegments(1, "replaced above a large one")
}

func TestAChangeUsesTheSegmentsThatAreThere(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	const segment = 1 << 20
	content := slices.Concat(bytesOf('a', segment), bytesOf('b', segment), bytesOf('c', segment), bytesOf('d', segment))
	first := b.large("k", content[:segment], content[segment:2*segment], content[2*segment:3*segment], content[3*segment:])
	before := b.segments()

	// 300 KiB in the middle of the second segment.
	const at, length = segment + 400<<10, 300 << 10
	copy(content[at:], bytesOf('x', length))
	pieces := []transfer.Piece{{Len: at, Copy: true}, {Off: at, Len: length}, {Off: at + length, Len: int64(len(content)) - at - length, Copy: true}}
	b.proxy.Reset()
	_, err := transfer.Patch(ctx, b, "k", strings.NewReader(string(content)), pieces, "k", first.Version, transfer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	counts := b.proxy.Counts()
	if sent := counts[servers.PutPart].Sent; sent != length {
		t.Errorf("%d bytes were sent in segments, want %d", sent, length)
	}
	if n := counts[servers.CopyPart].Requests; n != 2 {
		t.Errorf("%d ranges were copied by the cluster, want the two ends of the segment that was changed", n)
	}
	b.wantContent("k", content)
	b.wantSegments(6, "three of before, and three instead of the changed one")
	for i, name := range before {
		if still := slices.Contains(b.segments(), name); still != (i != 1) {
			t.Errorf("the segment %s is there: %v", name, still)
		}
	}
	if _, err := transfer.Patch(ctx, b, "k", strings.NewReader(string(content)), pieces, "k", first.Version, transfer.Options{}); !errors.Is(err, transfer.ErrSource) {
		t.Errorf("a change of a version that is gone: %v", err)
	}
	b.wantContent("k", content)
	if err := b.Delete(ctx, provider.DeleteOptions{}, "k"); err != nil {
		t.Fatal(err)
	}
	b.wantSegments(0, "deleted")
}

func TestManyChangesDoNotMakeManySegments(t *testing.T) {
	s := &source{object: provider.Object{Size: 1000 << 10}}
	for range 1000 {
		s.manifest = append(s.manifest, entry{Bytes: 1 << 10})
	}
	for _, c := range []struct {
		length, limit int64
		want          int
	}{{900 << 10, 1 << 20, 1}, {900 << 10, 300 << 10, 3}, {2 << 10, 1 << 20, 3}, {100 << 10, 1 << 20, 1}} {
		if pieces := s.cut(span{100, c.length}, 500, c.limit); len(pieces) != c.want {
			t.Errorf("%d bytes of an object of 1000 segments are cut into %d pieces, want %d", c.length, len(pieces), c.want)
		}
	}
}

func TestAnUploadThatWasCompletedIsNotAborted(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	up, parts := b.parts("k", bytesOf('a', 1000))
	name := "k/" + up.ID() + "/" + uploadName
	if _, err := up.Complete(ctx, parts, provider.CompleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// As if the process had ended before it removed the object that stands for the upload.
	b.do(servers.SwiftRequest{Method: "PUT", Container: b.container + segmentsSuffix, Key: name})
	b.reopen()
	uploads, err := b.ListUploads(ctx, "")
	if err != nil || len(uploads) != 1 || uploads[0].ID != up.ID() || uploads[0].Key != "k" {
		t.Fatalf("%v, %v", uploads, err)
	}
	if err := b.AbortUpload(ctx, "k", up.ID()); err != nil {
		t.Fatal(err)
	}
	b.wantContent("k", bytesOf('a', 1000))
	b.wantSegments(1, "aborted")
}

func TestAnUploadIsNobodysRest(t *testing.T) {
	b := newBed(t)
	b.large("k", bytesOf('a', 1000))
	up, parts := b.parts("k", bytesOf('b', 2000))
	other := b.Provider
	b.reopen() // another process replaces the object meanwhile
	b.must("k", bytesOf('c', 10), nil)
	b.wantSegments(3, "the upload's segment and what stands for it, and what the object had")
	if _, err := up.Complete(t.Context(), parts, provider.CompleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.wantSegments(1, "the upload's segment")
	b.wantContent("k", bytesOf('b', 2000))
	b.Provider = other
	b.wantContent("k", bytesOf('b', 2000))
}

func TestKeysThatLeaveNoRoom(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	key := strings.TrimSuffix(strings.Repeat(strings.Repeat("k", 200)+"/", 6), "/")[:1024]
	up, parts := b.parts(key, bytesOf('a', 1000))
	b.reopen()
	uploads, err := b.ListUploads(ctx, key[:900])
	if err != nil || len(uploads) != 1 || uploads[0].Key != key || uploads[0].ID != up.ID() {
		t.Fatalf("%v, %v", uploads, err)
	}
	if _, err := up.Complete(ctx, parts, provider.CompleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.wantContent(key, bytesOf('a', 1000))
	b.reopen()
	if err := b.Delete(ctx, provider.DeleteOptions{}, key); err != nil {
		t.Fatal(err)
	}
	b.wantSegments(0, "deleted")
}

// TestLargeObjectsOfOthers reads what other tools have made of segments in a place of theirs.
func TestLargeObjectsOfOthers(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	theirs := b.container + "-theirs"
	if err := b.srv.CreateContainer(ctx, theirs); err != nil {
		t.Fatal(err)
	}
	var content []byte
	var manifest []string
	for i := range 3 {
		data := bytesOf(byte('a'+i), 100_000)
		content = append(content, data...)
		name := fmt.Sprintf("seg/%d", i)
		b.do(servers.SwiftRequest{Method: "PUT", Container: theirs, Key: name, Body: data})
		manifest = append(manifest, fmt.Sprintf(`{"path": "/%s/%s"}`, theirs, name))
	}
	b.do(servers.SwiftRequest{Method: "PUT", Container: b.container, Key: "static", Query: url.Values{"multipart-manifest": {"put"}},
		Body: []byte("[" + strings.Join(manifest, ",") + "]")})
	b.do(servers.SwiftRequest{Method: "PUT", Container: b.container, Key: "dynamic", Header: http.Header{"X-Object-Manifest": {theirs + "/seg/"}}})
	b.do(servers.SwiftRequest{Method: "PUT", Container: b.container, Key: "empty"})
	page, err := b.List(ctx, provider.ListOptions{})
	if err != nil || len(page.Objects) != 3 {
		t.Fatalf("%v, %v", page, err)
	}
	for i, key := range []string{"dynamic", "empty", "static"} {
		o, err := b.Stat(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if got := page.Objects[i]; got.Key != key || got.Size != o.Size || got.Version != o.Version || got.Revision != o.Revision {
			t.Errorf("listed %+v, stat %+v", got, o)
		}
		if key == "empty" {
			continue
		}
		b.wantContent(key, content)
		if got, err := b.read(key, provider.OpenOptions{Offset: 99_999, Length: 3, IfVersion: o.Version}); err != nil || string(got) != "abb" {
			t.Errorf("%s, a range: %q, %v", key, got, err)
		}
		if _, err := b.read(key, provider.OpenOptions{IfVersion: `"other"`}); !provider.Is(err, provider.KindPrecondition) {
			t.Errorf("%s, another version: %v", key, err)
		}
		if _, err := b.Copy(ctx, key, key, provider.CopyOptions{IfSourceVersion: o.Version, Metadata: provider.Metadata{"note": "x"}}); err != nil {
			t.Errorf("%s, other metadata: %v", key, err)
		}
		if o, err := b.Stat(ctx, key); err != nil || o.Metadata["note"] != "x" {
			t.Errorf("%s, other metadata: %+v, %v", key, o, err)
		}
		b.wantContent(key, content)
	}
	up, err := b.NewUpload(ctx, "new", provider.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	part, err := up.CopyPart(ctx, 1, "static", provider.CopyPartOptions{Offset: 50_000, Length: 200_000})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := up.Complete(ctx, []provider.Part{part}, provider.CompleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.wantContent("new", content[50_000:250_000])
}

// TestATruncatedObjectIsAnError deletes a segment: Swift answers with status 200 and a body that ends early.
func TestATruncatedObjectIsAnError(t *testing.T) {
	b := newBed(t)
	b.large("k", bytesOf('a', 3<<20), bytesOf('b', 1000))
	b.do(servers.SwiftRequest{Method: "DELETE", Container: b.container + segmentsSuffix, Key: b.segments()[1]})
	_, err := b.read("k", provider.OpenOptions{})
	if !provider.Is(err, provider.KindUnavailable) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want KindUnavailable and io.ErrUnexpectedEOF", err)
	}
}

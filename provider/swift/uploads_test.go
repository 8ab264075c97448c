package swift

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/provider/transfer"
	"sharefs/test/servers"
)

// leftBehind does something while the cluster deletes no segments, as if the process had ended before it asked for that, and
// goes on as another process.
func (b *bed) leftBehind(do func() error) {
	b.t.Helper()
	b.proxy.Break(1, servers.Fault{Effects: []servers.Effect{servers.Answer500}, Kinds: []servers.Request{servers.DeleteBatch}, Every: 1})
	err := do()
	broken := b.proxy.Broken()[servers.Answer500]
	b.proxy.Break(1)
	if err != nil || broken == 0 {
		b.t.Fatalf("%v; %d requests to delete segments failed", err, broken)
	}
	b.reopen()
}

// wantLeft wants one upload to be listed, of so many bytes, and frees it.
func (b *bed) wantLeft(key string, size int64) {
	b.t.Helper()
	uploads, err := b.ListUploads(b.t.Context(), key[:1])
	if err != nil || len(uploads) != 1 {
		b.t.Fatalf("%+v, %v; want one", uploads, err)
	}
	if u := uploads[0]; u.Key != key || u.Size != size || time.Since(u.Started).Abs() > 10*time.Minute {
		b.t.Errorf("%+v, want %d bytes of %s", u, size, key)
	}
	if err := b.AbortUpload(b.t.Context(), key, uploads[0].ID); err != nil {
		b.t.Fatal(err)
	}
	b.wantNoUploads()
}

func (b *bed) wantNoUploads() {
	b.t.Helper()
	if uploads, err := b.ListUploads(b.t.Context(), ""); err != nil || len(uploads) > 0 {
		b.t.Errorf("%+v, %v; want none", uploads, err)
	}
}

func TestSegmentsThatNothingUsesAreFound(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	a, c, d := bytesOf('a', 1000), bytesOf('c', 2000), bytesOf('d', 300)
	long := strings.TrimSuffix(strings.Repeat(strings.Repeat("k", 200)+"/", 6), "/")[:1023] + "\n"
	for _, key := range []string{"k", long} {
		b.large(key, a, c)
		b.leftBehind(func() error { b.large(key, d); return nil })
		b.wantSegments(3, "replaced by a large one")
		b.wantLeft(key, 3000)
		b.wantSegments(1, "those of the new one")
		b.wantContent(key, d)

		b.large(key, a, c)
		b.leftBehind(func() error { b.must(key, d, nil); return nil })
		b.wantLeft(key, 3000)
		b.wantContent(key, d)

		b.large(key, a, c)
		b.leftBehind(func() error { return b.Delete(ctx, provider.DeleteOptions{}, key) })
		b.wantLeft(key, 3000)
		b.wantSegments(0, "all were left behind")
	}
}

// TestOnlyWhatNothingUsesIsFreed leaves two of the segments of one upload behind, of which the object uses the other two.
func TestOnlyWhatNothingUsesIsFreed(t *testing.T) {
	b := newBed(t)
	const segment = 10_000
	content := slices.Concat(bytesOf('a', segment), bytesOf('b', segment), bytesOf('c', segment), bytesOf('d', segment))
	first := b.large("k", content[:segment], content[segment:2*segment], content[2*segment:3*segment], content[3*segment:])
	b.large("kin", content[:segment])
	copy(content[segment:], bytesOf('x', 2*segment))
	pieces := []transfer.Piece{{Len: segment, Copy: true}, {Off: segment, Len: 2 * segment}, {Off: 3 * segment, Len: segment, Copy: true}}
	b.leftBehind(func() error {
		_, err := transfer.Patch(t.Context(), b, "k", strings.NewReader(string(content)), pieces, "k", first.Version, transfer.Options{})
		return err
	})
	b.wantSegments(6, "two of them unused, one of another object")
	b.wantLeft("k", 2*segment)
	b.wantSegments(4, "what the objects use")
	b.wantContent("k", content)
	b.wantContent("kin", bytesOf('a', segment))
}

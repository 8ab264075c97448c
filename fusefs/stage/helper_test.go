package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"
)

const page = pageSize

var bg = context.Background()

var errBase = errors.New("the base does not answer")

// memBase is an object in memory. It counts requests and fails or waits when it is told to.
type memBase struct {
	content []byte
	spilled map[int64][]byte // pages that stand before those of content

	mu       sync.Mutex
	requests []Range
	fail     error
	short    bool          // return fewer bytes, without an error
	started  chan struct{} // when set, a request sends on it ...
	release  chan struct{} // ... and waits for this or its context
}

func (b *memBase) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	b.mu.Lock()
	b.requests = append(b.requests, Range{off, int64(len(p))})
	fail, short, started, release := b.fail, b.short, b.started, b.release
	b.mu.Unlock()
	if started != nil {
		started <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	if fail != nil {
		return 0, fail
	}
	if b.spilled != nil {
		return b.readSpilled(p, off)
	}
	if off+int64(len(p)) > int64(len(b.content)) {
		return 0, fmt.Errorf("asked for %d bytes at %d of an object of %d", len(p), off, len(b.content))
	}
	if short {
		p = p[:len(p)-1]
	}
	return copy(p, b.content[off:]), nil
}

// spill makes p the base's bytes from off on, the beginning of a page.
func (b *memBase) spill(p []byte, off int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.spilled == nil {
		b.spilled = map[int64][]byte{}
	}
	for len(p) > 0 {
		b.spilled[off/page] = p[:page]
		p, off = p[page:], off+page
	}
}

func (b *memBase) readSpilled(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		from := b.spilled[off/page]
		if from == nil {
			if off >= int64(len(b.content)) {
				return n, fmt.Errorf("nothing has the byte at %d", off)
			}
			from = b.content[off/page*page:]
			from = from[:min(page, len(from))]
		}
		k := copy(p[n:], from[off%page:])
		n, off = n+k, off+int64(k)
	}
	if b.short {
		return n - 1, nil
	}
	return n, nil
}

func (b *memBase) asked() []Range {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.requests
}

func (b *memBase) load(int64) Base { return b }

// pattern returns n bytes without zeros that depend on the seed.
func pattern(seed uint64, n int64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(1 + r.UintN(255))
	}
	return p
}

func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, Options{Logger: slog.New(slog.DiscardHandler), FillSize: 4 * page, BootID: testBoot})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const testBoot = "00112233-4455-6677-8899-aabbccddeeff"

// adoptAbsent adopts an object of which nothing is local.
func adoptAbsent(t testing.TB, s *Store, id ID, content []byte) (*File, *memBase) {
	t.Helper()
	base := &memBase{content: content}
	f, err := s.Adopt(id, int64(len(content)), nil, base)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, f)
	return f, base
}

func closeLater(t testing.TB, f *File) {
	t.Cleanup(func() {
		if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
}

func mustWrite(t testing.TB, f *File, p []byte, off int64) {
	t.Helper()
	if n, err := f.WriteAt(bg, p, off); err != nil || n != len(p) {
		t.Fatalf("write of %d bytes at %d: %d, %v", len(p), off, n, err)
	}
}

// wantContent fails the test unless the file reads as want.
func wantContent(t testing.TB, f *File, want []byte) {
	t.Helper()
	if f.Size() != int64(len(want)) {
		t.Fatalf("size is %d, want %d", f.Size(), len(want))
	}
	got := make([]byte, len(want)+1)
	n, err := f.ReadAt(bg, got, 0)
	if err != io.EOF || n != len(want) {
		t.Fatalf("read: %d bytes, %v; want %d and io.EOF", n, err, len(want))
	}
	if at := firstDiff(got[:n], want); at >= 0 {
		t.Fatalf("byte %d (page %d) is %#x, want %#x", at, at/page, got[at], want[at])
	}
}

func firstDiff(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// put is a plain model of WriteAt.
func put(content, p []byte, off int64) []byte {
	if end := off + int64(len(p)); end > int64(len(content)) {
		content = resize(content, end)
	}
	copy(content[off:], p)
	return content
}

// resize is a plain model of Truncate.
func resize(content []byte, size int64) []byte {
	if size <= int64(len(content)) {
		return content[:size:size]
	}
	return append(content[:len(content):len(content)], make([]byte, size-int64(len(content)))...)
}

func within(t testing.TB, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("%s: not within a minute", what)
	}
}

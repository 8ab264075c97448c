package cache

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sharefs/cache/internal/blockfile"
	"sharefs/provider"
)

func TestMain(m *testing.M) {
	if childMain() {
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

const (
	kib = 1 << 10
	mib = 1 << 20
	blk = blockfile.BlockSize
)

// store is one object in a store that counts.
type store struct {
	obj  Object
	data []byte

	mu   sync.Mutex
	gets []Range
	open int // readers that were not closed

	fail func(off, length int64) error // asked before each GET
	gate chan struct{}                 // when set, bodies take a token for each 64 KiB
	free int64                         // bodies that begin before this offset need no tokens
	cut  int64                         // when set, bodies end after so many bytes
}

func newStore(id ID, size int64) *store {
	data := make([]byte, size)
	// Repeated with a period that shifts against blocks, so that a block in the wrong place is noticed.
	n := min(size, 40093)
	rand.NewChaCha8([32]byte{byte(id), byte(id >> 8), byte(id >> 16)}).Read(data[:n])
	for ; n < size; n *= 2 {
		copy(data[n:], data[:n])
	}
	return &store{obj: Object{ID: id, Key: "key", Version: "v1", Size: size}, data: data}
}

func (s *store) fetch(ctx context.Context, off, length int64) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets = append(s.gets, Range{off, length})
	if s.fail != nil {
		if err := s.fail(off, length); err != nil {
			return nil, err
		}
	}
	if off < 0 || length < 1 || off+length > s.obj.Size {
		return nil, &provider.Error{Op: "open", Key: s.obj.Key, Kind: provider.KindInvalid}
	}
	s.open++
	p := s.data[off : off+length]
	if s.cut > 0 {
		p = p[:min(s.cut, int64(len(p)))]
	}
	body := &storeBody{ctx: ctx, s: s, r: bytes.NewReader(p)}
	if off >= s.free {
		body.gate = s.gate
	}
	return body, nil
}

func (s *store) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.gets)
}

// sent returns the requests so far, and forgets them.
func (s *store) sent() []Range {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.gets
	s.gets = nil
	return g
}

func (s *store) bytes() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.gets {
		n += g.Len
	}
	return n
}

type storeBody struct {
	ctx  context.Context
	gate chan struct{}
	s    *store
	r    *bytes.Reader
	left int
}

func (b *storeBody) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if b.gate != nil {
		if b.left == 0 {
			select {
			case <-b.gate:
				b.left = blk
			case <-b.ctx.Done():
				return 0, b.ctx.Err()
			}
		}
		p = p[:min(len(p), b.left)]
	}
	n, err := b.r.Read(p)
	b.left -= n
	return n, err
}

func (b *storeBody) Close() error {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.s.open--
	return nil
}

// openCache opens a cache without a floor of free disk, and checks at the end that its accounts match its directory.
func openCache(t testing.TB, dir string, o Options) *Cache {
	t.Helper()
	if o.KeepFree == 0 {
		o.KeepFree = -1
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeCache(t, c) })
	return c
}

func closeCache(t testing.TB, c *Cache) {
	t.Helper()
	c.life.mu.RLock()
	ended := c.life.ended
	c.life.mu.RUnlock()
	if ended {
		return
	}
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	checkAccounts(t, c)
}

// checkAccounts compares what the cache counts with what its directory takes of the disk.
func checkAccounts(t testing.TB, c *Cache) {
	t.Helper()
	s := c.Stats()
	if s.Bytes > s.Limit {
		t.Errorf("the cache has %d bytes, the bound is %d", s.Bytes, s.Limit)
	}
	if disk := diskBytes(t, c.dir.Path); disk != s.Bytes {
		t.Errorf("the cache counts %d bytes, the disk %d", s.Bytes, disk)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := int64(0)
	for _, o := range c.index {
		sum += o.side
	}
	sum += c.room.tiers[body].Bytes() + c.room.tiers[ends].Bytes()
	if sum != c.room.used {
		t.Errorf("the parts sum up to %d bytes, the whole is %d", sum, c.room.used)
	}
	if n := c.room.reservedAll(); n != 0 {
		t.Errorf("%d bytes stay reserved", n)
	}
	if n := c.memory.spare.Load(); n != 0 {
		t.Errorf("%d bytes in memory wait for a reader that never came", n)
	}
}

// diskBytes returns what the files below dir take of the disk.
func diskBytes(t testing.TB, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		st, err := os.Lstat(path)
		if err == nil {
			n += st.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// readAt reads through the file and compares.
func readAt(t testing.TB, f *File, s *store, off, n int64) {
	t.Helper()
	if err := tryRead(f, s, off, n); err != nil {
		t.Fatal(err)
	}
}

func tryRead(f *File, s *store, off, n int64) error {
	p := make([]byte, n)
	m, err := f.ReadAt(context.Background(), p, off)
	want := s.data[min(off, s.obj.Size):min(off+n, s.obj.Size)]
	switch {
	case err == io.EOF && off+n > s.obj.Size, err == nil:
	default:
		return err
	}
	if !bytes.Equal(p[:m], want) {
		return &mismatch{off, n, m}
	}
	return nil
}

type mismatch struct {
	off, n int64
	got    int
}

func (m *mismatch) Error() string {
	return "wrong bytes" + slog.Int64("off", m.off).String() + slog.Int64("n", m.n).String() + slog.Int("got", m.got).String()
}

// readAll reads the whole content in steps.
func readAll(t testing.TB, f *File, s *store, step int64) {
	t.Helper()
	for off := int64(0); off < s.obj.Size; off += step {
		readAt(t, f, s, off, step)
	}
}

// settle waits until no GET is under way.
func settle(t testing.TB, c *Cache) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Microsecond) {
		running := 0
		c.mu.Lock()
		for _, o := range c.index {
			running += o.running
		}
		c.mu.Unlock()
		if running == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d GETs do not end", running)
		}
	}
}

// whole and stats look at the cache when everything has settled.
func whole(t testing.TB, c *Cache, id ID) bool {
	t.Helper()
	settle(t, c)
	return c.Whole(id)
}

func stats(t testing.TB, c *Cache) Stats {
	t.Helper()
	settle(t, c)
	return c.Stats()
}

func mustClose(t testing.TB, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/provider/mem"
	"sharefs/test/soak"
)

// hook lets a test run something around Stat/Put.
type hook struct {
	provider.Provider
	caps  func(provider.Capabilities) provider.Capabilities
	stat  func(key string, do func() (provider.Object, error)) (provider.Object, error)
	put   func(key string)
	moved func()
	list  func(prefix string)
}

func (h *hook) Capabilities() provider.Capabilities {
	c := h.Provider.Capabilities()
	if h.caps != nil {
		c = h.caps(c)
	}
	return c
}
func (h *hook) Stat(ctx context.Context, key string) (provider.Object, error) {
	if h.stat != nil {
		return h.stat(key, func() (provider.Object, error) { return h.Provider.Stat(ctx, key) })
	}
	return h.Provider.Stat(ctx, key)
}
func (h *hook) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o provider.PutOptions) (provider.Object, error) {
	if h.put != nil {
		h.put(key)
	}
	return h.Provider.Put(ctx, key, body, size, o)
}
func (h *hook) Move(ctx context.Context, a, b string) (provider.Object, error) {
	o, err := h.Provider.Move(ctx, a, b)
	if h.moved != nil {
		h.moved()
	}
	return o, err
}
func (h *hook) List(ctx context.Context, o provider.ListOptions) (provider.Page, error) {
	p, err := h.Provider.List(ctx, o)
	if !h.Capabilities().ListMetadata {
		for i := range p.Objects {
			p.Objects[i].Metadata = nil
		}
	}
	if h.list != nil {
		h.list(o.Prefix)
	}
	return p, err
}
func s3ish(c provider.Capabilities) provider.Capabilities {
	c.AtomicMove, c.ListMetadata = false, false
	return c
}

func put(t *testing.T, s provider.Provider, key, body string, md provider.Metadata) {
	t.Helper()
	_, err := s.Put(ctx, key, strings.NewReader(body), int64(len(body)), provider.PutOptions{Metadata: md})
	must(t, err)
}

func TestARenamedTreeKeepsTheModesOfItsDirectories(t *testing.T) {
	s := &hook{Provider: mem.New(mem.Options{}), caps: s3ish}
	m := openTree(t, s, Options{})
	must(t, m.mkdir("p"), m.mkdir("p/sub"), m.write("p/sub/f", "x"))
	ino, err := m.walk("p/sub")
	must(t, err)
	mode := uint32(0o700)
	_, err = m.SetAttr(ctx, ino, SetAttr{Mode: &mode})
	must(t, err)
	m.flush()
	m.close()
	m = openTree(t, s, Options{})
	must(t, m.mv("p", "q"))
	m.flush()
	ino, err = m.walk("q/sub")
	must(t, err)
	a, err := m.GetAttr(ctx, ino)
	must(t, err)
	t.Logf("mode after mv: %o; objects %v", a.Mode, objects(t, s))
	if a.Mode&0o777 != 0o700 {
		t.Errorf("the file is lost")
	}
	m.close()
}

func TestFsyncReturnsWhileOthersWrite(t *testing.T) {
	var puts atomic.Int64
	s := &hook{Provider: mem.New(mem.Options{}), caps: s3ish, put: func(string) { puts.Add(1); time.Sleep(20 * time.Millisecond) }}
	m := openTree(t, s, Options{})
	h, err := m.open("f", syscall.O_CREAT|syscall.O_RDWR)
	must(t, err)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := int64(0); ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				_, _ = h.WriteAt(ctx, []byte("abcdefgh"), i%100*8)
			}
		}
	})
	time.Sleep(30 * time.Millisecond)
	c, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	start := time.Now()
	err = h.Fsync(c)
	t.Logf("fsync: %v after %v, %d puts", err, time.Since(start), puts.Load())
	close(stop)
	wg.Wait()
	h.Release()
	if err != nil {
		t.Errorf("LIVELOCK")
	}
	m.close()
}

func TestTheStoredSizeIsKnownAfterAnFsyncAndACrash(t *testing.T) {
	s := &hook{Provider: mem.New(mem.Options{}), caps: s3ish}
	m := openTree(t, s, Options{Writeback: time.Hour, WritebackMax: time.Hour})
	h, err := m.open("f", syscall.O_CREAT|syscall.O_RDWR)
	must(t, err)
	_, err = h.WriteAt(ctx, []byte("aaaa"), 0)
	must(t, err, h.Flush(ctx))
	// a write between Fsync's persist and its Sync
	_, err = h.WriteAt(ctx, []byte("bbbb"), 4)
	must(t, err, m.Tree.commit.Sync(ctx, h.Ino()))
	m = m.crash()
	a, err := m.Lookup(ctx, Root, "f")
	must(t, err)
	t.Logf("store: %v, stat says %d", objects(t, s), a.Size)
	if a.Size != 8 {
		t.Errorf("SIZE")
	}
	h, err = m.open("f", syscall.O_WRONLY)
	must(t, err)
	_, err = h.WriteAt(ctx, []byte("X"), 0)
	must(t, err, h.Flush(ctx))
	h.Release()
	m.flush()
	t.Logf("store after a 1 byte write: %v", objects(t, s))
	m.close()
}

func TestAStatDuringARenameLosesNothing(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprint("404=", late), func(t *testing.T) {
			inner := mem.New(mem.Options{})
			put(t, inner, "d/x", "hello", nil)
			s := &hook{Provider: inner, caps: s3ish}
			m := openTree(t, s, Options{Writeback: time.Hour})
			_, err := m.walk("d")
			must(t, err)
			must(t, m.mv("d", "e")) // x is not known
			gate, in := make(chan struct{}), make(chan struct{})
			var once sync.Once
			s.stat = func(key string, do func() (provider.Object, error)) (provider.Object, error) {
				first := false
				if key == "d/x" {
					once.Do(func() { first = true })
				}
				if !first {
					return do()
				}
				if late {
					close(in)
					<-gate
					return do()
				}
				o, err := do()
				close(in)
				<-gate
				return o, err
			}
			done := make(chan error, 1)
			dir, err := m.walk("e")
			must(t, err)
			go func() { _, err := m.Lookup(ctx, dir, "x"); done <- err }()
			select {
			case <-in:
			case <-time.After(time.Minute):
				t.Fatal("the store is not asked for what the catalog does not know")
			}
			m.flush()
			close(gate)
			t.Log("lookup:", <-done)
			time.Sleep(100 * time.Millisecond)
			got, err := m.read("e/x")
			t.Logf("read e/x: %q, %v; store %v", got, err, objects(t, inner))
			if got != "hello" {
				t.Errorf("the file is lost")
			}
			m.close()
		})
	}
}

func TestAReadDuringAMoveLosesNothing(t *testing.T) {
	inner := mem.New(mem.Options{})
	put(t, inner, "a", "hello", nil)
	s := &hook{Provider: inner}
	m := openTree(t, s, Options{})
	in, gate := make(chan struct{}), make(chan struct{})
	s.moved = func() { close(in); <-gate }
	must(t, m.mv("a", "b"))
	<-in
	h, err := m.open("b", syscall.O_RDONLY)
	must(t, err)
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	_, err = h.ReadAt(short, make([]byte, 5), 0)
	cancel()
	h.Release()
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a read of what is being moved: %v", err)
	}
	close(gate)
	m.flush()
	got, err := m.read("b")
	t.Logf("after: %q %v; store %v", got, err, objects(t, inner))
	if got != "hello" {
		t.Errorf("the file is lost")
	}
	m.close()
}

// slowBase: a writer comes while Snapshot fills.
func TestAWriterWhoComesDuringTheFetchIsNotStoredHalf(t *testing.T) {
	inner := mem.New(mem.Options{})
	put(t, inner, "a", strings.Repeat("o", 16<<20), nil)
	s := &slowOpen{hook: hook{Provider: inner, caps: s3ish}}
	m := openTree(t, s, Options{Writeback: 50 * time.Millisecond})
	h, err := m.open("a", syscall.O_WRONLY)
	must(t, err)
	_, err = h.WriteAt(ctx, []byte(strings.Repeat("n", 4096)), 0)
	must(t, err, h.Flush(ctx))
	in, gate := make(chan struct{}), make(chan struct{})
	s.on.Store(&[2]chan struct{}{in, gate})
	h.Release()
	<-in // the upload's Fill
	h2, err := m.open("a", syscall.O_WRONLY)
	must(t, err)
	_, err = h2.WriteAt(ctx, []byte(strings.Repeat("T", 4096)), 0) // first half of an update
	must(t, err)
	close(gate)
	time.Sleep(300 * time.Millisecond)
	r, _, err := inner.Open(ctx, "a", provider.OpenOptions{Length: 4})
	must(t, err)
	b, _ := io.ReadAll(r)
	t.Logf("the store has %q while the writer has not closed", b)
	if string(b) == "TTTT" {
		t.Errorf("half an update is stored")
	}
	h2.Release()
	m.close()
}

type slowOpen struct {
	hook
	on atomic.Pointer[[2]chan struct{}]
}

func (s *slowOpen) Open(ctx context.Context, key string, o provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
	if g := s.on.Swap(nil); g != nil {
		close(g[0])
		<-g[1]
	}
	return s.Provider.Open(ctx, key, o)
}

func TestAListingThatComesTooLateChangesNothing(t *testing.T) {
	inner := mem.New(mem.Options{})
	put(t, inner, "x", "x", nil)
	s := &hook{Provider: inner, caps: s3ish}
	m := openTree(t, s, Options{})
	defer m.close()
	must(t, m.complete(ctx, Root))
	// Somebody saw the directory incomplete before that, and asks for its listing only now.
	s.list = func(string) { t.Error("it is listed again, and may have been changed meanwhile") }
	must(t, m.once(ctx, m.loads, Root, func(ctx context.Context) error { return m.list(ctx, Root) }))
}

// TestSoakStatTellsOfEveryChangeThatEndedBefore: the kernel keeps what it is told for an hour, unless a change began later.
func TestSoakStatTellsOfEveryChangeThatEndedBefore(t *testing.T) {
	m := openTree(t, mem.New(mem.Options{}), Options{Writeback: time.Millisecond})
	must(t, m.write("f", ""))
	ino, err := m.walk("f")
	must(t, err)
	var written atomic.Int64 // bytes
	stop := make(chan struct{})
	looks := map[string]func() (Attr, error){
		"getattr": func() (Attr, error) { return m.GetAttr(ctx, ino) },
		"lookup":  func() (Attr, error) { return m.Lookup(ctx, Root, "f") },
		"readdir": func() (a Attr, err error) {
			err = m.ReadDir(ctx, Root, 0, func(e DirEntry) bool { a = *e.Attr; return true })
			return a, err
		},
	}
	var wg sync.WaitGroup
	for name, look := range looks {
		wg.Go(func() {
			var last time.Time
			for {
				select {
				case <-stop:
					return
				default:
				}
				least := written.Load()
				a, err := look()
				if err != nil || a.Size < least || a.Mtime.Before(last) {
					t.Errorf("%s: size %d after %d bytes were written, modified %v after %v; %v", name, a.Size, least, a.Mtime, last, err)
					return
				}
				last = a.Mtime
			}
		})
	}
	for n := range int64(soak.Count(150, 1500)) {
		h, err := m.open("f", syscall.O_WRONLY)
		must(t, err)
		_, err = h.WriteAt(ctx, []byte("x"), n)
		must(t, err)
		written.Store(n + 1)
		must(t, h.Flush(ctx))
		h.Release()
	}
	close(stop)
	wg.Wait()
	m.close()
}

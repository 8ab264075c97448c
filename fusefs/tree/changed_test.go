package tree

import (
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/provider/mem"
)

func putForeign(t *testing.T, s provider.Provider, key, content string) {
	t.Helper()
	_, err := s.Put(ctx, key, strings.NewReader(content), int64(len(content)), provider.PutOptions{})
	must(t, err)
}

// TestAFileThatIsReplacedByOneOfTheSameLengthWhileItIsOpenIsTheNewOne replaces it behind handles that have its bytes in the
// stage or in the read cache.
func TestAFileThatIsReplacedByOneOfTheSameLengthWhileItIsOpenIsTheNewOne(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, m *mount) Handle{
		"written and stored here": func(t *testing.T, m *mount) Handle {
			h, err := m.open("f", syscall.O_CREAT|syscall.O_RDWR)
			must(t, err)
			_, err = h.WriteAt(ctx, []byte("old"), 0)
			must(t, err, h.Fsync(ctx))
			return h
		},
		"read from the cache": func(t *testing.T, m *mount) Handle {
			must(t, m.write("f", "old"))
			m.flush()
			h, err := m.open("f", syscall.O_RDWR)
			must(t, err)
			wantRead(t, h, []byte("old"))
			return h
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := mem.New(mem.Options{Capabilities: s3like()})
			m := openTree(t, store, Options{})
			defer m.close()
			h := open(t, m)
			putForeign(t, store, "f", "new")
			_, err := m.Reconcile(ctx, nil)
			must(t, err)
			waitFor(t, func() bool { got, err := m.read("f"); return err == nil && got == "new" })
			if _, err := readHandle(h); !errors.Is(err, syscall.ESTALE) {
				t.Errorf("a read through the handle of before: %v", err)
			}
			if _, err := h.WriteAt(ctx, []byte("X"), 0); !errors.Is(err, syscall.ESTALE) {
				t.Errorf("a write through the handle of before: %v", err)
			}
			h.Release()
			wantFile(t, m, "f", "new")
			must(t, m.patch("f", "N", 0))
			m.flush()
			wantObjects(t, store, map[string]string{"f": "New"})
		})
	}
}

// TestEachOfTwoClosesOfOneHandleWaitsUntilItIsStored closes a handle twice at once, as processes that have forked do.
func TestEachOfTwoClosesOfOneHandleWaitsUntilItIsStored(t *testing.T) {
	hold, begun := make(chan struct{}), make(chan struct{})
	var once sync.Once
	store := &hook{Provider: mem.New(mem.Options{Capabilities: s3like()}), put: func(key string) {
		if key == "f" {
			once.Do(func() { close(begun) })
			<-hold
		}
	}}
	m := openTree(t, store, Options{CommitSync: true})
	defer m.close()
	h, err := m.open("f", syscall.O_CREAT|syscall.O_RDWR)
	must(t, err)
	defer h.Release()
	_, err = h.WriteAt(ctx, []byte("content"), 0)
	must(t, err)
	done := make(chan error, 2)
	go func() { done <- h.Flush(ctx) }()
	<-begun
	go func() { done <- h.Flush(ctx) }()
	select {
	case err := <-done:
		t.Errorf("a close returned (%v) before the file was stored", err)
	case <-time.After(50 * time.Millisecond): // one that does not wait is done by then, or is not found out this time
	}
	close(hold)
	must(t, <-done, <-done)
	wantObjects(t, store, map[string]string{"f": "content"})
}

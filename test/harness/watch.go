package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// watchPause is how long a watcher rests after it has looked at everything.
const watchPause = 10 * time.Millisecond

// Watcher reads a store all the time, as another program would, and tells of every version of an object that it sees.
type Watcher struct {
	s    *Store
	see  func(key string, body []byte)
	stop context.CancelFunc
	done chan struct{}
	err  error

	mu    sync.Mutex
	known map[string]string // by key: the identity of the version that was seen last
	count int
}

// Watch starts a watcher, which ends with the test. see is called for each version of each object, from one goroutine;
// sharefs's own objects are left out.
func (s *Store) Watch(tb testing.TB, see func(key string, body []byte)) *Watcher {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watcher{s: s, see: see, stop: cancel, done: make(chan struct{}), known: map[string]string{}}
	go func() {
		defer close(w.done)
		for ctx.Err() == nil {
			if w.err = w.look(ctx); w.err != nil {
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(watchPause):
			}
		}
	}()
	tb.Cleanup(func() {
		cancel()
		<-w.done
		if w.err != nil && !errors.Is(w.err, context.Canceled) {
			tb.Errorf("the watcher: %v", w.err)
		}
	})
	return w
}

// Count is how many versions were seen.
func (w *Watcher) Count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count
}

func (w *Watcher) look(ctx context.Context) error {
	if w.s.Server == nil {
		return w.lookAtFiles()
	}
	pages := s3.NewListObjectsV2Paginator(w.s.Server.Client(), &s3.ListObjectsV2Input{Bucket: &w.s.Bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, o := range page.Contents {
			if err := w.lookAt(ctx, *o.Key, *o.ETag); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookAt fetches an object, unless it was seen as it is.
func (w *Watcher) lookAt(ctx context.Context, key, etag string) error {
	if strings.HasPrefix(key, reserved) || w.known[key] == etag {
		return nil
	}
	out, err := w.s.Server.Client().GetObject(ctx, &s3.GetObjectInput{Bucket: &w.s.Bucket, Key: &key})
	var gone *types.NoSuchKey
	if errors.As(err, &gone) {
		delete(w.known, key)
		return nil
	}
	if err != nil {
		return err
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	w.saw(key, *out.ETag, body)
	return nil
}

func (w *Watcher) saw(key, identity string, body []byte) {
	w.known[key] = identity
	w.see(key, body)
	w.mu.Lock()
	w.count++
	w.mu.Unlock()
}

// lookAtFiles does the same for a directory, where what is seen may be gone the next moment.
func (w *Watcher) lookAtFiles() error {
	return filepath.WalkDir(w.s.Dir, func(path string, d os.DirEntry, err error) error {
		if vanished(err) || err == nil && d.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		key, err := filepath.Rel(w.s.Dir, path)
		if err != nil || strings.HasPrefix(key, reserved) {
			return err
		}
		st, err := os.Lstat(path)
		if vanished(err) {
			return nil
		}
		if err != nil {
			return err
		}
		identity := fmt.Sprint(st.Sys().(*syscall.Stat_t).Ino, st.ModTime().UnixNano(), st.Size())
		if w.known[key] == identity {
			return nil
		}
		body, err := readFileOrLink(path)
		if vanished(err) {
			return nil
		}
		if err == nil {
			w.saw(key, identity, body)
		}
		return err
	})
}

// vanished reports whether an error is that of a name that another process has just taken away, or given to something else.
func vanished(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR)
}

func readFileOrLink(path string) ([]byte, error) {
	if target, err := os.Readlink(path); err == nil {
		return []byte(target), nil
	}
	return os.ReadFile(path)
}

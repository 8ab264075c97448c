package tree

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sharefs/provider/mem"
)

// TestADirectoryWhoseContentComesWhileItsParentIsListedStays: when the store answered there was nothing in the directory, what is to
// be there was under way, and it is stored before the answer is looked at.
func TestADirectoryWhoseContentComesWhileItsParentIsListedStays(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{})
	var once, listed sync.Once
	var armed atomic.Bool
	var m *mount
	inner := mem.New(mem.Options{})
	put(t, inner, "p/q/old", "1", nil)
	m = openTree(t, &hook{Provider: inner, caps: s3ish,
		put: func(key string) {
			if key == "p/q/new" {
				once.Do(func() { close(held) })
				<-hold
			}
		},
		list: func(prefix string) { // the store has answered
			if prefix == "p/" && armed.Load() {
				listed.Do(func() {
					close(hold)
					must(t, m.Flush(ctx, nil))
				})
			}
		}}, Options{})
	defer m.close()
	m.show()
	must(t, m.write("p/q/new", "2"), m.rm("p/q/old"))
	<-held
	for there := true; there; time.Sleep(time.Millisecond) {
		_, there = objects(t, inner)["p/q/old"]
	}
	put(t, inner, "p/other", "theirs", nil) // so that p is looked at again
	armed.Store(true)
	_, err := m.Reconcile(ctx, nil)
	must(t, err)
	want := map[string]string{"p/": "", "p/q/": "", "p/q/new": "2", "p/other": "theirs"}
	must(t, same(m.show(), want))
}

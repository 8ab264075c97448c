package commit

import (
	"fmt"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/provider/mem"
)

// TestNoRequestLeavesBeforeItsIntentIsDurable looks at every request at how many fsyncs the catalog has made since the change
// that it is for.
func TestNoRequestLeavesBeforeItsIntentIsDurable(t *testing.T) {
	for name, caps := range map[string]provider.Capabilities{"copy": s3like(), "move": disklike()} {
		t.Run(name, func(t *testing.T) {
			bubble(t, caps, Options{Attributes: true}, func(t *testing.T, b *bed) {
				var before int64
				seen := map[string]bool{}
				b.store.takes = func(op, key string) time.Duration {
					seen[op] = true
					if b.cat.Syncs() == before {
						t.Errorf("%s %s left, and nothing was fsynced since the change", op, key)
					}
					return 0
				}
				for i, change := range []func(*bed) error{
					write("f", "1"),
					write("f", "2"),
					func(b *bed) error { return done(b.mkdir("d", 0o700)) },
					func(b *bed) error { return done(b.symlink("l", "to")) },
					func(b *bed) error { return b.mv("f", "g") },
					func(b *bed) error { return b.chmod("g", 0o600) },
					func(b *bed) error { return b.rm("g") },
				} {
					must(t, b.cat.Sync())
					before = b.cat.Syncs()
					if err := change(b); err != nil {
						t.Fatalf("change %d: %v", i, err)
					}
					must(t, b.flush())
				}
				for _, op := range []string{"put", name, "delete"} {
					if !seen[op] {
						t.Errorf("no %s was sent", op)
					}
				}
			})
		})
	}
}

// How many of them share one depends on the disk; that they do is shown in package catalog.
func TestUploadsInParallelTakeAtMostOneFsyncEach(t *testing.T) {
	const files = 200
	bubbleIn(t, t.TempDir(), mem.Full(), Options{Parallel: 50}, func(t *testing.T, b *bed) {
		for i := range files {
			must(t, done(b.write(fmt.Sprint("f", i), "1")))
		}
		before := b.cat.Syncs()
		must(t, b.flush())
		wantInStep(t, b)
		n := b.cat.Syncs() - before
		t.Logf("%d fsyncs for %d uploads", n, files)
		if n > files {
			t.Errorf("%d fsyncs for %d uploads", n, files)
		}
	})
}

func TestContentThatIsOnlyLocalIsDurableBeforeItsObjectGoes(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		a, err := b.write("a", "1")
		must(t, err)
		other, err := b.write("b", "2")
		must(t, err, b.flush(), b.mv("a", "c"), b.mv("b", "a"), b.mv("c", "b"))
		must(t, b.flush())
		wantInStep(t, b)
		b.k.mu.Lock()
		defer b.k.mu.Unlock()
		if len(b.k.secured) != 1 || b.k.secured[0] != a && b.k.secured[0] != other {
			t.Errorf("secured %v: one of %d and %d had to give up its object first", b.k.secured, a, other)
		}
	})
}

package commit

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"sharefs/provider/faulty"
)

// What somebody waits for goes first.

func TestAnFsyncDoesNotWaitForUploadsThatNobodyWaitsFor(t *testing.T) {
	for _, parallel := range []int{2, 4, 16} {
		t.Run(fmt.Sprint(parallel, " at a time"), func(t *testing.T) {
			bubble(t, s3like(), Options{Parallel: parallel}, func(t *testing.T, b *bed) {
				b.store.takes = func(_, key string) time.Duration {
					if strings.HasPrefix(key, "slow") {
						return time.Minute
					}
					return time.Second
				}
				for i := range 200 {
					must(t, done(b.write(fmt.Sprintf("slow%d", i), "content")))
				}
				time.Sleep(10 * time.Second) // as many uploads as may be are under way
				for i := range 3 {
					name := fmt.Sprintf("fsynced%d", i)
					ino, err := b.write(name, "content")
					must(t, err)
					began := time.Now()
					must(t, b.c.Sync(context.Background(), ino))
					if took := time.Since(began); took > 2*time.Second {
						t.Errorf("the fsync of %s took %v behind two hundred uploads of a minute", name, took)
					}
				}
				must(t, b.rm("fsynced0"))
				began := time.Now()
				must(t, b.c.SyncDoomed(context.Background(), "fsynced0"))
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("the delete that was waited for took %v", took)
				}
			})
		})
	}
}

func TestAnFsyncThatFailedOnceDoesNotWaitForUploadsEither(t *testing.T) {
	bubble(t, s3like(), Options{Parallel: 2}, func(t *testing.T, b *bed) {
		b.store.takes = func(_, key string) time.Duration {
			if strings.HasPrefix(key, "slow") {
				return time.Hour
			}
			return 0
		}
		for i := range 10 {
			must(t, done(b.write(fmt.Sprintf("slow%d", i), "content")))
		}
		time.Sleep(10 * time.Second)
		ino, err := b.write("f", "content")
		must(t, err)
		b.faults.Add(faulty.Rule{Ops: []string{"put"}, Times: 1})
		if err := b.c.Sync(context.Background(), ino); err == nil {
			t.Fatal("the fsync did not fail")
		}
		began := time.Now()
		must(t, b.c.Sync(context.Background(), ino))
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the second fsync took %v", took)
		}
	})
}

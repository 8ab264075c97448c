package commit

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

const second = time.Second

func TestAFileIsStoredWhenItHasBeenQuietForTheWritebackDelay(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		for i := range 5 { // at 0, 0.9, ... 3.6 s
			must(t, done(b.write("f", fmt.Sprint(i))))
			time.Sleep(900 * time.Millisecond)
		}
		time.Sleep(5 * second)
		wantDid(t, b, "put f")
		if at := b.store.times("put", "f"); at[0] != 4600*time.Millisecond {
			t.Errorf("it was stored at %v, want 1 s after the last change", at)
		}
		wantInStep(t, b)
	})
}

func TestAFileThatIsNeverQuietIsStoredAtTheLatestAfterWritebackMax(t *testing.T) {
	bubble(t, s3like(), Options{Writeback: second, WritebackMax: 10 * second}, func(t *testing.T, b *bed) {
		for i := range 250 {
			must(t, done(b.write("f", fmt.Sprint(i))))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(5 * second)
		at := b.store.times("put", "f")
		if len(at) != 3 || at[0] != 10*second {
			t.Errorf("in 25 s it was stored at %v, want at 10 s and at most every 10 s", at)
		}
		wantInStep(t, b)
	})
}

func TestWhatChangesDuringItsUploadWaitsForQuietAgain(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		b.store.takes = func(string, string) time.Duration { return 500 * time.Millisecond }
		must(t, done(b.write("f", "0")))
		time.Sleep(1200 * time.Millisecond) // the upload has begun
		for i := range 4 {                  // until 2.4 s
			must(t, done(b.write("f", fmt.Sprint(i))))
			time.Sleep(300 * time.Millisecond)
		}
		time.Sleep(10 * second)
		if at := b.store.times("put", "f"); len(at) != 2 || at[1] < 2900*time.Millisecond || at[1] > 3200*time.Millisecond {
			t.Errorf("stored at %v, want at 1 s and 1 s after the last change (2.1 s)", at)
		}
		wantInStep(t, b)
	})
}

func TestAFileThatIsOpenForWritingWaitsForItsClose(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		ino, err := b.write("f", "1")
		must(t, err)
		closed := b.openForWrite(ino)
		time.Sleep(time.Hour)
		wantDid(t, b)
		b.k.mu.Lock()
		looks := b.k.snapshots
		b.k.mu.Unlock()
		if looks > 3 {
			t.Errorf("it was looked at %d times while it was open", looks)
		}
		closed()
		time.Sleep(900 * time.Millisecond)
		wantDid(t, b)
		time.Sleep(200 * time.Millisecond)
		wantDid(t, b, "put f")
		wantInStep(t, b)
	})
}

func TestSyncWaitsForNeitherQuietNorClose(t *testing.T) {
	bubble(t, s3like(), Options{Writeback: time.Hour, WritebackMax: time.Hour}, func(t *testing.T, b *bed) {
		ino, err := b.write("f", "1")
		must(t, err)
		other, err := b.write("g", "1")
		must(t, err)
		closed := b.openForWrite(ino)
		defer closed()
		time.Sleep(10 * second)
		start := time.Now()
		must(t, b.sync(ino))
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %v", took)
		}
		wantDid(t, b, "put f")
		must(t, b.sync(ino, other)) // the first is stored already
		wantDid(t, b, "put f", "put g")
		wantInStep(t, b)
	})
}

func TestSyncOfAFileThatIsParkedStoresIt(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		ino, err := b.write("f", "1")
		must(t, err)
		defer b.openForWrite(ino)()
		time.Sleep(10 * second) // it is parked
		start := time.Now()
		must(t, b.sync(ino))
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %v", took)
		}
		wantInStep(t, b)
	})
}

func TestSyncDuringAnUploadStoresWhatWasWrittenBeforeTheSync(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		b.store.takes = func(string, string) time.Duration { return 10 * second }
		ino, err := b.write("f", "old")
		must(t, err)
		time.Sleep(3 * second) // the upload of "old" is under way until 11 s
		must(t, done(b.write("f", "new")), b.sync(ino))
		wantStore(t, b, map[string]string{"f": "new"})
		if at := b.store.times("put", "f"); !slices.Equal(at, []time.Duration{second, 11 * second}) {
			t.Errorf("stored at %v", at)
		}
		wantInStep(t, b)
	})
}

func TestSyncOfWhatIsNotPendingReturns(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		ino, err := b.write("f", "1")
		must(t, err, b.flush(), b.sync(ino), b.sync(), b.sync(1<<40), b.sync(1))
		wantDid(t, b, "put f")
	})
}

func TestASyncThatIsGivenUpLeavesTheRestToTheBackground(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		b.store.takes = func(string, string) time.Duration { return 10 * second }
		ino, err := b.write("f", "1")
		must(t, err)
		ctx, cancel := contextAfter(3 * second)
		defer cancel()
		if err := b.c.Sync(ctx, ino, 1<<40); !errors.Is(err, ctx.Err()) || err == nil {
			t.Errorf("%v", err)
		}
		if took := time.Since(b.store.start); took != 3*second {
			t.Errorf("it took %v", took)
		}
		time.Sleep(20 * second)
		wantDid(t, b, "put f")
		wantInStep(t, b)
	})
}

func TestSyncIsNotBehindABacklog(t *testing.T) {
	bubble(t, s3like(), Options{Parallel: 1}, func(t *testing.T, b *bed) {
		b.store.takes = func(string, string) time.Duration { return second }
		for i := range 100 {
			must(t, done(b.write(fmt.Sprintf("backlog%d", i), "x")))
		}
		time.Sleep(5500 * time.Millisecond)
		ino, err := b.write("urgent", "x")
		must(t, err)
		start := time.Now()
		must(t, b.sync(ino))
		if took := time.Since(start); took > 2500*time.Millisecond {
			t.Errorf("it took %v behind 95 files of 1 s each", took)
		}
	})
}

func TestNoMoreRequestsAtATimeThanParallel(t *testing.T) {
	bubble(t, s3like(), Options{Parallel: 3}, func(t *testing.T, b *bed) {
		b.store.takes = func(string, string) time.Duration { return second }
		for i := range 20 {
			must(t, done(b.write(fmt.Sprint(i), "x")))
		}
		must(t, b.flush())
		if b.store.most != 3 {
			t.Errorf("%d requests at a time", b.store.most)
		}
		wantInStep(t, b)
	})
}

func TestCloseEndsWaitsAndRequests(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		b.store.takes = func(string, string) time.Duration { return time.Hour }
		f, err := b.write("f", "1")
		must(t, err)
		g, err := b.mkdir("d", 0o755)
		must(t, err)
		results := make(chan error, 3)
		go func() { results <- b.c.Sync(t.Context(), f) }()
		go func() { results <- b.c.Sync(t.Context(), g, f) }()
		go func() { results <- b.c.Flush(t.Context(), nil) }()
		synctest.Wait()
		start := time.Now()
		b.c.Close()
		for range 3 {
			if err := <-results; err == nil {
				t.Error("a wait ended as if all were stored")
			}
		}
		ctx, cancel := contextAfter(time.Minute)
		defer cancel()
		if err := b.c.Sync(ctx, f); err == nil || errors.Is(err, ctx.Err()) {
			t.Errorf("Sync after Close: %v", err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %v", took)
		}
		b.store.takes = nil
		must(t, b.start(), b.flush())
		wantInStep(t, b)
	})
}

func TestFlushWaitsForWhatFollowsFromWhatWasPending(t *testing.T) {
	bubble(t, s3like(), Options{Writeback: 5 * second}, func(t *testing.T, b *bed) {
		b.store.takes = func(string, string) time.Duration { return second }
		must(t, done(b.mkdir("d", 0o755)), done(b.write("d/a", "1")), b.flush(), b.mv("d/a", "d/b"), b.flush())
		wantStore(t, b, map[string]string{"d/b": "1"})
		wantInStep(t, b)
	})
}

func TestFlushDeletesWhatWasUnlinkedDuringItsUpload(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		b.store.takes = func(string, string) time.Duration { return 10 * second }
		must(t, done(b.write("f", "1")))
		time.Sleep(5 * second) // the upload is under way
		must(t, b.rm("f"))
		time.Sleep(second)
		must(t, b.flush())
		wantStore(t, b, nil)
		wantInStep(t, b)
	})
}

func TestFlushDoesNotWaitForWhatComesLater(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		b.store.takes = func(string, string) time.Duration { return 10 * second }
		must(t, done(b.write("f", "1")))
		go func() {
			for i := range 100 {
				time.Sleep(time.Second)
				_, _ = b.write(fmt.Sprint("later", i), "1")
			}
		}()
		time.Sleep(500 * time.Millisecond)
		start := time.Now()
		must(t, b.flush())
		if took := time.Since(start); took > 15*second {
			t.Errorf("it took %v", took)
		}
		time.Sleep(200 * second)
	})
}

func TestFlushTellsItsProgress(t *testing.T) {
	bubble(t, s3like(), Options{Parallel: 1}, func(t *testing.T, b *bed) {
		b.store.takes = func(string, string) time.Duration { return second }
		for i := range 3 {
			must(t, done(b.write(fmt.Sprint(i), "12345")))
		}
		var told []int
		ctx, cancel := contextAfter(time.Hour)
		defer cancel()
		must(t, b.c.Flush(ctx, func(p Pending) {
			told = append(told, p.Files)
			if p.Bytes != int64(5*p.Files) || p.Running > 1 {
				t.Errorf("%+v", p)
			}
		}))
		if !slices.Contains(told, 3) || !slices.Contains(told, 2) || !slices.Contains(told, 1) {
			t.Errorf("%v", told)
		}
	})
}

package commit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sharefs/provider"
	"sharefs/provider/faulty"
)

func TestAFailureIsTriedAgainWithPausesThatDouble(t *testing.T) {
	bubble(t, s3like(), Options{BackoffMin: second, BackoffMax: 10 * second}, func(t *testing.T, b *bed) {
		heal := b.faults.Add(faulty.Rule{Ops: []string{"put"}})
		must(t, done(b.write("f", "1")))
		time.Sleep(60 * second)
		want := []time.Duration{1 * second, 2 * second, 4 * second, 8 * second, 16 * second, 26 * second, 36 * second, 46 * second, 56 * second}
		if at := b.store.times("put", "f"); !slices.Equal(at, want) {
			t.Errorf("tried at %v, want %v", at, want)
		}
		p := b.c.Problems()
		if len(p) != 1 || p[0].Path != "/f" || p[0].Tries != 9 || !strings.Contains(p[0].Error, "unavailable") ||
			p[0].Since.Sub(b.store.start) != second {
			t.Errorf("%+v", p)
		}
		heal()
		time.Sleep(10 * second)
		wantInStep(t, b)
		if p := b.c.Problems(); len(p) != 0 {
			t.Errorf("%+v", p)
		}
		if n := strings.Count(b.logged(), "could not be stored"); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}

func TestChangesOfAFileThatFailsDoNotShortenItsPause(t *testing.T) {
	bubble(t, s3like(), Options{BackoffMin: 10 * second, BackoffMax: 10 * second}, func(t *testing.T, b *bed) {
		b.faults.Add(faulty.Rule{Ops: []string{"put"}})
		for i := range 300 {
			must(t, done(b.write("f", fmt.Sprint(i))))
			time.Sleep(100 * time.Millisecond)
		}
		if at := b.store.times("put", "f"); len(at) > 4 {
			t.Errorf("in 30 s it was tried at %v", at)
		}
	})
}

func TestAStoreThatIsGoneCostsNoMoreAttemptsThanThePausesAllow(t *testing.T) {
	bubble(t, s3like(), Options{BackoffMax: 60 * second}, func(t *testing.T, b *bed) {
		b.faults.Add(faulty.Rule{})
		for i := range 5 {
			must(t, done(b.mkdir(fmt.Sprint("d", i), 0o755)))
			for j := range 40 {
				must(t, done(b.write(fmt.Sprintf("d%d/%d", i, j), "x")))
			}
		}
		time.Sleep(10 * time.Minute)
		// 1, 2, 4, ... 64 s and then every 60 s: 15 in ten minutes for each file.
		if n := len(b.faults.Injected()); n < 10*200 || n > 15*200 {
			t.Errorf("%d attempts for 200 files in 10 minutes", n)
		}
		p, err := b.c.Pending()
		if err != nil || p.Files != 200 || p.Bytes != 200 {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

func TestEveryoneWhoWaitsIsToldOfAFailure(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		must(t, done(b.write("a", "1")), b.flush(), b.mv("a", "b"))
		inside, err := b.mkdir("a", 0o755)
		must(t, err)
		b.faults.Add(faulty.Rule{Ops: []string{"copy"}, Kind: provider.KindDenied}) // a cannot become b, so a/ cannot come
		results := make(chan error, 4)
		wait := func(inos ...uint64) {
			ctx, cancel := contextAfter(time.Hour)
			defer cancel()
			results <- b.c.Sync(ctx, inos...)
		}
		n, err := b.k.row(inside)
		must(t, err)
		go wait(inside) // is blocked
		go wait(n.Ino - 1)
		go wait(n.Ino-1, inside)
		go func() { results <- b.flush() }()
		start := time.Now()
		for range 4 {
			if err := <-results; !provider.Is(err, provider.KindDenied) {
				t.Errorf("%v", err)
			}
		}
		if took := time.Since(start); took > second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestASyncAfterAFailureTriesAtOnce(t *testing.T) {
	bubble(t, s3like(), Options{BackoffMin: time.Hour, BackoffMax: time.Hour}, func(t *testing.T, b *bed) {
		b.faults.Add(faulty.Rule{Ops: []string{"put"}, Times: 1})
		ino, err := b.write("f", "1")
		must(t, err)
		if err := b.sync(ino); !provider.Is(err, provider.KindUnavailable) {
			t.Errorf("%v", err)
		}
		start := time.Now()
		must(t, b.sync(ino))
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %v", took)
		}
		wantInStep(t, b)
	})
}

// TestAFailureOfALookThatBeganBeforeTheSyncIsNotItsFailure: the request fails that was under way when the store was mended.
func TestAFailureOfALookThatBeganBeforeTheSyncIsNotItsFailure(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		must(t, done(b.write("x", "1")), b.flush())
		resume := make(chan struct{})
		b.faults.Add(faulty.Rule{Ops: []string{"delete"}, Times: 1, Kind: provider.KindDenied, Notify: func(faulty.Call) { <-resume }})
		must(t, b.rm("x"))
		time.Sleep(3 * second) // the delete is under way, and will fail
		must(t, done(b.mkdir("x", 0o755)))
		y, err := b.write("x/y", "2") // waits for it
		must(t, err)
		results := make(chan error, 1)
		go func() { results <- b.sync(y) }()
		synctest.Wait()
		close(resume)
		if err := <-results; err != nil {
			t.Error(err)
		}
		must(t, b.flush())
		wantInStep(t, b)
	})
}

func TestOneFileThatFailsDoesNotHoldUpTheOthers(t *testing.T) {
	bubble(t, s3like(), Options{Parallel: 2}, func(t *testing.T, b *bed) {
		b.faults.Add(faulty.Rule{Key: func(key string) bool { return key == "bad" }, Kind: provider.KindTooLarge})
		must(t, done(b.write("bad", "1")))
		for i := range 10 {
			must(t, done(b.write(fmt.Sprint(i), "1")))
		}
		time.Sleep(5 * second)
		if p, err := b.c.Pending(); err != nil || p.Files != 1 {
			t.Errorf("%+v, %v", p, err)
		}
		if p := b.c.Problems(); len(p) != 1 || p[0].Path != "/bad" {
			t.Errorf("%+v", p)
		}
	})
}

func TestOfABatchOfDeletesOnlyWhatFailedIsTriedAgain(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		for i := range 20 {
			must(t, done(b.write(fmt.Sprintf("%02d", i), "x")))
		}
		must(t, b.flush())
		b.store.forget()
		b.faults.Add(faulty.Rule{Ops: []string{"delete"}, Key: func(key string) bool { return key < "03" }, Times: 3, Kind: provider.KindThrottled})
		for i := range 20 {
			must(t, b.rm(fmt.Sprintf("%02d", i)))
		}
		time.Sleep(1500 * time.Millisecond)
		if p := b.c.Problems(); len(p) != 3 {
			t.Errorf("%+v", p)
		}
		wantStore(t, b, map[string]string{"00": "x", "01": "x", "02": "x"})
		time.Sleep(10 * second)
		did := b.store.did()
		if len(did) != 2 || did[1] != "delete 00 01 02" {
			t.Errorf("%q", did)
		}
		wantInStep(t, b)
	})
}

func TestADeleteThatFailsAsAWholeKeepsAll(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		must(t, done(b.write("a", "x")), done(b.write("b", "x")), b.flush())
		b.c.Close()
		b.store.Provider = failDeletes{b.store.Provider}
		must(t, b.start(), b.rm("a"), b.rm("b"))
		if err := b.flush(); !errors.Is(err, errNoNet) {
			t.Errorf("%v", err)
		}
		wantStore(t, b, map[string]string{"a": "x", "b": "x"})
		if p := b.c.Problems(); len(p) != 2 || p[0].Path == p[1].Path {
			t.Errorf("%+v", p)
		}
	})
}

func TestAnObjectOfOthersInTheWayIsAProblemAndStays(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		must(t, done(b.mkdir("d", 0o755)), b.flush(), b.foreign("d/foreign", "x"), b.rm("d"), done(b.write("d", "file")))
		if err := b.flush(); !provider.Is(err, provider.KindConflict) {
			t.Errorf("%v", err)
		}
		wantStore(t, b, map[string]string{"d/foreign": "x"})
	})
}

func TestADirectoryThatOthersFilledStaysAndIsReported(t *testing.T) {
	caps := s3like()
	caps.Directories = true
	bubble(t, caps, Options{}, func(t *testing.T, b *bed) {
		must(t, done(b.mkdir("d", 0o755)), b.flush())
		_, err := b.mem.Put(t.Context(), "d/foreign", strings.NewReader("x"), 1, provider.PutOptions{})
		must(t, err, b.rm("d"), b.flush())
		if log := b.logged(); !strings.Contains(log, "d/") || !strings.Contains(log, "another program") {
			t.Error(log)
		}
		wantStore(t, b, map[string]string{"d/": "", "d/foreign": "x"})
	})
}

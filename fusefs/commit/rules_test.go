package commit

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sharefs/fusefs/commit/pathrule"
	"sharefs/provider"
)

func rules(t testing.TB, scratch, lazy string) Options {
	t.Helper()
	var s, l []string
	if scratch != "" {
		s = []string{scratch}
	}
	if lazy != "" {
		l = []string{lazy}
	}
	r, err := pathrule.Parse(s, l)
	must(t, err)
	return Options{Rules: r}
}

func wantKept(t testing.TB, b *bed, want Kept) {
	t.Helper()
	if got := b.c.Kept(); got != want {
		t.Errorf("kept: %+v, want %+v", got, want)
	}
}

func TestAScratchFileIsStoredOnceItIsRenamedOut(t *testing.T) {
	for name, caps := range map[string]provider.Capabilities{"s3like": s3like(), "disklike": disklike()} {
		t.Run(name, func(t *testing.T) {
			bubble(t, caps, rules(t, "in/**", ""), func(t *testing.T, b *bed) {
				must(t, done(b.mkdir("in", 0o755)), done(b.mkdir("out", 0o755)))
				must(t, done(b.write("in/f", "share")))
				time.Sleep(time.Hour)
				must(t, b.flush())
				for _, request := range b.store.did() {
					if request != "put out/" {
						t.Errorf("%s was sent while everything was scratch", request)
					}
				}
				wantKept(t, b, Kept{Scratch: 1, ScratchBytes: 5, ScratchSeen: 1})
				must(t, b.mv("in/f", "out/f"), b.flush())
				got := b.store.did()
				if last := got[len(got)-1]; last != "put out/f" {
					t.Errorf("%q, want the last to be put out/f", got)
				}
				wantKept(t, b, Kept{ScratchSeen: 1})
			})
		})
	}
}

func TestADirectoryIsStoredWithAllInItOnceItIsRenamedOutOfScratch(t *testing.T) {
	bubble(t, s3like(), rules(t, "in/**", ""), func(t *testing.T, b *bed) {
		must(t, done(b.mkdir("in", 0o755)), done(b.mkdir("in/d", 0o755)), done(b.mkdir("in/d/empty", 0o755)))
		must(t, done(b.write("in/d/f", "1")), done(b.symlink("in/d/l", "f")))
		time.Sleep(time.Minute)
		wantDid(t, b)
		must(t, b.mv("in/d", "d"), b.flush())
		if got := slices.Sorted(slices.Values(b.store.did())); !slices.Equal(got, []string{"put d/empty/", "put d/f", "put d/l"}) {
			t.Errorf("requests %q", got)
		}
	})
}

func TestAScratchFileThatIsDeletedCostsNothing(t *testing.T) {
	bubble(t, s3like(), rules(t, "**/in/**", ""), func(t *testing.T, b *bed) {
		must(t, done(b.mkdir("x", 0o755)), done(b.mkdir("x/in", 0o755)), done(b.write("x/in/f", "1")))
		time.Sleep(time.Minute)
		must(t, b.rm("x/in/f"), b.flush())
		wantDid(t, b)
		wantKept(t, b, Kept{ScratchSeen: 1})
	})
}

func TestWhatIsStoredFollowsItsNameIntoScratch(t *testing.T) {
	bubble(t, s3like(), rules(t, "in/**", ""), func(t *testing.T, b *bed) {
		must(t, done(b.mkdir("in", 0o755)), done(b.write("f", "1")), b.flush())
		must(t, b.mv("f", "in/f"), b.flush())
		wantInStep(t, b)
		wantStore(t, b, map[string]string{"in/f": "1"})
	})
}

func TestSyncOfAScratchFileDoesNotStoreIt(t *testing.T) {
	bubble(t, s3like(), rules(t, "in/**", ""), func(t *testing.T, b *bed) {
		must(t, done(b.mkdir("in", 0o755)))
		ino, err := b.write("in/f", "1")
		must(t, err, b.sync(ino))
		wantDid(t, b)
		if !b.c.Scratch(ino) {
			t.Error("it is not called scratch")
		}
	})
}

func TestALazyFileIsStoredAfterItsDelayHoweverOftenItChanges(t *testing.T) {
	bubble(t, s3like(), rules(t, "", "*.state=10m"), func(t *testing.T, b *bed) {
		for i := range 25 * 60 { // 25 minutes
			must(t, done(b.write("a.state", fmt.Sprint(i))))
			time.Sleep(time.Second)
		}
		at := b.store.times("put", "a.state")
		if len(at) != 2 || at[0] < 10*time.Minute || at[1] > 20*time.Minute+30*second {
			t.Errorf("stored at %v, want after 10 and 20 minutes", at)
		}
		time.Sleep(10 * time.Minute)
		wantInStep(t, b)
	})
}

func TestALazyFileThatIsReplacedByRenameGetsItsTurn(t *testing.T) {
	bubble(t, s3like(), rules(t, "", "*.state*=10m"), func(t *testing.T, b *bed) {
		for i := range 25 * 60 / 7 { // 25 minutes, and no change at the moment of an upload
			must(t, done(b.write("a.state.tmp", fmt.Sprint(i))), b.mv("a.state.tmp", "a.state"))
			time.Sleep(7 * time.Second)
		}
		at := b.store.times("put", "a.state")
		if len(at) != 2 || at[0] < 10*time.Minute || at[1] > 20*time.Minute+30*second {
			t.Errorf("stored at %v, want after 10 and 20 minutes", at)
		}
		if tmp := b.store.times("put", "a.state.tmp"); len(tmp) != 0 {
			t.Errorf("the temporary file was stored at %v", tmp)
		}
		if k := b.c.Kept(); k.Lazy == 0 || k.LazySeen == 0 {
			t.Errorf("kept: %+v, want lazy changes", k)
		}
		time.Sleep(10 * time.Minute)
		wantInStep(t, b)
	})
}

func TestSyncAndFlushDoNotWaitForALazyFilesTime(t *testing.T) {
	bubble(t, s3like(), rules(t, "", "*.state=10m"), func(t *testing.T, b *bed) {
		start := time.Now()
		ino, err := b.write("a.state", "1")
		must(t, err)
		time.Sleep(time.Minute)
		wantDid(t, b)
		must(t, b.sync(ino))
		wantDid(t, b, "put a.state")
		must(t, done(b.write("b.state", "1")), b.flush())
		wantInStep(t, b)
		if took := time.Since(start); took > time.Minute+second {
			t.Errorf("it took %v, want no more than a minute", took)
		}
	})
}

func TestWhatWaitsForALazyFileHastensIt(t *testing.T) {
	bubble(t, s3like(), rules(t, "", "*.state=10m"), func(t *testing.T, b *bed) {
		must(t, done(b.write("a.state", "1")), b.flush())
		must(t, b.mv("a.state", "b.state"))
		time.Sleep(time.Minute)
		must(t, done(b.write("a.state", "2"))) // lazy too: waits
		must(t, done(b.mkdir("d", 0o755)), b.mv("b.state", "d/c.state"))
		must(t, b.rm("a.state"), done(b.mkdir("a.state", 0o755)), done(b.write("a.state/x", "3")))
		time.Sleep(10 * second)
		if at := b.store.times("put", "a.state/x"); len(at) != 1 {
			t.Errorf("a file that no rule keeps was stored at %v", at)
		}
		must(t, b.flush())
		wantInStep(t, b)
	})
}

func TestALazyFilesTimeRunsOnOverARestart(t *testing.T) {
	bubble(t, s3like(), rules(t, "", "*.state=10m"), func(t *testing.T, b *bed) {
		must(t, done(b.write("a.state", "1")))
		time.Sleep(6 * time.Minute)
		must(t, b.crash())
		time.Sleep(5 * time.Minute)
		if at := b.store.times("put", "a.state"); len(at) != 1 || at[0] != 10*time.Minute {
			t.Errorf("stored at %v, want after 10 minutes", at)
		}
		wantInStep(t, b)
	})
}

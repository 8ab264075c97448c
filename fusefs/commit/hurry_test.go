package commit

import (
	"testing"
	"time"
)

func TestAShortDiskWaitsNeitherForQuietNorForAPathsTime(t *testing.T) {
	bubble(t, s3like(), rules(t, "in/**", "*.state=10m"), func(t *testing.T, b *bed) {
		must(t, done(b.write("plain", "1")), done(b.mkdir("in", 0o755)), done(b.write("in/scratch", "2")))
		must(t, done(b.write("a.state", "3")))
		time.Sleep(10 * time.Millisecond)
		wantDid(t, b)
		b.c.Hurry()
		time.Sleep(100 * time.Millisecond)
		for name, want := range map[string]int{"plain": 1, "a.state": 1, "in/scratch": 0} {
			if at := b.store.times("put", name); len(at) != want {
				t.Errorf("%s was stored at %v, want it %d times", name, at, want)
			}
		}
		must(t, done(b.write("a.state", "4"))) // and the rule counts again
		time.Sleep(time.Minute)
		if at := b.store.times("put", "a.state"); len(at) != 1 {
			t.Errorf("a.state was stored at %v", at)
		}
	})
}

package commit

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sharefs/provider"
	"sharefs/provider/faulty"
)

// names that are below, beside and instead of each other.
var names = []string{"a", "b", "a/a", "a/b", "b/a", "b/b", "a/a/a", "a/a/b", "b/a/a", "a-"}

// step is one step of a random run.
type step struct {
	Do     string
	Path   string
	To     string        `json:",omitempty"`
	After  time.Duration // so long after the step before
	Number int
}

func drawSteps(t *rapid.T) []step {
	path := rapid.SampledFrom(names)
	do := rapid.SampledFrom([]string{"write", "write", "patch", "mkdir", "mkdir", "symlink", "rm", "rm", "mv", "mv", "mv", "mv", "chmod",
		"open", "close", "read", "unread", "sync", "flush", "crash", "fail", "lose", "forget"})
	after := rapid.SampledFrom([]time.Duration{0, 0, 0, 0, 300 * time.Millisecond, second, 1100 * time.Millisecond, 3 * second, 40 * second})
	var steps []step
	for i := range rapid.IntRange(5, 60).Draw(t, "steps") {
		steps = append(steps, step{do.Draw(t, "do"), path.Draw(t, "path"), path.Draw(t, "to"), after.Draw(t, "after"), i})
	}
	return steps
}

// TestWhateverHappensToTheNamesTheStoreEndsInStep: random changes, opens, syncs, failures and crashes, over stores of all kinds,
// with requests that take their time. In the end everything is stored, nothing else is there, no file has lost a byte, and
// no two requests of conflicting keys were ever under way at once.
func TestWhateverHappensToTheNamesTheStoreEndsInStep(t *testing.T) {
	kinds := stores()
	noCopy := s3like()
	noCopy.Copy = false
	kinds["no copies"] = noCopy
	withDirs := s3like()
	withDirs.Directories, withDirs.MaxDeleteBatch = true, 1
	kinds["directories"] = withDirs
	kinds["patches"] = patching(s3like())
	withMoves := patching(disklike())
	kinds["patches and moves"] = withMoves
	rapid.Check(t, func(rt *rapid.T) {
		caps := kinds[rapid.SampledFrom(slices.Sorted(maps.Keys(kinds))).Draw(rt, "store")]
		steps := drawSteps(rt)
		o := Options{Attributes: rapid.Bool().Draw(rt, "attributes"), Parallel: rapid.SampledFrom([]int{1, 2, 16}).Draw(rt, "parallel")}
		seed := rapid.Uint64().Draw(rt, "seed")
		var err error
		dir := memoryDir(t)
		synctest.Test(t, func(t *testing.T) { err = play(dir, caps, o, seed, steps) })
		if err != nil {
			t.Log(err) // what depends on who is faster may not come again
			rt.Fatal(err)
		}
	})
}

func play(dir string, caps provider.Capabilities, o Options, seed uint64, steps []step) error {
	b, err := newBed(dir, caps, o)
	if err != nil {
		return err
	}
	defer b.close()
	rnd := rand.New(rand.NewPCG(seed, seed))
	b.store.takes = func(string, string) time.Duration { return time.Duration(rnd.IntN(3000)) * time.Millisecond } // under its lock
	closers := map[string]func(){}
	var heal []func()
	var syncs []chan error
	for _, s := range steps {
		time.Sleep(s.After)
		if err := b.step(s, closers, &heal, &syncs); err != nil {
			return fmt.Errorf("step %+v: %w", s, err)
		}
	}
	for _, f := range heal {
		f()
	}
	for _, wait := range syncs {
		<-wait // a failure is allowed, a hang is not
	}
	for _, f := range closers {
		f()
	}
	if err := b.flush(); err != nil {
		// A request that was under way when the store was mended may have failed after that.
		if !strings.Contains(err.Error(), "injected") {
			return err
		}
		if err := b.flush(); err != nil {
			return err
		}
	}
	time.Sleep(time.Minute) // what flush left out was held
	if err := b.inStep(); err != nil {
		return fmt.Errorf("%w; requests: %q; log: %s", err, b.store.did(), b.logged())
	}
	if log := b.logged(); strings.Contains(log, "another program") || strings.Contains(log, "wait for each other") ||
		strings.Contains(log, "cannot be made of the object") {
		return errors.New(log)
	}
	return b.store.overlap
}

// step makes one step. One that is not possible does nothing.
func (b *bed) step(s step, closers map[string]func(), heal *[]func(), syncs *[]chan error) error {
	ino := b.lookup(s.Path)
	switch s.Do {
	case "write":
		_, _ = b.write(s.Path, fmt.Sprint("content ", s.Number))
	case "patch":
		if ino != 0 {
			_, _ = b.patch(s.Path, fmt.Sprint(s.Number))
		}
	case "mkdir":
		_, _ = b.mkdir(s.Path, 0o755)
	case "symlink":
		_, _ = b.symlink(s.Path, s.To)
	case "rm":
		_ = b.rm(s.Path)
	case "mv":
		_ = b.mv(s.Path, s.To)
	case "chmod":
		_ = b.chmod(s.Path, uint32(0o700+s.Number))
	case "open", "read":
		if ino != 0 && closers[s.Path] == nil {
			if s.Do == "open" {
				closers[s.Path] = b.openForWrite(ino)
			} else {
				closers[s.Path] = b.openForRead(ino)
			}
		}
	case "close", "unread":
		if f := closers[s.Path]; f != nil {
			f()
			delete(closers, s.Path)
		}
	case "forget": // the read cache forgets everything
		b.k.mu.Lock()
		clear(b.k.cache)
		b.k.mu.Unlock()
	case "sync", "flush":
		c, done := b.c, make(chan error, 1)
		*syncs = append(*syncs, done)
		go func() {
			ctx, cancel := contextAfter(24 * time.Hour)
			defer cancel()
			err := error(nil)
			if s.Do == "sync" && ino != 0 {
				err = c.Sync(ctx, ino)
			} else if s.Do == "flush" {
				err = c.Flush(ctx, nil)
			}
			if errors.Is(err, ctx.Err()) && err != nil {
				panic(fmt.Sprintf("%+v hangs", s))
			}
			done <- err
		}()
	case "fail", "lose":
		effect := faulty.Fail
		if s.Do == "lose" {
			effect = faulty.ApplyFail
		}
		*heal = append(*heal, b.faults.Add(faulty.Rule{Effect: effect, Ops: []string{"put", "copy", "move", "delete"}, Times: 1 + s.Number%5}))
	case "crash":
		return b.crash()
	}
	return nil
}

func (b *bed) lookup(path string) (ino uint64) {
	_ = b.cat.View(func(tx *tx) error {
		_, n, _, err := b.walk(tx, path)
		if err == nil && n != nil {
			ino = n.Ino
		}
		return err
	})
	return ino
}

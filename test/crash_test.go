package test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sharefs/fusefs/failpoint"
	"sharefs/test/harness"
	"sharefs/test/soak"
)

// Further actions of a scenario; they change nothing that a file holds.
const (
	hold  action = "hold"  // open for reading, until the end
	read  action = "read"  // all of it
	beat  action = "beat"  // let the committer begin
	drain action = "drain" // sharefs flush
)

// scenario is a sequence of changes whose order in the store matters.
type scenario struct {
	name   string
	stored []step // made by another program before the mount; its files are not local
	steps  []step
}

func file(name string, size int) step { return step{Action: create, Path: name, Size: size} }
func do(a action, name string) step   { return step{Action: a, Path: name} }
func move(from, to string) step       { return step{Action: rename, Path: from, To: to} }
func patched(name string, off, n int) step {
	return step{Action: patch, Path: name, Offset: off, Size: n}
}

var pause = step{Action: beat}

// big is a file whose upload takes a while behind a slow proxy, and that is not copied into memory for it.
const big = 9 << 20

var scenarios = []scenario{
	{"a file becomes a directory", []step{file("f", 1000)},
		[]step{do(unlink, "f"), do(mkdir, "f"), file("f/x", 500)}},
	{"a directory becomes a file", []step{do(mkdir, "d"), do(mkdir, "d/sub"), file("d/a", 10), file("d/b", 5000), file("d/sub/c", 70)},
		[]step{do(unlink, "d/a"), do(unlink, "d/b"), do(unlink, "d/sub/c"), do(rmdir, "d/sub"), do(rmdir, "d"), file("d", 300)}},
	{"a chain of renames", []step{file("a", 100), file("b", 200), file("c", 300)},
		[]step{move("c", "d"), move("b", "c"), move("a", "b"), pause, move("d", "a"), move("c", "d")}},
	{"two files swap their names", []step{file("a", 100), file("b", 100_000)},
		[]step{move("a", "t"), move("b", "a"), move("t", "b"), pause, move("a", "t"), move("b", "a"), move("t", "b")}},
	{"two directories swap their names", []step{do(mkdir, "a"), do(mkdir, "b"), file("a/x", 10), file("a/y", 20), file("b/x", 30)},
		[]step{move("a", "t"), move("b", "a"), move("t", "b"), pause, file("a/z", 40)}},
	{"a name is deleted and created again in a loop", nil,
		[]step{file("f", 100), pause, do(unlink, "f"), file("f", 200), pause, do(unlink, "f"), pause, file("f", 300), do(unlink, "f"), file("f", 400)}},
	{"a file is renamed while it is uploaded", nil,
		[]step{file("f", big), pause, move("f", "g"), pause, move("g", "h"), file("f", 10)}},
	{"a file is unlinked while it is uploaded", nil,
		[]step{file("f", big), pause, do(unlink, "f"), pause, do(mkdir, "f"), file("f/x", 10)}},
	{"a file is unlinked that a reader holds open", []step{file("f", 300_000)},
		[]step{do(hold, "f"), do(unlink, "f"), pause, file("f", 1000), pause}},
	{"a file is renamed over one that a reader holds open", []step{file("f", 300_000), file("g", 500)},
		[]step{do(hold, "f"), move("g", "f"), pause}},
	{"a stored file is changed again and again", []step{file("f", 300_000)},
		[]step{patched("f", 100_000, 10), do(drain, ""), patched("f", 299_990, 100), {Action: appendTo, Path: "f", Size: 5000}, pause,
			{Action: truncate, Path: "f", Size: 100_000}, do(drain, ""), {Action: replace, Path: "f", Size: 50}}},
	{"a file in the read cache is changed", []step{file("f", 300_000)},
		[]step{do(read, "f"), patched("f", 4096, 5000), pause, do(drain, ""), do(read, "f"), patched("f", 0, 1)}},
	{"a directory is renamed, and back", []step{do(mkdir, "d"), do(mkdir, "d/e"), file("d/a", 10), file("d/e/b", 20), file("d/e/c", 30)},
		[]step{move("d", "x"), patched("x/a", 5, 10), pause, move("x/e", "e"), move("x", "d"), file("e/d", 10), pause, move("e", "d/e")}},
	{"a file moves below its own name", []step{file("f", 2000)},
		[]step{move("f", "t"), do(mkdir, "f"), move("t", "f/f"), pause, move("f/f", "t"), do(rmdir, "f"), move("t", "f")}},
	{"files are saved by a rename", []step{file("f", 1000)},
		[]step{{Action: save, Path: "f", Size: 2000}, {Action: save, Path: "f", Size: 100_000}}},
	{"a large file is changed in a few places", []step{file("f", 12<<20)},
		[]step{patched("f", 6<<20, 100), pause, patched("f", 10, 100), do(drain, ""), {Action: appendTo, Path: "f", Size: 100}, move("f", "g"), pause}},
	{"directories come and go", nil,
		[]step{do(mkdir, "d"), do(drain, ""), file("d/x", 10), pause, do(unlink, "d/x"), pause,
			{Action: chmod, Path: "d", Mode: 0o700}, do(rmdir, "d"), do(mkdir, "d"), {Action: symlink, Path: "d/l", To: "nowhere"}}},
}

// TestSoakTheOrderOfNamesSurvivesAKillAtEveryStep goes through each scenario once, and then once for each place at which the
// daemon can be killed on the way (package failpoint): what the mount shows then, and what reaches the store, is the state
// before or after the step that was cut off.
func TestSoakTheOrderOfNamesSurvivesAKillAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, kind := range harness.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(soak.Seed(t), 0))
			killed, ran := 0, 0
			for i, s := range scenarios {
				if !soak.Long() && kind == other[i%2] {
					continue // one of the two does it
				}
				t.Run(s.name, func(t *testing.T) {
					ran++
					hits, _ := s.run(t, kind, "")
					if len(hits) < 10 {
						t.Fatalf("only %d places were hit: %q", len(hits), hits)
					}
					hits = chooseHits(r, hits, hitsOfAName[kind])
					for _, hit := range hits[:soak.Count(r.IntN(2), len(hits))] {
						t.Run("killed at "+hit, func(t *testing.T) {
							if _, reached := s.run(t, kind, hit); reached {
								killed++
							}
						})
						if t.Failed() {
							return
						}
					}
				})
			}
			if killed == 0 && ran >= len(scenarios)/2 {
				t.Error("no place was reached")
			}
			soak.Record(t, "kills at a named place survived", killed)
		})
	}
}

// other are the stores that are much alike, of which the short run has one go through each scenario.
var other = [2]harness.Kind{harness.MinIO, harness.VersityGW}

// hitsOfAName is at how many of a place's hits a scenario is killed: a big file is written in hundreds of steps.
var hitsOfAName = map[harness.Kind]int{harness.File: 20, harness.MinIO: 2, harness.VersityGW: 2, harness.Swift: 1, harness.SwiftSmall: 1, harness.SwiftS3: 1}

// chooseHits shuffles the hits, and leaves at most so many of each name.
func chooseHits(r *rand.Rand, hits []string, most int) []string {
	hits = slices.Clone(hits)
	r.Shuffle(len(hits), func(i, j int) { hits[i], hits[j] = hits[j], hits[i] })
	have := map[string]int{}
	return slices.DeleteFunc(hits, func(hit string) bool {
		name, _, _ := strings.Cut(hit, "#")
		have[name]++
		return have[name] > most
	})
}

// run goes through the scenario. at, if not empty, is the hit at which the daemon kills itself. It returns all hits, and
// whether that one was reached.
func (s scenario) run(t *testing.T, kind harness.Kind, at string) (hits []string, killed bool) {
	t.Helper()
	store := harness.NewStore(t, kind)
	want := model{}
	for i, st := range s.stored {
		st.Seed = uint64(1000 + i)
		want.apply(st)
		store.Seed(t, st.Path, st.Action == mkdir, st.bytes())
	}
	if store.Server != nil {
		behind, proxy := store.Behind(t)
		proxy.Delay(20 * time.Millisecond)
		store = behind
	}
	k := &killer{t: t, want: want, closed: map[string]map[[32]byte]bool{}}
	for name := range want {
		k.note(want, []string{name})
	}
	log := filepath.Join(t.TempDir(), "hits")
	k.mount = harness.PrepareMount(t, store, "--writeback", "50ms", "--io-timeout", "15s")
	k.mount.Env = []string{failpoint.EnvKill + "=" + at, failpoint.EnvLog + "=" + log}
	cut, err := s.play(k)
	if err == nil {
		err = k.mount.TryUnmount()
	}
	hits, killed = hitsIn(t, log, at)
	if killed != (err != nil) {
		t.Fatalf("the failpoint was reached: %v; %v", killed, err)
	}
	k.mount.Env = nil
	if !killed {
		k.finished()
		return hits, false
	}
	k.mount.Ended()
	var cuts []step
	if cut != nil {
		cuts = []step{*cut}
	}
	k.checkStore(cuts)
	k.mount.Remount()
	k.compare(cuts)
	k.drain()
	k.finish()
	return hits, true
}

// play mounts and makes the steps. It returns the step that was cut off, and the error by which the daemon's end showed.
func (s scenario) play(k *killer) (cut *step, err error) {
	k.t.Helper()
	if err := k.mount.TryMount(); err != nil {
		return nil, err
	}
	var held []*os.File
	defer func() {
		for _, f := range held {
			_ = f.Close() // of a mount that may be dead
		}
	}()
	for i, st := range s.steps {
		st.N, st.Seed = i, uint64(i+1)
		k.last = append(k.last, st)
		var err error
		switch st.Action {
		case beat:
			time.Sleep(80 * time.Millisecond) // how far the committer comes meanwhile is the subject
		case drain:
			if _, err := k.mount.Sharefs("flush", k.mount.Dir); err != nil {
				return nil, err
			}
		case read:
			err = readBack(k.mount.Path(st.Path), k.want[st.Path].Body)
		case hold:
			var f *os.File
			if f, err = os.Open(k.mount.Path(st.Path)); err == nil {
				held = append(held, f)
				defer k.reads(f, k.want[st.Path].Body)
			}
		default:
			if st.Action == save {
				k.note(model{st.temporary(): {Type: harness.Regular, Body: st.bytes()}}, []string{st.temporary()})
			}
			err = st.do(k.mount.Dir)
			if err == nil {
				k.note(k.want, k.want.apply(st))
			} else if st.Action.changes() {
				cut = &st
			}
		}
		if killed(k.mount.Dir, err) {
			return cut, fmt.Errorf("%v: %w", st, err)
		}
		if err != nil {
			k.t.Fatalf("%v: %v", st, err)
		}
	}
	_, err = k.mount.Sharefs("flush", k.mount.Dir)
	return nil, err
}

func (a action) changes() bool { return !slices.Contains([]action{hold, read, beat, drain}, a) }

// reads reads a file that was held open, unless the daemon is gone.
func (k *killer) reads(f *os.File, want []byte) {
	k.t.Helper()
	got, err := io.ReadAll(f)
	if killed(k.mount.Dir, err) {
		return
	}
	if err != nil || !bytes.Equal(got, want) {
		k.t.Errorf("who holds %s open reads %d bytes of %d, or others: %v", f.Name(), len(got), len(want), err)
	}
}

// hitsIn reads the log of the failpoints, and reports whether the last one is the one that kills.
func hitsIn(t *testing.T, log, at string) (hits []string, killed bool) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(fmt.Errorf("no failpoint was hit: %w", err))
	}
	hits = strings.Fields(string(text))
	return hits, len(hits) > 0 && hits[len(hits)-1] == at
}

package test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sharefs/test/harness"
	"sharefs/test/servers"
	"sharefs/test/soak"
)

// TestSoakNothingIsLostWhenTheDaemonIsKilled kills the daemon with SIGKILL under several writers, mounts again, and looks for
// every change that a writer saw succeed. All the time somebody reads the store, and must never see what no close has left
// behind.
func TestSoakNothingIsLostWhenTheDaemonIsKilled(t *testing.T) {
	t.Parallel()
	harness.OnEach(t, func(t *testing.T, s *harness.Store) {
		kills := s.Kind.Count(4, 340)
		k := newKiller(t, s)
		for range kills {
			k.round()
		}
		k.finish()
		soak.Record(t, "kills of the daemon survived", kills)
		soak.Record(t, "changes made and found again", k.steps)
		soak.Record(t, "versions of objects that a watcher saw", k.watcher.Count())
	})
}

// killer kills daemons.
type killer struct {
	t      *testing.T
	r      *rand.Rand
	mount  *harness.Mount
	proxy  *servers.ReverseProxy // nil: the store is no server
	want   model
	closed map[string]map[[32]byte]bool // by path: every content that a file was left with there
	steps  int
	last   []step // those of the last round
	rest   func() // if not nil: the writers end after their steps, and this comes before the kill
	apart  bool   // each writer has a directory of its own at the root

	watcher *harness.Watcher
	mu      sync.Mutex
	seen    map[sighting]bool // by the watcher, and not judged yet
}

// sighting is a version of an object that the watcher has seen.
type sighting struct {
	key               string
	size              int
	asFile, asSymlink [32]byte
}

func newKiller(t *testing.T, s *harness.Store) *killer {
	k := newModel(t)
	k.watcher = s.Watch(t, k.see)
	if s.Server != nil {
		s, k.proxy = s.Behind(t)
	}
	// A request that got no answer is waited for so long as a third of the timeout.
	k.mount = harness.NewMount(t, s, "--writeback", "100ms", "--io-timeout", "15s")
	k.makeDirs()
	return k
}

// newModel makes a killer that has no mount yet.
func newModel(t *testing.T) *killer {
	k := &killer{t: t, r: rand.New(rand.NewPCG(soak.Seed(t), 0)), want: model{}, closed: map[string]map[[32]byte]bool{},
		apart: true, seen: map[sighting]bool{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the changes before the last kill: %v", k.last)
		}
	})
	return k
}

// makeDirs makes the writers' directories that are missing.
func (k *killer) makeDirs() {
	k.t.Helper()
	for i := range writers {
		s := step{Action: mkdir, Path: writerDir(i)}
		if _, there := k.want[s.Path]; there {
			continue
		}
		if err := s.do(k.mount.Dir); err != nil {
			k.t.Fatal(err)
		}
		k.want.apply(s)
	}
}

// writers is how many processes write at the same time.
const writers = 3

func writerDir(i int) string { return fmt.Sprintf("w%d", i) }

// see is called by the watcher.
func (k *killer) see(key string, body []byte) {
	v := sighting{key: key, size: len(body)}
	v.asFile = content(item{Type: harness.Regular, Body: body})
	v.asSymlink = content(item{Type: harness.Symlink, Target: string(body)})
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen[v] = true
}

// judge looks at what the watcher has seen so far: only what some close, rename or fsync has left behind.
func (k *killer) judge() {
	k.t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	for v := range k.seen {
		if strings.HasSuffix(v.key, "/") {
			if v.size > 0 {
				k.t.Errorf("a watcher saw a marker %s with %d bytes", v.key, v.size)
			}
		} else if !k.closed[v.key][v.asFile] && !k.closed[v.key][v.asSymlink] {
			k.t.Errorf("a watcher saw %d bytes as %s that no file of that name was left with", v.size, v.key)
		}
	}
	clear(k.seen)
	k.stop()
}

// round lets a writer work for a while, kills the daemon, and looks at what is left.
func (k *killer) round() {
	k.t.Helper()
	if k.proxy != nil {
		k.proxy.Delay(time.Duration(k.r.IntN(30)) * time.Millisecond)
	}
	var cut []step
	if k.r.IntN(8) > 0 { // else killed right after the mount, while it recovers
		cut = k.work(1 + k.r.IntN(150))
	} else {
		k.mount.Kill()
	}
	k.checkStore(cut)
	if k.r.IntN(2) == 0 {
		k.mount.Detach()
	}
	k.mount.Remount()
	k.compare(cut)
	k.judge()
	if k.r.IntN(3) == 0 {
		k.drain()
	}
}

// work starts the writers and kills the daemon some time after so many steps. It returns the steps that were cut off.
func (k *killer) work(steps int) (cut []step) {
	k.t.Helper()
	k.last = nil
	out, in, err := os.Pipe()
	if err != nil {
		k.t.Fatal(err)
	}
	defer out.Close()
	var running []*exec.Cmd
	manifests := make([]string, writers)
	for i := range writers {
		manifests[i] = filepath.Join(k.t.TempDir(), "manifest")
		o := orders{Dir: k.mount.Path(writerDir(i)), Manifest: manifests[i],
			Start: k.want.below(writerDir(i)), Seed: k.r.Uint64(), First: k.steps}
		if k.rest != nil {
			o.Steps = (steps + writers - 1) / writers
		}
		told, err := json.Marshal(o)
		if err != nil {
			k.t.Fatal(err)
		}
		writer := harness.Helper("writer")
		writer.Stdin, writer.Stdout = bytes.NewReader(told), in
		if err := writer.Start(); err != nil {
			k.t.Fatal(err)
		}
		running = append(running, writer)
	}
	if err := in.Close(); err != nil {
		k.t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, out, int64(steps)); err != nil {
		k.t.Errorf("the writers ended too early: %v", err)
	}
	if k.rest != nil {
		_, _ = io.Copy(io.Discard, out)
		k.rest()
	}
	time.Sleep(time.Duration(k.r.IntN(20_000)) * time.Microsecond) // the moment of the kill is the subject
	k.mount.Kill()
	_, _ = io.Copy(io.Discard, out)
	for i, writer := range running {
		if err := writer.Wait(); err != nil {
			k.t.Errorf("the writer: %v", err)
		}
		if began := k.read(manifests[i], writerDir(i)); began != nil {
			cut = append(cut, *began)
		}
	}
	return cut
}

// read brings the model up to date with the manifest of a writer, whose names are below dir, and returns the step that was cut off.
func (k *killer) read(manifest, dir string) *step {
	k.t.Helper()
	text, err := os.ReadFile(manifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the daemon was killed before this writer began
	}
	if err != nil {
		k.t.Fatal(err)
	}
	var began *step
	for dec := json.NewDecoder(bytes.NewReader(text)); dec.More(); {
		var l line
		if err := dec.Decode(&l); err != nil {
			k.t.Fatal(err)
		}
		switch {
		case l.Error != "":
			k.t.Fatalf("a change failed: %s", l.Error)
		case l.Began != nil:
			began = l.Began
			began.Path = path.Join(dir, began.Path)
			if began.Action == rename {
				began.To = path.Join(dir, began.To)
			}
			k.last = append(k.last, *began)
			if began.Action == save { // its fsync stores the temporary file
				k.note(model{began.temporary(): {Type: harness.Regular, Body: began.bytes()}}, []string{began.temporary()})
			}
		default:
			k.note(k.want, k.want.apply(*began))
			began = nil
			k.steps++
		}
	}
	return began
}

// note remembers contents that were left behind, and so may be in the store.
func (k *killer) note(m model, changed []string) {
	for _, name := range changed {
		it := m[name]
		if k.closed[name] == nil {
			k.closed[name] = map[[32]byte]bool{}
		}
		k.closed[name][content(it)] = true
	}
}

func content(it item) [32]byte {
	return sha256.Sum256(append([]byte(it.Type), append([]byte(it.Target), it.Body...)...))
}

// checkStore looks into the store: every object is a version that was left behind under its name, and what was fsynced
// is there. Steps that were cut off may have done their work.
func (k *killer) checkStore(cut []step) {
	k.t.Helper()
	for _, s := range cut {
		after := maps.Clone(k.want)
		k.note(after, after.apply(s))
	}
	changing := func(name string) bool {
		return slices.ContainsFunc(cut, func(s step) bool {
			return name == s.Path || name == s.To || strings.HasPrefix(name, s.Path+"/")
		})
	}
	found := k.mount.Store.Contents(k.t)
	for name, body := range found {
		file := content(item{Type: harness.Regular, Body: body})
		link := content(item{Type: harness.Symlink, Target: string(body)})
		if !k.closed[name][file] && !k.closed[name][link] {
			k.t.Errorf("the store has %d bytes as %s that no file of that name was left with", len(body), name)
		}
	}
	for name, it := range k.want {
		if it.Synced && !changing(name) && !bytes.Equal(found[name], it.Body) {
			k.t.Errorf("%s was fsynced and not changed since: the store has %d bytes of it instead of %d", name, len(found[name]), len(it.Body))
		}
	}
	k.stop()
}

func (k *killer) stop() {
	k.t.Helper()
	if k.t.Failed() {
		k.t.FailNow()
	}
}

// compare compares the mount with the model, and takes over what has become of the steps that were cut off.
func (k *killer) compare(cut []step) {
	k.t.Helper()
	found := harness.ReadTree(k.t, k.mount.Dir)
	for _, s := range cut {
		k.compareCut(s, found)
	}
	if other := harness.Differences(k.want.tree(), found, harness.Times); len(other) > 0 {
		k.t.Fatalf("after %d changes, cut off at %v: %q", k.steps, cut, other)
	}
}

// compareCut takes over what has become of a step that was cut off.
func (k *killer) compareCut(cut step, found harness.Tree) {
	k.t.Helper()
	if len(k.differences(k.want, found, cut)) == 0 {
		return
	}
	after := maps.Clone(k.want)
	changed := after.apply(cut)
	if cut.Action != save && len(k.differences(after, found, cut)) == 0 {
		k.want = after
		k.note(k.want, changed)
		return
	}
	k.settle(cut, after, found)
}

// differences compares the part of the tree that the writer of a step works in.
func (k *killer) differences(want model, found harness.Tree, s step) []string {
	all := harness.Differences(want.tree(), found, harness.Times)
	if !k.apart {
		return all
	}
	dir, _, _ := strings.Cut(s.Path, "/")
	return slices.DeleteFunc(all, func(text string) bool { return !strings.HasPrefix(text, dir+"/") })
}

// settle judges a step that was cut off in the middle.
func (k *killer) settle(cut step, after model, found harness.Tree) {
	k.t.Helper()
	if cut.Action == save {
		k.settleSave(cut, after, found)
		return
	}
	old, existed := k.want[cut.Path]
	node, exists := found[cut.Path]
	body, err := os.ReadFile(k.mount.Path(cut.Path))
	if err != nil && exists {
		k.t.Fatal(err)
	}
	if text := cut.plausible(old.Body, after[cut.Path].Body, body, existed, exists); text != "" {
		k.t.Errorf("cut off at %v: %s: %s", cut, cut.Path, text)
	}
	delete(k.want, cut.Path)
	if exists {
		k.want[cut.Path] = item{Type: node.Type, Mode: node.Mode, Body: body}
		k.note(k.want, []string{cut.Path})
	}
	k.mustBe(cut, found)
}

// settleSave judges a save that was cut off: the temporary file is there or not, and what it replaces is the old or the
// new one.
func (k *killer) settleSave(cut step, after model, found harness.Tree) {
	k.t.Helper()
	temporary := cut.temporary()
	if _, there := found[temporary]; there {
		body, err := os.ReadFile(k.mount.Path(temporary))
		if err != nil {
			k.t.Fatal(err)
		}
		if text := prefixOf(cut.bytes(), body); text != "" {
			k.t.Errorf("cut off at %v: %s: %s", cut, temporary, text)
		}
		if err := os.Remove(k.mount.Path(temporary)); err != nil {
			k.t.Fatal(err)
		}
		delete(found, temporary)
		k.note(model{temporary: {Type: harness.Regular, Body: body}}, []string{temporary})
	} else if len(k.differences(after, found, cut)) == 0 {
		k.want = after
		k.note(k.want, []string{cut.Path})
	}
	k.mustBe(cut, found)
}

func (k *killer) mustBe(cut step, found harness.Tree) {
	k.t.Helper()
	if other := k.differences(k.want, found, cut); len(other) > 0 {
		k.t.Errorf("after %d changes, cut off at %v: %q", k.steps, cut, other)
	}
	k.stop()
}

// drain stores everything and compares the store with the model.
func (k *killer) drain() {
	k.t.Helper()
	k.mount.Flush()
	harness.MustEqual(k.t, "the store after a flush", k.want.tree(), k.mount.Store.Tree(k.t), harness.Times)
}

// finish unmounts, and looks at the store and at a mount that knows nothing.
func (k *killer) finish() {
	k.t.Helper()
	k.mount.Unmount()
	k.finished()
}

// finished checks the store of an unmounted mount.
func (k *killer) finished() {
	k.t.Helper()
	harness.MustEqual(k.t, "the store after the unmount", k.want.tree(), k.mount.Store.Tree(k.t), harness.Times)
	if k.watcher != nil {
		k.judge()
	}
	k.mount.RemountEmpty()
	found := harness.ReadTree(k.t, k.mount.Dir)
	for _, dir := range k.mount.Store.Phantoms(k.t) { // a mount that knows nothing believes the server
		if _, wanted := k.want[dir]; !wanted {
			delete(found, dir)
		}
	}
	harness.MustEqual(k.t, "a mount with an empty cache", k.want.tree(), found, harness.Times)
}

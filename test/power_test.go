package test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
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

// bootEnv tells a daemon under which boot it runs.
func bootEnv() []string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	return []string{fmt.Sprintf("SHAREFS_TEST_BOOT_ID=%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])}
}

// diskOptions make an ext4 lose much in a power failure (nothing is written for a minute but what is fsynced), little, and the
// worst: what it knows of files, but not their data.
var diskOptions = []string{"commit=60", "commit=1,nodelalloc", "commit=1,nodelalloc,data=writeback"}

// TestSoakPowerFails kills the daemon under a writer, makes the disk under its cache directory forget what was not written
// yet, and mounts again as after a reboot. What was fsynced must be there, and neither the mount nor the store may have
// anything that no close, rename or fsync has left behind.
func TestSoakPowerFails(t *testing.T) {
	t.Parallel()
	harness.OnEach(t, func(t *testing.T, s *harness.Store) {
		rounds := s.Kind.Count(3, 67)
		p := newPowerKiller(t, s)
		for n := range rounds {
			p.round(n)
		}
		p.k.mount.Unmount()
		soak.Record(t, "power failures survived", rounds)
		soak.Record(t, "changes made", p.k.steps)
		soak.Record(t, "contents that were not safe and were kept aside", p.conflicts)
	})
}

// TestSoakPowerFailsAtEveryStep goes through the scenarios of names, with the power failing at each place where the daemon can
// be killed.
func TestSoakPowerFailsAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, kind := range harness.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r := mathrand.New(mathrand.NewPCG(soak.Seed(t), 0))
			failed, kept := 0, 0
			for _, s := range scenarios {
				if !soak.Long() && r.IntN(4) > 0 {
					continue
				}
				t.Run(s.name, func(t *testing.T) {
					hits, _, _ := s.runWithPower(t, kind, "")
					hits = chooseHits(r, hits, map[harness.Kind]int{harness.File: 3, harness.MinIO: 1, harness.VersityGW: 1, harness.Swift: 1, harness.SwiftSmall: 1, harness.SwiftS3: 1}[kind])
					for _, hit := range hits[:soak.Count(1, len(hits))] {
						t.Run("at "+hit, func(t *testing.T) {
							_, reached, conflicts := s.runWithPower(t, kind, hit)
							if reached {
								failed++
							}
							kept += conflicts
						})
						if t.Failed() {
							return
						}
					}
				})
			}
			soak.Record(t, "power failures at a named place survived", failed)
			soak.Record(t, "contents that were not safe and were kept aside", kept)
		})
	}
}

// runWithPower is run, with the power failing where the daemon kills itself.
func (s scenario) runWithPower(t *testing.T, kind harness.Kind, at string) (hits []string, failed bool, conflicts int) {
	t.Helper()
	store := harness.NewStore(t, kind)
	k := newModel(t)
	k.apart = false
	for i, st := range s.stored {
		st.Seed = uint64(1000 + i)
		k.note(k.want, k.want.apply(st))
		store.Seed(t, st.Path, st.Action == mkdir, st.bytes())
		it := k.want[st.Path]
		it.Confirmed = it.Type == harness.Regular
		k.want[st.Path] = it
	}
	p := &powerKiller{t: t, k: k, disk: harness.NewPowerDisk(t, 192<<20, diskOptions[k.r.IntN(len(diskOptions))]), known: map[[32]byte]bool{},
		emptied: map[string]bool{}}
	log := filepath.Join(t.TempDir(), "hits")
	k.mount = harness.PrepareMount(t, store, "--writeback", "50ms", "--cache-size", "64MiB")
	k.mount.CacheDir = filepath.Join(p.disk.Dir, "cache")
	k.mount.Env = append(bootEnv(), failpoint.EnvKill+"="+at, failpoint.EnvLog+"="+log)
	cut, err := s.play(k)
	if err == nil {
		err = k.mount.TryUnmount()
	}
	hits, failed = hitsIn(t, log, at)
	if failed != (err != nil) {
		t.Fatalf("the failpoint was reached: %v; %v", failed, err)
	}
	if !failed {
		return hits, false, 0
	}
	k.mount.Ended()
	p.disk.LosePower()
	var cuts []step
	if cut != nil {
		cuts = []step{*cut}
	}
	p.learn(cuts)
	p.checkContents("the store after the power failure", store.Contents(t))
	p.disk.Plug(diskOptions[0])
	k.mount.Detach()
	k.mount.Env = bootEnv()
	k.mount.Remount()
	p.checkMount(cuts, false)
	p.checkConflicts(false)
	k.mount.Flush()
	p.checkContents("the store after a flush", store.Contents(t))
	harness.MustEqual(t, "the store after a flush", harness.ReadTree(t, k.mount.Dir), store.Tree(t), harness.Times)
	k.mount.Unmount()
	return hits, true, p.conflicts
}

// powerKiller is a killer whose daemon's disk loses its power, too.
type powerKiller struct {
	t         *testing.T
	k         *killer
	disk      *harness.PowerDisk
	known     map[[32]byte]bool // contents that were left behind
	emptied   map[string]bool   // names of files that were left empty
	conflicts int
}

func newPowerKiller(t *testing.T, s *harness.Store) *powerKiller {
	k := newModel(t)
	disk := harness.NewPowerDisk(t, 192<<20, diskOptions[0])
	if s.Server != nil {
		s, k.proxy = s.Behind(t)
	}
	k.mount = harness.PrepareMount(t, s, "--writeback", "300ms", "--cache-size", "64MiB")
	k.mount.CacheDir, k.mount.Env = filepath.Join(disk.Dir, "cache"), bootEnv()
	k.mount.Remount()
	k.makeDirs()
	return &powerKiller{t: t, k: k, disk: disk, known: map[[32]byte]bool{}, emptied: map[string]bool{}}
}

func (p *powerKiller) round(n int) {
	p.t.Helper()
	k := p.k
	k.rest = nil
	rested := n%3 == 2
	if rested {
		k.rest = p.rest
	}
	if k.proxy != nil {
		k.proxy.Delay(time.Duration(k.r.IntN(30)) * time.Millisecond)
	}
	cut := k.work(1 + k.r.IntN(200))
	p.disk.LosePower()
	p.learn(cut)
	p.checkContents("the store after the power failure", k.mount.Store.Contents(p.t))
	p.disk.Plug(diskOptions[k.r.IntN(len(diskOptions))])
	k.mount.Detach()
	if k.proxy != nil {
		if err := k.proxy.ComeBack(); err != nil {
			p.t.Fatal(err)
		}
	}
	k.mount.Env = bootEnv()
	k.mount.Remount()
	p.checkMount(cut, rested)
	p.checkConflicts(rested)
	p.settle(k.r.IntN(2) == 0)
}

// rest lets the daemon alone for as long as closed files may take to be durable, without a store.
func (p *powerKiller) rest() {
	if p.k.proxy != nil {
		if err := p.k.proxy.GoAway(); err != nil {
			p.t.Error(err)
		}
	}
	time.Sleep(6 * time.Second) // 5 s are promised
}

// learn takes over what contents were left behind, with what the step that was cut off may have left. A file that has been
// renamed may show, under its new name, what was stored under the old one; so contents count whatever their name, but for the
// empty one, which is what a power failure makes of a file that was not empty.
func (p *powerKiller) learn(cut []step) {
	k := p.k
	for _, s := range cut {
		after := maps.Clone(k.want)
		k.note(after, after.apply(s))
	}
	for name, contents := range k.closed {
		maps.Copy(p.known, contents)
		if contents[empty] {
			p.emptied[name] = true
		}
	}
	clear(k.closed)
	for _, s := range k.last {
		if s.Action != rename {
			continue
		}
		for _, name := range slices.Collect(maps.Keys(p.emptied)) {
			if name == s.Path || strings.HasPrefix(name, s.Path+"/") {
				p.emptied[s.To+strings.TrimPrefix(name, s.Path)] = true
			}
		}
	}
}

// empty is the content of an empty file.
var empty = content(item{Type: harness.Regular})

func (p *powerKiller) checkContents(where string, found map[string][]byte) {
	p.t.Helper()
	for name, body := range found {
		file := content(item{Type: harness.Regular, Body: body})
		link := content(item{Type: harness.Symlink, Target: string(body)})
		if !p.known[file] && !p.known[link] || file == empty && !p.emptied[name] {
			p.t.Errorf("%s: %s has %d bytes that no close, rename or fsync has left it with (%d of them zero)", where, name,
				len(body), bytes.Count(body, []byte{0}))
		}
	}
	p.k.stop()
}

// checkMount reads everything that the mount shows.
func (p *powerKiller) checkMount(cut []step, rested bool) {
	p.t.Helper()
	k := p.k
	found := map[string][]byte{}
	have := map[string]bool{}
	for name, node := range harness.ReadTree(p.t, k.mount.Dir) {
		switch node.Type {
		case harness.Regular:
			body, err := os.ReadFile(k.mount.Path(name))
			if err != nil {
				p.t.Fatal(err)
			}
			found[name] = body
			have[string(body)] = true
		case harness.Symlink:
			found[name] = []byte(node.Target)
		}
	}
	p.checkContents("the mount after the power failure", found)
	for name, it := range k.want {
		switch body, there := found[name]; {
		case slices.ContainsFunc(cut, func(s step) bool { return s.touches(name) }):
		case it.Synced && !(there && bytes.Equal(body, it.Body)):
			p.t.Errorf("%s was fsynced and not changed since: the mount has %d bytes of it instead of %d (there: %v)", name, len(body), len(it.Body), there)
		case it.Confirmed && !have[string(it.Body)]:
			p.t.Errorf("%s was fsynced under another name and not changed since: its %d bytes are nowhere", name, len(it.Body))
		}
	}
	if rested {
		harness.MustEqual(p.t, "the mount when the power failed 6 s after the last close", k.want.tree(), harness.ReadTree(p.t, k.mount.Dir), harness.Times)
	}
	k.stop()
}

// touches reports whether the step may have changed the file of that name.
func (s step) touches(name string) bool {
	for _, path := range []string{s.Path, s.To} {
		if path != "" && (name == path || strings.HasPrefix(name, path+"/")) {
			return true
		}
	}
	return false
}

// checkConflicts looks at what was kept aside, and removes it as a person would.
func (p *powerKiller) checkConflicts(rested bool) {
	p.t.Helper()
	list := p.k.mount.Status().Conflicts
	if rested && len(list) > 0 {
		p.t.Errorf("kept aside although everything was closed for 6 s: %+v", list)
	}
	p.conflicts += len(list)
	for _, c := range list {
		note, err := os.ReadFile(c.Kept + ".txt")
		if err != nil || !bytes.Contains(note, []byte(c.Path)) {
			p.t.Errorf("the note of %+v: %v: %s", c, err, note)
		}
		if info, err := os.Stat(c.Kept); err != nil || info.Size() != c.Size {
			p.t.Errorf("%+v: %v", c, err)
		}
		if err := errors.Join(os.Remove(c.Kept), os.Remove(c.Kept+".txt")); err != nil {
			p.t.Error(err)
		}
	}
	if left := p.k.mount.Status().Conflicts; len(left) > 0 {
		p.t.Errorf("removed, and still named: %+v", left)
	}
	p.k.stop()
}

// settle makes what the mount has the model, and sometimes stores everything.
func (p *powerKiller) settle(drain bool) {
	p.t.Helper()
	k := p.k
	phantoms := k.mount.Store.Phantoms(p.t)
	slices.Reverse(phantoms)       // what is below comes first
	for _, dir := range phantoms { // which the server lists and nothing is in, if nothing is to be stored there
		_ = os.Remove(k.mount.Path(dir))
	}
	now := model{}
	for name, node := range harness.ReadTree(p.t, k.mount.Dir) {
		it := item{Type: node.Type, Mode: node.Mode, Target: node.Target}
		if node.Type == harness.Regular {
			if filepath.Base(name) == ".saving" { // of a save that was cut off
				if err := os.Remove(k.mount.Path(name)); err != nil {
					p.t.Fatal(err)
				}
				continue
			}
			body, err := os.ReadFile(k.mount.Path(name))
			if err != nil {
				p.t.Fatal(err)
			}
			it.Body, it.Synced, it.Confirmed = body, drain, drain
			if old := k.want[name]; bytes.Equal(old.Body, body) {
				it.Synced, it.Confirmed = it.Synced || old.Synced, it.Confirmed || old.Confirmed
			}
		}
		now[name] = it
	}
	k.want = now
	k.makeDirs()
	if !drain {
		return
	}
	k.mount.Flush()
	p.checkContents("the store after a flush", k.mount.Store.Contents(p.t))
	harness.MustEqual(p.t, "the store after a flush", k.want.tree(), k.mount.Store.Tree(p.t), harness.Times)
}

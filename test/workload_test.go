package test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"sharefs/test/harness"
)

// A workload is a random sequence of changes, made of a seed: the writer process makes them on a mount, and the test
// makes the same on a model in memory.

// action is what a step does.
type action string

const (
	create   action = "create"   // a new file, written in chunks
	replace  action = "replace"  // open with O_TRUNC, write
	patch    action = "patch"    // one write somewhere in a file
	appendTo action = "append"   //
	truncate action = "truncate" // by name
	save     action = "save"     // a temporary file, written, fsynced, renamed over Path
	fsync    action = "fsync"
	rename   action = "rename" // of a file to a new or an existing name, of a directory to a new one
	unlink   action = "unlink"
	mkdir    action = "mkdir"
	rmdir    action = "rmdir"
	symlink  action = "symlink"
	chmod    action = "chmod"
)

// step is one change.
type step struct {
	N      int
	Action action
	Path   string
	To     string `json:",omitempty"` // of rename; the target of symlink
	Offset int    `json:",omitempty"`
	Size   int    `json:",omitempty"` // of what is written; the new size, of truncate
	Seed   uint64 `json:",omitempty"` // of the bytes that are written
	Mode   uint32 `json:",omitempty"`
}

func (s step) String() string {
	return fmt.Sprintf("step %d: %s %s %s (offset %d, size %d)", s.N, s.Action, s.Path, s.To, s.Offset, s.Size)
}

// chunk is how much is written at once.
const chunk = 32 << 10

// bytes are what the step writes.
func (s step) bytes() []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(s.Seed >> (8 * i))
	}
	b := make([]byte, s.Size)
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	return b
}

// temporary is the name that save uses before it renames.
func (s step) temporary() string { return path.Join(path.Dir(s.Path), ".saving") }

// item is a file, directory or symlink of the model.
type item struct {
	Type   harness.Type
	Mode   uint32 `json:",omitempty"`
	Body   []byte `json:",omitempty"`
	Target string `json:",omitempty"`
	Synced bool   `json:",omitempty"` // nothing has changed it since its fsync: the store has it
	// Confirmed: its content has not changed since its fsync, whatever its name is now.
	Confirmed bool `json:",omitempty"`
}

// model is what a tree should be, by path.
type model map[string]item

// tree returns it as harness.ReadTree would.
func (m model) tree() harness.Tree {
	tree := harness.Tree{}
	for name, it := range m {
		n := harness.Node{Type: it.Type, Mode: it.Mode, Target: it.Target}
		if it.Type == harness.Regular {
			n.Size, n.Sum = int64(len(it.Body)), sha256.Sum256(it.Body)
		}
		tree[name] = n
	}
	return tree
}

// apply makes the step and returns the paths whose files it has changed or made.
func (m model) apply(s step) []string {
	it := m[s.Path]
	body := slices.Clone(it.Body)
	switch s.Action {
	case create, replace, save:
		mode := it.Mode
		if s.Action != replace {
			mode = 0o644
		}
		m[s.Path] = item{Type: harness.Regular, Mode: mode, Body: s.bytes(), Synced: s.Action == save, Confirmed: s.Action == save}
		if s.Action == save {
			m.unsync(s.Path) // a rename is stored after the write-back delay
		}
	case patch:
		if end := s.Offset + s.Size; end > len(body) {
			body = append(body, make([]byte, end-len(body))...)
		}
		copy(body[s.Offset:], s.bytes())
		m[s.Path] = item{Type: harness.Regular, Mode: it.Mode, Body: body}
	case appendTo:
		m[s.Path] = item{Type: harness.Regular, Mode: it.Mode, Body: append(body, s.bytes()...)}
	case truncate:
		m[s.Path] = item{Type: harness.Regular, Mode: it.Mode, Body: append(body, make([]byte, max(0, s.Size-len(body)))...)[:s.Size]}
	case fsync:
		it.Synced, it.Confirmed = true, true
		m[s.Path] = it
		return nil
	case rename:
		return m.rename(s.Path, s.To)
	case unlink, rmdir:
		delete(m, s.Path)
		return nil
	case mkdir:
		m[s.Path] = item{Type: harness.Directory, Mode: 0o755}
		return nil
	case symlink:
		m[s.Path] = item{Type: harness.Symlink, Target: s.To}
	case chmod:
		it.Mode = s.Mode
		m[s.Path] = it
		return nil
	}
	return []string{s.Path}
}

func (m model) unsync(name string) {
	it := m[name]
	it.Synced = false
	m[name] = it
}

func (m model) rename(from, to string) []string {
	var changed []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if name != from && !strings.HasPrefix(name, from+"/") {
			continue
		}
		renamed := to + strings.TrimPrefix(name, from)
		m[renamed] = m[name]
		m.unsync(renamed)
		delete(m, name)
		changed = append(changed, renamed)
	}
	return changed
}

// below returns what is below a directory, by the path from there.
func (m model) below(dir string) model {
	part := model{}
	for name, it := range m {
		if rest, ok := strings.CutPrefix(name, dir+"/"); ok {
			part[rest] = it
		}
	}
	return part
}

// of returns the paths of one type, sorted.
func (m model) of(t harness.Type) []string {
	var found []string
	for name, it := range m {
		if it.Type == t {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

func (m model) empty(dir string) bool {
	for name := range m {
		if strings.HasPrefix(name, dir+"/") {
			return false
		}
	}
	return true
}

// manyFiles is when the workload begins to remove more than it makes.
const manyFiles = 120

// sizes are those of files, some just around what is rounded to.
var sizes = []int{0, 1, 100, 4095, 4096, 4097, 10_000, chunk, chunk + 1, 65536, 100_000, 300_000}

// next chooses a step that can be made.
func (m model) next(r *rand.Rand, n int) step {
	for {
		s := step{N: n, Action: choose(r, len(m)), Seed: r.Uint64()}
		if m.fill(r, &s) {
			return s
		}
	}
}

func choose(r *rand.Rand, have int) action {
	weights := []struct {
		action action
		weight int
	}{{create, 30}, {replace, 10}, {patch, 10}, {appendTo, 10}, {truncate, 4}, {save, 5}, {fsync, 3}, {rename, 16}, {unlink, 12},
		{mkdir, 6}, {rmdir, 5}, {symlink, 3}, {chmod, 4}}
	if have > manyFiles {
		weights = append(weights[1:], weights[8], weights[8], weights[8])
	}
	total := 0
	for _, w := range weights {
		total += w.weight
	}
	at := r.IntN(total)
	for _, w := range weights {
		if at -= w.weight; at < 0 {
			return w.action
		}
	}
	panic("unreachable")
}

// fill chooses what the step's action is done to, and reports whether there is something.
func (m model) fill(r *rand.Rand, s *step) bool {
	s.Size = sizes[r.IntN(len(sizes))]
	files, dirs := m.of(harness.Regular), m.of(harness.Directory)
	pick := func(names []string) bool {
		if len(names) == 0 {
			return false
		}
		s.Path = names[r.IntN(len(names))]
		return true
	}
	switch s.Action {
	case create, mkdir, symlink:
		s.Path = m.newName(r, dirs)
		s.To = ""
		if s.Action == symlink {
			s.To = fmt.Sprintf("target %d", s.N)
		}
		return true
	case save:
		if len(files) == 0 || r.IntN(2) == 0 {
			s.Path = m.newName(r, dirs)
			return true
		}
		return pick(files)
	case patch:
		s.Size = min(s.Size, chunk)
		return pick(files) && m.place(r, s)
	case replace, appendTo, truncate, fsync:
		return pick(files)
	case unlink:
		return pick(append(files, m.of(harness.Symlink)...))
	case rmdir:
		return pick(slices.DeleteFunc(dirs, func(d string) bool { return !m.empty(d) }))
	case chmod:
		s.Mode = []uint32{0o600, 0o640, 0o644, 0o755}[r.IntN(4)]
		return pick(append(files, dirs...))
	case rename:
		return pick(append(files, dirs...)) && m.destination(r, s, files, dirs)
	}
	return false
}

// place chooses where a patch goes: mostly inside of the file.
func (m model) place(r *rand.Rand, s *step) bool {
	s.Offset = r.IntN(len(m[s.Path].Body) + 5000)
	return s.Size > 0
}

func (m model) destination(r *rand.Rand, s *step, files, dirs []string) bool {
	if m[s.Path].Type == harness.Regular && r.IntN(2) == 0 {
		s.To = files[r.IntN(len(files))]
		return s.To != s.Path
	}
	s.To = m.newName(r, dirs)
	return !strings.HasPrefix(s.To, s.Path+"/")
}

// newName returns a name that is free. There are few, so that names are used again.
func (m model) newName(r *rand.Rand, dirs []string) string {
	for {
		dir := ""
		if len(dirs) > 0 && r.IntN(4) > 0 {
			dir = dirs[r.IntN(len(dirs))]
		}
		if strings.Count(dir, "/") > 3 {
			continue
		}
		name := path.Join(dir, fmt.Sprintf("n%d", r.IntN(40)))
		if _, taken := m[name]; !taken {
			return name
		}
	}
}

// plausible says what is wrong with a file that a step was changing when it was cut off; empty: nothing. Bytes are as
// they were before or as they would be after, and nothing else.
func (s step) plausible(before, after, found []byte, existed, exists bool) string {
	switch {
	case !exists && existed:
		return "it is gone"
	case !exists:
		return ""
	}
	switch s.Action {
	case create:
		return prefixOf(after, found)
	case replace:
		if existed && bytes.Equal(before, found) {
			return ""
		}
		return prefixOf(after, found)
	case appendTo:
		if len(found) < len(before) {
			return "what it had is cut off"
		}
		return prefixOf(after, found)
	case patch:
		return mixOf(before, after, found)
	}
	return fmt.Sprintf("%s leaves the old or the new, and it is neither", s.Action)
}

func prefixOf(whole, found []byte) string {
	if !bytes.HasPrefix(whole, found) {
		return fmt.Sprintf("its %d bytes are not the first ones of the %d that were being written", len(found), len(whole))
	}
	return ""
}

func mixOf(before, after, found []byte) string {
	if len(found) < len(before) || len(found) > len(after) {
		return fmt.Sprintf("it has %d bytes, before were %d and after would be %d", len(found), len(before), len(after))
	}
	for i, b := range found {
		if b != after[i] && (i >= len(before) || b != before[i]) {
			return fmt.Sprintf("byte %d is neither the old nor the new one", i)
		}
	}
	return ""
}

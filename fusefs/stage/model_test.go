package stage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// TestRandomChangesMatchAPlainModel does random operations on a staged file and on a plain byte slice, with restarts
// without a close, reboots, and a base that fails now and then, and compares them.
func TestRandomChangesMatchAPlainModel(t *testing.T) {
	dir := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		m := newModel(rt, fmt.Sprintf("%s/%d", dir, runs))
		defer m.close()
		rt.Repeat(map[string]func(*rapid.T){
			"":         m.check,
			"read":     m.read,
			"write":    m.write,
			"truncate": m.truncate,
			"allocate": m.allocate,
			"fill":     m.fill,
			"snapshot": m.snapshot,
			"store":    m.upload,
			"release":  m.release,
			"seek":     m.seek,
			"restart":  m.restart,
			"reboot":   m.reboot,
			"break":    m.breakBase,
		})
	})
}

const modelPages = 40

type model struct {
	dir   string
	store *Store
	file  *File
	old   []*File // of before a restart: not closed, as those of a killed process
	boots int

	base    *memBase
	content []byte
	changed bool
	gen     uint64
}

func newModel(t *rapid.T, dir string) *model {
	m := &model{dir: dir}
	m.open(t)
	size := drawSize(t, "object")
	m.base = &memBase{content: pattern(uint64(size), size)}
	m.content = bytes.Clone(m.base.content)
	var err error
	if rapid.Bool().Draw(t, "new") {
		m.content, m.changed = nil, true
		m.file, err = m.store.Create(1)
	} else {
		m.file, err = m.store.Adopt(1, size, m.drawLocal(t), m.base)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *model) open(t *rapid.T) {
	var err error
	m.store, err = Open(m.dir, Options{Logger: slog.New(slog.DiscardHandler), FillSize: 4 * page, BootID: fmt.Sprintf("%032x", m.boots)})
	if err != nil {
		t.Fatal(err)
	}
	m.store.limits.fillChunk = 6 * page
	m.store.limits.smallFile = 10 * page
	m.store.limits.smallSnapshot = 8 * page
}

// drawLocal makes a local file with some ranges of the object, and something else elsewhere.
func (m *model) drawLocal(t *rapid.T) []Range {
	size := int64(len(m.base.content))
	local := pattern(99, size)
	var present []Range
	for range rapid.IntRange(0, 3).Draw(t, "ranges") {
		off := rapid.Int64Range(0, size).Draw(t, "off")
		r := Range{off, rapid.Int64Range(0, size-off).Draw(t, "len")}
		copy(local[r.Off:r.Off+r.Len], m.base.content[r.Off:])
		present = append(present, r)
	}
	if err := os.WriteFile(m.store.Path(1), local, 0o600); err != nil {
		t.Fatal(err)
	}
	return present
}

// drawSize prefers the neighbourhood of page ends.
func drawSize(t *rapid.T, what string) int64 {
	n := rapid.Int64Range(0, modelPages).Draw(t, what+" pages") * page
	return max(0, n+rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(-2, 2), rapid.Int64Range(0, page-1)).Draw(t, what+" bytes"))
}

func (m *model) check(t *rapid.T) {
	if m.file.Size() != int64(len(m.content)) {
		t.Fatalf("size %d, want %d", m.file.Size(), len(m.content))
	}
	if m.file.Gen() < m.gen {
		t.Fatalf("generation %d after %d", m.file.Gen(), m.gen)
	}
	m.gen = m.file.Gen()
	if m.changed == m.file.ModTime().IsZero() {
		t.Fatalf("modification time %v, changed: %v", m.file.ModTime(), m.changed)
	}
	var end int64
	for _, r := range append(m.file.Dirty(), Range{m.file.Size(), 0}) {
		if r.Off < end || r.Len <= 0 && r.Off != m.file.Size() || r.Len > 0 && r.Off%page != 0 {
			t.Fatalf("dirty ranges out of order, or not of whole pages: %v", m.file.Dirty())
		}
		for i := end; i < r.Off; i++ {
			if i >= int64(len(m.base.content)) || m.content[i] != m.base.content[i] {
				t.Fatalf("byte %d differs from the base's and is not dirty: %v", i, m.file.Dirty())
			}
		}
		end = r.Off + r.Len
	}
	if end > m.file.Size() {
		t.Fatalf("dirty beyond the end: %v", m.file.Dirty())
	}
	if m.file.Present() != (m.file.pages.present == nil || m.file.pages.present.countZeros(0, m.file.pages.count()) == 0) {
		t.Fatal("the count of absent pages is wrong")
	}
}

func (m *model) read(t *rapid.T) {
	off := drawSize(t, "off")
	p := make([]byte, drawSize(t, "len"))
	n, err := m.file.ReadAt(bg, p, off)
	if m.failed(t, err) {
		return
	}
	want := m.content[min(off, int64(len(m.content))):]
	want = want[:min(len(p), len(want))]
	if n != len(want) || (n < len(p)) != (err == io.EOF) || err != nil && err != io.EOF {
		t.Fatalf("read of %d bytes at %d of %d: %d, %v", len(p), off, len(m.content), n, err)
	}
	if at := firstDiff(p[:n], want); at >= 0 {
		t.Fatalf("byte %d is %#x, want %#x", off+int64(at), p[at], want[at])
	}
}

func (m *model) write(t *rapid.T) {
	off := drawSize(t, "off")
	p := pattern(rapid.Uint64().Draw(t, "bytes"), drawSize(t, "len"))
	n, err := m.file.WriteAt(bg, p, off)
	if m.failed(t, err) {
		return
	}
	if n != len(p) || err != nil {
		t.Fatalf("write of %d bytes at %d: %d, %v", len(p), off, n, err)
	}
	if n > 0 {
		m.content, m.changed = put(m.content, p, off), true
	}
}

func (m *model) truncate(t *rapid.T) {
	size := drawSize(t, "size")
	if err := m.file.Truncate(bg, size); err != nil {
		t.Fatal(err)
	}
	m.changed = m.changed || size != int64(len(m.content))
	m.content = resize(m.content, size)
}

func (m *model) allocate(t *rapid.T) {
	const keep = unix.FALLOC_FL_KEEP_SIZE
	mode := rapid.SampledFrom([]uint32{0, unix.FALLOC_FL_PUNCH_HOLE | keep, unix.FALLOC_FL_ZERO_RANGE,
		unix.FALLOC_FL_ZERO_RANGE | keep}).Draw(t, "mode")
	off, length := drawSize(t, "off"), 1+drawSize(t, "len")
	if mode == 0 && off+length <= int64(len(m.content)) {
		return // whether that is a change is the local filesystem's to say
	}
	if m.failed(t, m.file.Allocate(bg, off, length, mode)) {
		return
	}
	m.changed = true
	if mode&keep == 0 {
		m.content = resize(m.content, max(off+length, int64(len(m.content))))
	}
	if end := min(off+length, int64(len(m.content))); mode != 0 && off < end {
		clear(m.content[off:end])
	}
}

func (m *model) fill(t *rapid.T) {
	if m.failed(t, m.file.Fill(bg)) {
		return
	}
	if !m.file.Present() {
		t.Fatal("not present after a fill")
	}
}

func (m *model) snapshot(t *rapid.T) {
	exclusive := rapid.Bool().Draw(t, "exclusive")
	s, err := m.file.Snapshot(bg, SnapshotOptions{Exclusive: exclusive})
	if !m.file.Present() {
		if !errors.Is(err, ErrAbsent) {
			t.Fatalf("snapshot with absent pages: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Gen() != m.file.Gen() || s.Size() != m.file.Size() {
		t.Fatalf("generation %d, size %d; want %d, %d", s.Gen(), s.Size(), m.file.Gen(), m.file.Size())
	}
	want := bytes.Clone(m.content)
	if !exclusive {
		m.write(t)
		m.truncate(t)
	}
	got, err := io.ReadAll(s)
	if err != nil || firstDiff(got, want) >= 0 {
		t.Fatalf("snapshot: %v, differs at %d", err, firstDiff(got, want))
	}
}

// upload stores some changed file from a snapshot of only what was changed, with something around it, while it is changed
// again. The process may end before the staged file is told.
func (m *model) upload(t *rapid.T) {
	around := drawSize(t, "around")
	var picked, dirty []Range
	s, err := m.file.Snapshot(bg, SnapshotOptions{Exclusive: rapid.Bool().Draw(t, "exclusive"), Fill: true,
		Pick: func(l Layout) []Range {
			picked, dirty = nil, l.Dirty
			for _, r := range l.Dirty {
				off := max(0, r.Off-around)
				picked = append(picked, Range{off, min(l.Size, r.end()+around) - off})
			}
			picked = sorted(picked)
			return picked
		}})
	if m.failed(t, err) {
		return
	}
	if !slices.Equal(s.Layout().Dirty, dirty) || s.Size() != m.file.Size() {
		t.Fatalf("dirty %v of %d, want %v of %d", s.Layout().Dirty, s.Size(), dirty, m.file.Size())
	}
	want := bytes.Clone(m.content)
	for _, r := range picked {
		p := make([]byte, r.Len)
		n, err := s.ReadAt(p, r.Off)
		if n < len(p) && m.failed(t, err) { // what is absent may be read only now
			s.Close()
			return
		}
		if n < len(p) || firstDiff(p, want[r.Off:r.end()]) >= 0 {
			t.Fatalf("snapshot at %d: %d bytes of %d, %v; or other bytes", r.Off, n, len(p), err)
		}
	}
	for _, r := range without([]Range{{0, s.Size()}}, picked) {
		if _, err := s.ReadAt(make([]byte, 1), r.Off); !errors.Is(err, ErrAbsent) {
			t.Fatalf("snapshot at %d, where it holds nothing: %v", r.Off, err)
		}
	}
	for range rapid.IntRange(0, 2).Draw(t, "changes") {
		m.truncate(t)
		m.write(t)
	}
	m.base.mu.Lock()
	m.base.content, m.base.spilled = want, nil // the store has it
	m.base.mu.Unlock()
	if rapid.IntRange(0, 3).Draw(t, "told") > 0 {
		m.file.Stored(s)
	}
	s.Close()
}

// release gives a range to the base and gives up its disk; the base is that of a tree then: what was spilled comes from there.
func (m *model) release(t *rapid.T) {
	off := rapid.Int64Range(0, modelPages).Draw(t, "first page") * page
	r := Range{off, (1 + rapid.Int64Range(0, 10).Draw(t, "more pages")) * page}
	if r.end() > m.file.Size() || m.file.Size() <= m.store.limits.smallFile {
		return
	}
	s, err := m.file.Snapshot(bg, SnapshotOptions{Exclusive: true, Fill: true, Pick: func(Layout) []Range { return []Range{r} }})
	if m.failed(t, err) {
		return
	}
	defer s.Close()
	p := make([]byte, r.Len)
	if n, err := s.ReadAt(p, r.Off); n < len(p) {
		m.failed(t, err)
		return
	}
	if at := firstDiff(p, m.content[r.Off:r.end()]); at >= 0 {
		t.Fatalf("a snapshot differs at %d", r.Off+int64(at))
	}
	for range rapid.IntRange(0, 1).Draw(t, "changes") {
		m.truncate(t)
		m.write(t)
	}
	m.base.spill(p, r.Off)
	if rapid.IntRange(0, 3).Draw(t, "killed") == 0 {
		return
	}
	before := m.file.Local(r)
	if m.failed(t, m.file.Release(bg, s, r, m.base)) {
		return
	}
	if now := m.file.Local(r); now > before+page { // the page where the file was cut off may have come
		t.Fatalf("after a release the range takes %d bytes, before %d", now, before)
	}
}

// seek walks all data and holes: holes are zeros, nothing is left out.
func (m *model) seek(t *rapid.T) {
	size := int64(len(m.content))
	for off := int64(0); off < size; {
		data, err := m.file.Seek(bg, off, SeekData)
		if err == unix.ENXIO {
			data = size
		} else if err != nil || data < off || data >= size {
			t.Fatalf("seek data from %d: %d, %v", off, data, err)
		}
		for i := off; i < data; i++ {
			if m.content[i] != 0 {
				t.Fatalf("byte %d is in a hole", i)
			}
		}
		if data == size {
			return
		}
		hole, err := m.file.Seek(bg, data, SeekHole)
		if err != nil || hole <= data || hole > size {
			t.Fatalf("seek hole from %d of %d: %d, %v", data, size, hole, err)
		}
		off = hole
	}
}

// restart goes on as a new process after a kill: nothing was closed or synced.
func (m *model) restart(t *rapid.T) {
	m.old = append(m.old, m.file)
	m.open(t)
	f, err := m.store.Load(1, m.base.load)
	if err != nil {
		t.Fatal(err)
	}
	m.file, m.gen = f, 0
}

// reboot is a restart under another kernel, after everything reached the disk.
func (m *model) reboot(t *rapid.T) {
	if _, err := m.file.Sync(); err != nil {
		t.Fatal(err)
	}
	m.boots++
	m.restart(t)
}

func (m *model) breakBase(t *rapid.T) {
	m.base.fail, m.base.short = nil, false
	switch rapid.IntRange(0, 5).Draw(t, "how") {
	case 0:
		m.base.fail = errBase
	case 1:
		m.base.short = true
	}
}

// failed reports whether an operation failed because of the base. Any other error is for the operation to judge.
func (m *model) failed(t *rapid.T, err error) bool {
	if err == nil || err == io.EOF {
		return false
	}
	if m.base.fail != nil && errors.Is(err, m.base.fail) || m.base.short && errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	t.Fatal(err)
	return true
}

func (m *model) close() {
	for _, f := range append(m.old, m.file) {
		if f != nil {
			f.Close()
		}
	}
	os.RemoveAll(m.dir)
}

package tree

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/retry"
)

// What the model test does beside names and whole contents: parts of files, fsync, files that are open while their names
// go, and a store that fails.

// splice puts bytes into a content as pwrite(2) does.
func splice(content, part string, off int) string {
	b := []byte(content)
	if end := off + len(part); end > len(b) {
		b = append(b, make([]byte, end-len(b))...)
	}
	copy(b[off:], part)
	return string(b)
}

func (m model) patch(p, part string, off int) error {
	if err := m.opens(p); err != nil {
		return err
	}
	m[p] = splice(m[p], part, off)
	return nil
}

func (m model) truncate(p string, size int) error {
	if err := m.opens(p); err != nil {
		return err
	}
	m[p] = (m[p] + strings.Repeat("\x00", max(0, size-len(m[p]))))[:size]
	return nil
}

// opens is the error of opening a file for writing.
func (m model) opens(p string) error {
	if err := m.parentErr(p); err != nil {
		return err
	}
	switch {
	case m.isDir(p):
		return syscall.EISDIR
	case !m.isFile(p):
		return syscall.ENOENT
	}
	return nil
}

func (m *mount) patch(path, part string, off int) error {
	h, err := m.open(path, syscall.O_RDWR)
	if err != nil {
		return err
	}
	defer h.Release()
	if _, err := h.WriteAt(ctx, []byte(part), int64(off)); err != nil {
		return err
	}
	return h.Flush(ctx)
}

func (m *mount) truncate(path string, size int) error {
	ino, err := m.walk(path)
	if err != nil {
		return err
	}
	if a, err := m.GetAttr(ctx, ino); err == nil && a.Mode&provider.ModeType == provider.ModeDir {
		return syscall.EISDIR
	}
	n := int64(size)
	_, err = m.SetAttr(ctx, ino, SetAttr{Size: &n})
	return err
}

// fsync asks for it until it is done: the store may be failing.
func (m *mount) fsync(path string) error {
	h, err := m.open(path, syscall.O_RDWR)
	if err != nil {
		return err
	}
	defer h.Release()
	return m.insist(func(ctx context.Context) error { return h.Fsync(ctx) })
}

// insist repeats what a failing store makes fail, until it has passed.
func (m *mount) insist(do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := do(ctx)
		if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "injected") {
			return err
		}
	}
}

// counted returns what the files take once every directory is known: the comparison after a crash may have one listed once more.
func (m *mount) counted() Space {
	m.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		s := m.Space()
		if s.Counted || time.Now().After(deadline) {
			return s
		}
		m.show()
	}
}

// flushAnyway stores everything, however often the store fails on the way.
func (m *mount) flushAnyway() {
	m.t.Helper()
	if err := m.insist(func(ctx context.Context) error { return m.Flush(ctx, nil) }); err != nil {
		m.t.Fatalf("flush: %v", err)
	}
	m.flush()
}

// failingStore is a store that can be made to fail, and the retries that a mount has above it.
func failingStore(p provider.Provider) (*faulty.Provider, provider.Provider) {
	f := faulty.New(p, faulty.Options{})
	return f, retry.New(f, retry.Options{BaseDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond, MaxAttempts: 40})
}

// drawFault makes some of the next requests fail, more often than they are repeated now and then.
func drawFault(rt *rapid.T) faulty.Rule {
	ops := rapid.SampledFrom([][]string{{"put"}, {"copy"}, {"move"}, {"delete"}, {"put", "copy", "move", "delete"}, {"stat", "list", "open"}})
	r := faulty.Rule{Ops: ops.Draw(rt, "ops"), Skip: rapid.IntRange(0, 2).Draw(rt, "skip"), Times: rapid.IntRange(1, 5).Draw(rt, "times"),
		Effect: rapid.SampledFrom([]faulty.Effect{faulty.Fail, faulty.ApplyFail, faulty.CutBody}).Draw(rt, "effect")}
	if r.Ops[0] != "stat" {
		r.Times *= 4 // reads of the mount must not fail for good
	}
	return r
}

// moreSteps are the steps of the model test that need these things. m and want are those of the test, serial numbers contents.
func moreSteps(t *testing.T, m **mount, want model, store provider.Provider, faults *faulty.Provider, serial *int,
	compare func(what string, got, want error)) map[string]func(*rapid.T) {
	path := rapid.SampledFrom(paths)
	return map[string]func(*rapid.T){
		"patch": func(rt *rapid.T) {
			p, off := path.Draw(rt, "path"), rapid.SampledFrom([]int{0, 3, 10, 5000}).Draw(rt, "offset")
			*serial++
			part := fmt.Sprintf("patch %d", *serial)
			compare("patch "+p, (*m).patch(p, part, off), want.patch(p, part, off))
		},
		"truncate": func(rt *rapid.T) {
			p, size := path.Draw(rt, "path"), rapid.SampledFrom([]int{0, 1, 7, 4096, 6000}).Draw(rt, "size")
			compare("truncate "+p, (*m).truncate(p, size), want.truncate(p, size))
		},
		"fsync": func(rt *rapid.T) {
			p := path.Draw(rt, "path")
			err := (*m).fsync(p)
			compare("fsync "+p, err, want.opens(p))
			if err != nil {
				return
			}
			if got, ok := objects(t, store)[p]; !ok || got != want[p] {
				rt.Fatalf("%s was fsynced, and the store has %q of it (%v), want %q", p, got, ok, want[p])
			}
		},
		"unlink or replace an open file": func(rt *rapid.T) {
			p := path.Draw(rt, "path")
			h, err := (*m).open(p, syscall.O_RDONLY)
			if !want.isFile(p) || err != nil {
				if err == nil {
					h.Release()
				}
				return
			}
			defer h.Release()
			old := want[p]
			if from := path.Draw(rt, "from"); rapid.Bool().Draw(rt, "replace") && want.isFile(from) && from != p {
				compare("mv "+from+" "+p, (*m).mv(from, p), want.mv(from, p))
			} else {
				compare("rm "+p, (*m).rm(p), want.rm(p))
				if rapid.Bool().Draw(rt, "again") {
					*serial++
					content := fmt.Sprintf("%s again #%d", p, *serial)
					compare("write "+p, (*m).write(p, content), want.write(p, content))
				}
			}
			if rapid.Bool().Draw(rt, "stored") {
				if err := (*m).insist(func(ctx context.Context) error { return (*m).Flush(ctx, nil) }); err != nil {
					rt.Fatalf("flush: %v", err)
				}
			}
			if got, err := readHandle(h); err != nil || got != old {
				rt.Fatalf("who holds %s open reads %.60q, %v, want %.60q", p, got, err, old)
			}
		},
		"the store fails": func(rt *rapid.T) { faults.Add(drawFault(rt)) },
	}
}

package tree

import (
	"fmt"
	"maps"
	"strings"
	"syscall"

	"pgregory.net/rapid"
)

// bytes is the length of all files.
func (m model) bytes() (n int64) {
	for _, content := range m {
		n += int64(len(content))
	}
	return n
}

func (m model) exchange(a, b string) error {
	for _, p := range []string{a, b} {
		if err := m.parentErr(p); err != nil {
			return err
		}
	}
	for _, p := range []string{a, b} {
		if !m.isFile(p) && !m.isDir(p) {
			return syscall.ENOENT
		}
	}
	switch {
	case a == b:
		return nil
	case strings.HasPrefix(b, a+"/"), strings.HasPrefix(a, b+"/"):
		return syscall.EINVAL
	}
	moved := model{}
	for _, move := range [][2]string{{a, b}, {b, a}} {
		for k, v := range m {
			if k == move[0] || strings.HasPrefix(k, move[0]+"/") {
				moved[move[1]+k[len(move[0]):]] = v
			}
		}
	}
	maps.DeleteFunc(m, func(k, _ string) bool {
		return k == a || k == b || strings.HasPrefix(k, a+"/") || strings.HasPrefix(k, b+"/")
	})
	maps.Copy(m, moved)
	return nil
}

// link is the error of giving a new name.
func (m model) link(p, content string) error {
	if err := m.parentErr(p); err != nil {
		return err
	}
	if m.isDir(p) || m.isFile(p) {
		return syscall.EEXIST
	}
	m[p] = content
	return nil
}

func (m *mount) exchange(from, to string) error {
	d1, n1, err := m.parent(from)
	if err != nil {
		return err
	}
	d2, n2, err := m.parent(to)
	if err != nil {
		return err
	}
	return m.Rename(ctx, d1, n1, d2, n2, RenameExchange)
}

// link makes a file without a name, and gives it one.
func (m *mount) link(path, content string) error {
	_, h, err := m.Tmpfile(ctx, Caller{}, Root, 0o644, syscall.O_WRONLY)
	if err != nil {
		return err
	}
	defer h.Release()
	if _, err := h.WriteAt(ctx, []byte(content), 0); err != nil {
		return err
	}
	dir, name, err := m.parent(path)
	if err != nil {
		return err
	}
	_, err = m.Link(ctx, h.Ino(), dir, name)
	return err
}

// posixSteps are the steps of the model test for names that are swapped, files that get their name late, and lengths that
// the catalog's rows do not tell yet.
func posixSteps(m **mount, want model, serial *int, compare func(what string, got, want error)) map[string]func(*rapid.T) {
	path := rapid.SampledFrom(paths)
	return map[string]func(*rapid.T){
		"exchange": func(rt *rapid.T) {
			a, b := path.Draw(rt, "from"), path.Draw(rt, "to")
			compare("exchange "+a+" "+b, (*m).exchange(a, b), want.exchange(a, b))
		},
		"link": func(rt *rapid.T) {
			p := path.Draw(rt, "path")
			*serial++
			content := fmt.Sprintf("%s linked #%d", p, *serial)
			compare("link "+p, (*m).link(p, content), want.link(p, content))
		},
		"count an open file": func(rt *rapid.T) {
			p := path.Draw(rt, "path")
			h, err := (*m).open(p, syscall.O_RDWR)
			if err != nil {
				return
			}
			defer h.Release()
			part := strings.Repeat("x", rapid.IntRange(1, 100).Draw(rt, "length"))
			if _, err := h.WriteAt(ctx, []byte(part), 50); err != nil {
				rt.Fatalf("write to %s: %v", p, err)
			}
			want[p] = splice(want[p], part, 50)
			if rapid.Bool().Draw(rt, "unlink") {
				compare("rm "+p, (*m).rm(p), want.rm(p))
				if _, err := h.WriteAt(ctx, []byte(part), 200); err != nil {
					rt.Fatalf("write to %s: %v", p, err)
				}
			}
			if used := (*m).Space().Used; used != want.bytes() {
				rt.Fatalf("%d bytes are taken while %s is open, want %d", used, p, want.bytes())
			}
		},
	}
}

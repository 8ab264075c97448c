package test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sharefs/test/harness"
)

// statement is how a statement of docs/semantics.md is checked.
type statement struct {
	do    func(t *testing.T, p *place) // on a mount that stores nothing by itself
	later func(t *testing.T, p *place) // on the next mount, with an empty cache, of what do has left
	see   []string                     // tests that check it, as package.Test
}

// place is where a statement is checked: a directory of its own in a mount that all share.
type place struct {
	m   *harness.Mount
	dir string // the directory's name, in the root of the mount
}

// path returns the path of a name in the place.
func (p *place) path(name string) string { return p.m.Path(filepath.Join(p.dir, name)) }

// write makes a file.
func (p *place) write(t *testing.T, name, content string) string {
	t.Helper()
	if err := os.WriteFile(p.path(name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return p.path(name)
}

// has checks a file's content.
func (p *place) has(t *testing.T, name, content string) {
	t.Helper()
	if b, err := os.ReadFile(p.path(name)); err != nil || string(b) != content {
		t.Errorf("%s has %.50q, %v; want %.50q", name, b, err, content)
	}
}

// statements are all of them.
func statements() map[string]statement {
	all := map[string]statement{}
	for _, section := range []map[string]statement{namesSection, renameSection, contentsSection, attributesSection, spaceSection, safetySection, storeSection} {
		maps.Copy(all, section)
	}
	return all
}

var statementLine = regexp.MustCompile(`(?m)^\* \*\*([A-Z][0-9]+)\*\* \S`)

// TestEveryStatementHasACheck compares docs/semantics.md with the table, and looks for the tests that the table names.
func TestEveryStatementHasACheck(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/semantics.md")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for _, m := range statementLine.FindAllStringSubmatch(string(text), -1) {
		if said[m[1]] {
			t.Errorf("%s is there twice", m[1])
		}
		said[m[1]] = true
	}
	checked := statements()
	for id := range said {
		if _, ok := checked[id]; !ok {
			t.Errorf("the statement %s has no check", id)
		}
	}
	for id, s := range checked {
		if !said[id] {
			t.Errorf("the check %s has no statement", id)
		}
		if s.do == nil && len(s.see) == 0 {
			t.Errorf("the check of %s is empty", id)
		}
		for _, name := range s.see {
			if !testExists(t, name) {
				t.Errorf("%s: there is no test %s", id, name)
			}
		}
	}
}

// testExists looks for a test in the sources of its package.
func testExists(t *testing.T, name string) bool {
	t.Helper()
	dir, test, _ := strings.Cut(name, ".")
	files, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(text), "\nfunc "+test+"(t *testing.T)")
	})
}

// TestTheMountDoesWhatTheDocumentSays checks the statements on a directory and on a server, and what is kept on another machine.
func TestTheMountDoesWhatTheDocumentSays(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Fatal("needs root, to be other users")
	}
	for _, kind := range harness.KindsOr(harness.File, harness.MinIO) {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			m := harness.PrepareMount(t, harness.NewStore(t, kind), "--allow-other", "--writeback", "1h")
			letOthersReach(t, m.Dir)
			m.Remount()
			all := statements()
			ids := slices.Sorted(maps.Keys(all))
			for _, id := range ids {
				p := &place{m, id}
				if all[id].do == nil {
					continue
				}
				if err := os.Mkdir(m.Path(id), 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(m.Path(id), 0o777); err != nil {
					t.Fatal(err)
				}
				t.Run(id, func(t *testing.T) { all[id].do(t, p) })
			}
			m.Unmount()
			m.RemountEmpty()
			for _, id := range ids {
				if all[id].later != nil {
					t.Run(id+" later", func(t *testing.T) { all[id].later(t, &place{m, id}) })
				}
			}
		})
	}
}

// letOthersReach lets all users pass the directories above a mount.
func letOthersReach(t *testing.T, dir string) {
	t.Helper()
	for ; dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode()&0o011 == 0 {
			if err := os.Chmod(dir, info.Mode()|0o011); err != nil {
				t.Fatal(err)
			}
		}
	}
}

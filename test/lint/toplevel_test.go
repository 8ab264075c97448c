package lint_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// topLevel is what the top of the repository holds. bin is what make build makes; git ignores it.
var topLevel = []string{
	"go.mod", "go.sum", "cmd", "fusefs", "provider", "cache", "storage", "test",
	"README.md", "docs", "Makefile", "LICENSE", "CHANGELOG.md", "bin",
}

func strangers(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(topLevel, e.Name()) {
			found = append(found, e.Name())
		}
	}
	return found
}

func TestTopLevelHoldsOnlyWhatBelongsThere(t *testing.T) {
	if found := strangers(t, root(t)); len(found) > 0 {
		t.Errorf("the top level holds %q, which belong into one of %q", found, topLevel)
	}
}

func TestTopLevelCheckFindsStrangers(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"go.mod", ".gitignore", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if found := strangers(t, dir); !slices.Equal(found, []string{"notes.txt"}) {
		t.Errorf("found %q", found)
	}
}

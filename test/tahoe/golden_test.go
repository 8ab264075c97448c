package tahoe

import (
	"bytes"
	_ "embed"
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

//go:embed golden.py
var goldenProgram string

// goldenDir is where package storage has what goldenProgram makes.
const goldenDir = "../../storage/testdata/tahoe-1.20"

var update = flag.Bool("update", false, "replace the golden files of package storage by what Tahoe-LAFS makes now")

// TestTheGoldenFilesAreThoseOfTahoe makes them again.
func TestTheGoldenFilesAreThoseOfTahoe(t *testing.T) {
	root := debian(t)
	dir := workDir(t)
	made := filepath.Join(dir, "out")
	if out, err := Command(t.Context(), root, dir, "python3", "-c", goldenProgram, "/mnt/out").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, lastLines(out))
	}
	if *update {
		if err := os.RemoveAll(goldenDir); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(goldenDir, os.DirFS(made)); err != nil {
			t.Fatal(err)
		}
	}
	got, want := filesBelow(t, made), filesBelow(t, goldenDir)
	if g, w := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(g, w) {
		t.Fatalf("Tahoe-LAFS makes %q\nthe golden files are %q", g, w)
	}
	for name, contents := range want {
		if !bytes.Equal(got[name], contents) {
			t.Errorf("Tahoe-LAFS makes another %s", name)
		}
	}
}

// workDir returns a directory for Command, with the one for temporary files.
func workDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// filesBelow reads all files of a directory.
func filesBelow(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err == nil {
			files[name], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Package lint holds the tests that keep the repository in shape: who may import whom, what gofmt, go vet and
// staticcheck say, and what lies at the top level. Each check is also run on something bad, so that it is known to
// be able to fail.
package lint_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sharefs/test/harness"
)

const module = "sharefs"

// root returns the top of the repository.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	if err := harness.NoteSources(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// run runs a command in dir and returns its standard output, and all it said if it failed.
func run(t *testing.T, dir, name string, args ...string) (stdout string, failure string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Sprintf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &out, &errs)
	}
	return out.String(), ""
}

// badModule makes a module of one file in a temporary directory.
func badModule(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module bad\n\ngo 1.26\n", "bad.go": source} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

package lint_test

import (
	"path/filepath"
	"strings"
	"testing"
)

func gofmt(t *testing.T, dir string) string {
	goroot, failure := run(t, dir, "go", "env", "GOROOT")
	if failure != "" {
		return failure
	}
	unformatted, failure := run(t, dir, filepath.Join(strings.TrimSpace(goroot), "bin", "gofmt"), "-l", ".")
	if failure == "" && unformatted != "" {
		return "not formatted by gofmt:\n" + unformatted
	}
	return failure
}

func vet(t *testing.T, dir string) string {
	_, failure := run(t, dir, "go", "vet", "./...")
	return failure
}

// staticcheck runs the version that go.mod pins, also outside the module.
func staticcheck(t *testing.T, dir string) string {
	path, failure := run(t, root(t), "go", "tool", "-n", "staticcheck")
	if failure != "" {
		return failure
	}
	_, failure = run(t, dir, strings.TrimSpace(path), "./...")
	return failure
}

var tools = []struct {
	name  string
	check func(t *testing.T, dir string) string
	bad   string
}{
	{"gofmt", gofmt, "package bad\nfunc  F( ) {}\n"},
	{"vet", vet, "package bad\n\nimport \"fmt\"\n\nfunc F() { fmt.Printf(\"%d\\n\", \"text\") }\n"},
	{"staticcheck", staticcheck, "package bad\n\nfunc unused() {}\n"},
}

func TestToolsFindNothing(t *testing.T) {
	for _, tool := range tools {
		t.Run(tool.name, func(t *testing.T) {
			if failure := tool.check(t, root(t)); failure != "" {
				t.Error(failure)
			}
		})
	}
}

func TestToolsFindWhatIsBad(t *testing.T) {
	for _, tool := range tools {
		t.Run(tool.name, func(t *testing.T) {
			failure := tool.check(t, badModule(t, tool.bad))
			if !strings.Contains(failure, "bad.go") {
				t.Errorf("want a complaint about bad.go, got %q", failure)
			}
		})
	}
}

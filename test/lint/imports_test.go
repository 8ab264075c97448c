package lint_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// layers says what each part of the repository may import of the others. The first entry that covers a package is its
// rule; a part always may import what lies below itself, unless that has a rule of its own. Whatever is lower may be
// skipped to, never the reverse.
var layers = []struct {
	part string
	may  []string
}{
	{"test", []string{"cmd", "fusefs", "fusefs/failpoint", "fusefs/tree", "fusefs/commit", "fusefs/stage", "fusefs/catalog", "fusefs/claim", "cache", "provider", "storage"}},
	{"cmd", []string{"fusefs", "fusefs/tree", "fusefs/commit", "fusefs/stage", "fusefs/catalog", "fusefs/claim", "cache", "provider", "storage"}},
	{"fusefs/tree", []string{"fusefs/commit", "fusefs/stage", "fusefs/catalog", "fusefs/claim", "fusefs/failpoint", "cache", "provider"}},
	{"fusefs/commit", []string{"fusefs/stage", "fusefs/catalog", "fusefs/failpoint", "cache", "provider"}},
	{"fusefs/stage", []string{"fusefs/catalog", "fusefs/failpoint", "cache", "provider"}},
	{"fusefs/catalog", []string{"fusefs/failpoint", "provider"}},
	{"fusefs/claim", []string{"provider"}},
	{"fusefs/failpoint", nil},
	{"fusefs", []string{"fusefs/tree", "fusefs/commit", "fusefs/stage", "fusefs/catalog", "cache", "provider"}},
	{"cache", []string{"provider"}},
	{"provider", nil},
	{"storage", nil},
}

// vendors says which package alone may import a client library. Tests may, to look at things from outside.
var vendors = []struct{ library, owner string }{
	{"github.com/hanwen/go-fuse", "fusefs"},
	{"github.com/aws/", "provider/s3"},
	{"github.com/ncw/swift", "provider/swift"},
}

// pkg is what go list tells of a package.
type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// partOf returns the part that a package of ours belongs to; ok is false when it is not ours.
func partOf(importPath string) (part string, ok bool) {
	path, ok := strings.CutPrefix(importPath, module+"/")
	if !ok {
		return "", false
	}
	for _, l := range layers {
		if below(path, l.part) {
			return l.part, true
		}
	}
	return path, true
}

func below(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// violations returns what the packages import against the rules.
func violations(pkgs []pkg) []string {
	var found []string
	for _, p := range pkgs {
		part, _ := partOf(p.ImportPath)
		i := slices.IndexFunc(layers, func(l struct {
			part string
			may  []string
		}) bool {
			return l.part == part
		})
		if i < 0 {
			found = append(found, fmt.Sprintf("%s: no rule says what it may import", p.ImportPath))
			continue
		}
		complain := func(imported, why string) {
			found = append(found, fmt.Sprintf("%s imports %s: %s", p.ImportPath, imported, why))
		}
		may := append([]string{part}, layers[i].may...)
		for _, imported := range p.Imports {
			if why := forbidden(imported, may); why != "" {
				complain(imported, why)
			}
			for _, v := range vendors {
				if strings.HasPrefix(imported, v.library) && part != "test" && p.ImportPath != module+"/"+v.owner {
					complain(imported, "only "+v.owner+" may")
				}
			}
		}
		for _, imported := range append(p.TestImports, p.XTestImports...) {
			if why := forbidden(imported, append(may, "test")); why != "" {
				complain(imported+" in a test", why)
			}
		}
	}
	return found
}

// forbidden says why a package of ours may not be imported; empty when it may, or is not ours.
func forbidden(imported string, may []string) string {
	part, ours := partOf(imported)
	if !ours || slices.Contains(may, part) {
		return ""
	}
	return "it may import only " + strings.Join(may, ", ")
}

func TestImportsFollowTheLayers(t *testing.T) {
	out, failure := run(t, root(t), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	if failure != "" {
		t.Fatal(failure)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) == 0 {
		t.Fatal("go list found no packages")
	}
	for _, v := range violations(pkgs) {
		t.Error(v)
	}
}

func TestImportRulesFindViolations(t *testing.T) {
	for _, tc := range []struct {
		what string
		pkg  pkg
		want string // a part of the complaint; empty: none
	}{
		{"a driver uses the contract", pkg{ImportPath: "sharefs/provider/s3", Imports: []string{"sharefs/provider"}}, ""},
		{"the contract knows the tree", pkg{ImportPath: "sharefs/provider", Imports: []string{"sharefs/fusefs/tree"}}, "imports sharefs/fusefs/tree"},
		{"the tree knows the kernel side", pkg{ImportPath: "sharefs/fusefs/tree", Imports: []string{"sharefs/fusefs"}}, "imports sharefs/fusefs"},
		{"the cache knows the catalog", pkg{ImportPath: "sharefs/cache", Imports: []string{"sharefs/fusefs/catalog"}}, "imports sharefs/fusefs/catalog"},
		{"the share store knows providers", pkg{ImportPath: "sharefs/storage", Imports: []string{"sharefs/provider"}}, "imports sharefs/provider"},
		{"a package below the share store uses it", pkg{ImportPath: "sharefs/storage/httpapi", Imports: []string{"sharefs/storage"}}, ""},
		{"the command uses all", pkg{ImportPath: "sharefs/cmd/sharefs", Imports: []string{"sharefs/fusefs", "sharefs/storage", "sharefs/provider/all"}}, ""},
		{"program code uses test code", pkg{ImportPath: "sharefs/cmd/sharefs", Imports: []string{"sharefs/test/servers"}}, "imports sharefs/test/servers"},
		{"a test uses test code", pkg{ImportPath: "sharefs/provider/s3", TestImports: []string{"sharefs/test/servers"}}, ""},
		{"a test climbs a layer", pkg{ImportPath: "sharefs/provider/s3", XTestImports: []string{"sharefs/fusefs"}}, "in a test"},
		{"the kernel side uses go-fuse", pkg{ImportPath: "sharefs/fusefs", Imports: []string{"github.com/hanwen/go-fuse/v2/fuse"}}, ""},
		{"the tree uses go-fuse", pkg{ImportPath: "sharefs/fusefs/tree", Imports: []string{"github.com/hanwen/go-fuse/v2/fuse"}}, "only fusefs may"},
		{"what drivers share uses the SDK", pkg{ImportPath: "sharefs/provider/overhttp", Imports: []string{"github.com/aws/smithy-go"}}, "only provider/s3 may"},
		{"the command uses the SDK", pkg{ImportPath: "sharefs/cmd/sharefs", Imports: []string{"github.com/aws/aws-sdk-go-v2/config"}}, "only provider/s3 may"},
		{"a test uses the SDK", pkg{ImportPath: "sharefs/cmd/sharefs", TestImports: []string{"github.com/aws/aws-sdk-go-v2/config"}}, ""},
		{"test code uses the SDK", pkg{ImportPath: "sharefs/test/servers", Imports: []string{"github.com/aws/aws-sdk-go-v2/config"}}, ""},
		{"another driver uses the Swift client", pkg{ImportPath: "sharefs/provider/s3", Imports: []string{"github.com/ncw/swift/v2"}}, "only provider/swift may"},
		{"a new part without a rule", pkg{ImportPath: "sharefs/util"}, "no rule"},
		{"a new part is used", pkg{ImportPath: "sharefs/provider", Imports: []string{"sharefs/util"}}, "imports sharefs/util"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			got := strings.Join(violations([]pkg{tc.pkg}), "\n")
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

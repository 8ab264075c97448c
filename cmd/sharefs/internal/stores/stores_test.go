package stores_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sharefs/cmd/sharefs/internal/config"
	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/cmd/sharefs/internal/stores"
	"sharefs/provider"
)

// fileOf reads a config file with the text.
func fileOf(t *testing.T, text string) *config.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := config.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The rows of the table in docs/operations.md that concern parameters, each with what is above it missing.
func TestEachSourceOfAParameterBeatsTheNext(t *testing.T) {
	const both = "[stores.shares]\nurl = \"s3://bkt/p?region=url\"\nparameters = { region = \"table\", path_style = true }\n"
	const table = "[stores.shares]\nurl = \"s3://bkt/p\"\n[stores.shares.parameters]\nregion = \"table\"\n"
	for _, c := range []struct{ source, file, text, want string }{
		{"given with the name", both, "shares?region=given", "s3://bkt/p?path_style=true&region=given"},
		{"url of the named store", both, "shares", "s3://bkt/p?path_style=true&region=url"},
		{"parameters of the named store", table, "shares", "s3://bkt/p?region=table"},
		{"given, over the parameters of the named store", table, "shares?region=given", "s3://bkt/p?region=given"},
		{"a URL has nothing of a named store", both, "s3://bkt/p", "s3://bkt/p"},
		{"a URL", both, "s3://bkt/p?region=given", "s3://bkt/p?region=given"},
		{"none", "[stores.shares]\nurl = \"s3://bkt/p\"\n", "shares", "s3://bkt/p"},
	} {
		t.Run(c.source, func(t *testing.T) {
			s, err := stores.Find(fileOf(t, c.file), c.text)
			if err != nil {
				t.Fatal(err)
			}
			if s.String() != c.want {
				t.Errorf("got %s, want %s", s, c.want)
			}
		})
	}
}

func TestStoreIsANameAURLOrADirectory(t *testing.T) {
	f := fileOf(t, "[stores.shares]\nurl = \"file:///srv/a\"\nsecrets = \"/etc/s.env\"\n[stores.dir]\nurl = \"/srv/b\"\n")
	for text, want := range map[string]stores.Store{
		"shares":        {Name: "shares", Secrets: "/etc/s.env"},
		"dir":           {Name: "dir"},
		"file:///srv/a": {},
		"/srv/b":        {},
	} {
		s, err := stores.Find(f, text)
		if err != nil || s.Name != want.Name || s.Secrets != want.Secrets || !strings.HasPrefix(s.Location.Dir(), "/srv/") {
			t.Errorf("%s: %+v, %v", text, s, err)
		}
	}
}

func TestWhatIsNoStoreIsSaidWithWhatThereIs(t *testing.T) {
	const file = "[stores.shares]\nurl = \"s3://b\"\n[stores.other]\nurl = \"mem:\"\n[stores.odd]\nurl = \"s3://b\"\nparameters = { colour = \"red\" }\n" +
		"[stores.path]\nurl = \"/srv/x\"\n[stores.hush]\nurl = \"s3://me:HUSH@b\"\n"
	for text, says := range map[string]string{
		"share":          `there is no store "share": in FILE did you mean shares? known are hush, odd, other, path, shares; or give a URL, or a directory as ./share`,
		"zzzzzzzz":       `there is no store "zzzzzzzz": in FILE known are hush, odd, other, path, shares; or give`,
		"shares?x=%":     "the store shares of FILE: the parameters cannot be read",
		"odd":            `the store odd of FILE: url: invalid: unknown parameter "colour": known are `,
		"path?region=x":  "the store path of FILE: parameters need a url with a scheme",
		"other?region=x": "the store other of FILE: ",
		"hush":           "credentials do not belong in a URL",
		"gs://b":         "the scheme gs: is not known",
	} {
		f := fileOf(t, file)
		_, err := stores.Find(f, text)
		if err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(says, "FILE", f.Name)) || strings.Contains(err.Error(), "HUSH") {
			t.Errorf("%s: %v, want %s", text, err, says)
		}
		if exit.CodeOf(err) != exit.Store {
			t.Errorf("%s: exit code %d", text, exit.CodeOf(err))
		}
	}
	if _, err := stores.Find(&config.File{}, "shares"); err == nil || !strings.Contains(err.Error(), "there is no config file that names stores") {
		t.Errorf("%v", err)
	}
	empty := fileOf(t, "parallel = 3\n")
	if _, err := stores.Find(empty, "shares"); err == nil || !strings.Contains(err.Error(), empty.Name+" names none") {
		t.Errorf("%v", err)
	}
}

func TestStoresOpenWithTheirDecorators(t *testing.T) {
	dir := t.TempDir()
	f := fileOf(t, "[stores.shares]\nurl = \"file://"+dir+"\"\n")
	for _, readOnly := range []bool{false, true} {
		s, err := stores.Find(f, "shares")
		if err != nil {
			t.Fatal(err)
		}
		opened, err := s.Open(t.Context(), stores.Options{ReadOnly: readOnly})
		if err != nil {
			t.Fatal(err)
		}
		_, err = opened.Put(t.Context(), "k", strings.NewReader("x"), 1, provider.PutOptions{})
		if got := provider.Is(err, provider.KindReadOnly); got != readOnly || err != nil && !readOnly {
			t.Errorf("read-only %v: %v", readOnly, err)
		}
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "k")); err != nil {
		t.Error(err)
	}
}

func TestStoreThatCannotBeOpenedSaysWhatToDo(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	open := filepath.Join(t.TempDir(), "open.env")
	if err := os.WriteFile(open, []byte("A=HUSH\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	f := fileOf(t, "[stores.missing]\nurl = \"file://"+missing+"\"\n[stores.open]\nurl = \"s3://bucket\"\nsecrets = \""+open+"\"\n")
	for name, says := range map[string]string{
		"missing": "cannot be opened: .*: check the name, or make it first",
		"open":    "others may read or change it (mode 0644): chmod 600",
	} {
		s, err := stores.Find(f, name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Open(t.Context(), stores.Options{})
		for part := range strings.SplitSeq(says, ".*") {
			if err == nil || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "HUSH") || exit.CodeOf(err) != exit.Store {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

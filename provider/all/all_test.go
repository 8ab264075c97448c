package all_test

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sharefs/provider"
	"sharefs/provider/all"
)

func TestURLsOfStores(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ text, scheme, plain, prefix, dir string }{
		{"s3://bucket", "s3", "s3://bucket", "", ""},
		{"s3://bucket/", "s3", "s3://bucket", "", ""},
		{"s3://bucket/a/b%20c/?region=eu-west-1", "s3", "s3://bucket/a/b%20c?region=eu-west-1", "a/b c/", ""},
		{"s3://bucket?path_style=1&endpoint=http://127.0.0.1:9000/", "s3",
			"s3://bucket?endpoint=http%3A%2F%2F127.0.0.1%3A9000&path_style=true", "", ""},
		{"file:///srv/share/", "file", "file:///srv/share", "", "/srv/share"},
		{"file:///srv/my%20share", "file", "file:///srv/my%20share", "", "/srv/my share"},
		{"/srv/share", "file", "file:///srv/share", "", "/srv/share"},
		{"/srv/100%?#", "file", "file:///srv/100%25%3F%23", "", "/srv/100%?#"},
		{"./share", "file", "file://" + wd + "/share", "", wd + "/share"},
		{"../share", "file", "file://" + filepath.Dir(wd) + "/share", "", filepath.Dir(wd) + "/share"},
		{".", "file", "file://" + wd, "", wd},
		{"mem:", "mem", "mem:", "", ""},
		{"mem:scratch", "mem", "mem:scratch", "", ""},
	} {
		t.Run(tc.text, func(t *testing.T) {
			l, err := all.Parse(tc.text)
			if err != nil {
				t.Fatal(err)
			}
			if l.Scheme() != tc.scheme || l.String() != tc.plain || l.Prefix() != tc.prefix || l.Dir() != tc.dir {
				t.Errorf("scheme %s, %s, prefix %q, directory %q", l.Scheme(), l, l.Prefix(), l.Dir())
			}
			if again, err := all.Parse(l.String()); err != nil || again.String() != l.String() {
				t.Errorf("it reads back as %s, %v", again, err)
			}
		})
	}
}

func TestIDIsThatOfTheStoreAndNotOfTheURL(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", "")
	t.Setenv("AWS_ENDPOINT_URL_S3", "")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	owner := map[string]int{} // of an ID
	for i, same := range [][]string{
		{"s3://bucket/p", "s3://bucket/p/?region=eu-west-1", "s3://bucket/p?path_style=true&region=us-east-2"},
		{"s3://bucket/other"},
		{"s3://other/p"},
		{"s3://bucket/p?endpoint=http://127.0.0.1:9000", "s3://bucket/p?endpoint=http://127.0.0.1:9000/&path_style=1&region=here"},
		{"s3://bucket/p?endpoint=http://127.0.0.1:9001"},
		{"file:///srv/share", "/srv/share/", "file://localhost/srv//share"},
		{"mem:a"},
		{"mem:"},
	} {
		for _, text := range same {
			l, err := all.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			id, err := l.ID(t.Context(), all.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if other, ok := owner[id]; ok && other != i {
				t.Errorf("%s has the ID of another store, %s", text, id)
			}
			owner[id] = i
		}
		if len(owner) != i+1 {
			t.Errorf("%q have several IDs", same)
		}
	}
}

func TestWrongURLsSayWhatToDoAndShowNothingSecret(t *testing.T) {
	for _, tc := range []struct{ text, says string }{
		{"", "no scheme: it is one of s3://BUCKET/PREFIX, swift://CONTAINER/PREFIX, file:///DIRECTORY, mem:"},
		{"bucket", "no scheme"},
		{"share/dir", "or a directory as /PATH or ./PATH"},
		{"gs://bucket", "the scheme gs: is not known; a store is one of s3://"},
		{"S4:bucket", "the scheme s4:"},
		{"s3://bucket?colour=red", `unknown parameter "colour"`},
		{"s3://bucket?secret_key=HUSH", `the parameter "secret_key": credentials do not belong in a URL, which others can read: they come from AWS_ACCESS_KEY_ID`},
		{"file:///dir?password=HUSH", `the parameter "password": credentials do not belong in a URL, which others can read: the store needs none`},
		{"s3://key:HUSH@bucket", "credentials do not belong in a URL"},
		{"s3://key:HUSH/HUSH@bucket", "cannot be read as a URL"},
		{"s3://bucket?endpoint=http://key:HUSH@host", "credentials"},
		{"s3://%zzHUSH", "cannot be read as a URL"},
		{"s3:bucket", "s3://bucket/prefix"},
		{"s3://bucket/a//b", "prefix"},
		{"file://host/dir", "host"},
		{"file:dir", "absolute"},
		{"file:///dir?mode=1", "unknown parameter mode"},
		{"file://user:HUSH@localhost/dir", "user"},
		{"mem://x", "mem:NAME"},
		{"mem:?size=1", "without parameters"},
	} {
		t.Run(tc.text, func(t *testing.T) {
			_, _, err := all.Open(t.Context(), tc.text, all.Options{})
			if !provider.Is(err, provider.KindInvalid) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v: want %q", err, tc.says)
			}
			if err != nil && (strings.Contains(err.Error(), "HUSH") || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%v: shows a secret, or several lines", err)
			}
		})
	}
}

func TestStoresOpen(t *testing.T) {
	for _, text := range []string{"mem:", t.TempDir()} {
		p, prefix, err := all.Open(t.Context(), text, all.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Put(t.Context(), "k", strings.NewReader("x"), 1, provider.PutOptions{}); err != nil || prefix != "" {
			t.Errorf("%s: %v, prefix %q", text, err, prefix)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestADirectoryThatIsNotThereIsNoStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	if _, _, err := all.Open(t.Context(), dir, all.Options{}); !provider.Is(err, provider.KindNoStore) || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
}

func TestTheHelpKnowsEveryParameterAndNoOther(t *testing.T) {
	for _, s := range all.Schemes() {
		base := strings.NewReplacer("BUCKET/PREFIX", "bucket", "DIRECTORY", "dir").Replace(s.Form)
		var names []string
		before := ""
		for _, p := range s.Parameters {
			one := url.Values{p.Name: {p.Example}}.Encode()
			if _, err := all.Parse(base + "?" + one); err != nil {
				// It may belong to the one before.
				if _, err := all.Parse(base + "?" + before + "&" + one); err != nil {
					t.Errorf("%s: %v", s.Name, err)
				}
			}
			names, before = append(names, p.Name), one
		}
		if len(names) == 0 {
			continue
		}
		_, err := all.Parse(base + "?nonsense=1")
		_, known, found := strings.Cut(err.Error(), "known are ")
		slices.Sort(names)
		if !found || known != strings.Join(names, ", ") {
			t.Errorf("%s: %v, the help has %q", s.Name, err, names)
		}
	}
}

func TestThePageOfStoresHasEveryParameter(t *testing.T) {
	page, err := os.ReadFile("../../docs/providers.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all.Schemes() {
		for _, p := range s.Parameters {
			if !strings.Contains(string(page), "`"+p.Name+"`") {
				t.Errorf("docs/providers.md says nothing of %s of %s:", p.Name, s.Name)
			}
		}
	}
}

package providertest

import (
	"fmt"
	"maps"
	"strings"

	"sharefs/provider"
)

// fileMetadata is what sharefs writes with a file, with times that no clock of a test shows.
var fileMetadata = provider.Metadata{
	provider.MetaMode:  "33184", // a regular file, 0640
	provider.MetaUID:   "1000",
	provider.MetaGID:   "1001",
	provider.MetaMtime: "1600000000.123456789",
	provider.MetaCtime: "1600000001.5",
	provider.MetaAtime: "1600000002",
	provider.MetaXattr: "%7B%22user.comment%22:%22aGVsbG8=%22%7D",
	provider.MetaPut:   "6f1d-42",
}

var metadataCases = []testCase{
	{"what Put was given comes back", func(t *tester) {
		for name, md := range map[string]provider.Metadata{
			"a file of sharefs":    fileMetadata,
			"of rclone":            {provider.MetaMtime: "1600000000.5"},
			"before 1970":          {provider.MetaMtime: "-1.500000000"},
			"of another tool":      {"x-origin-7": "camera"},
			"odd names":            {"under_score": "1", "do.t": "2", "!#$%&'*+^`|~": "3"},
			"no numbers":           {provider.MetaMode: "rw-r--r--", provider.MetaUID: "root", provider.MetaMtime: "yesterday", provider.MetaXattr: "none"},
			"numbers out of range": {provider.MetaMode: "99999999999", provider.MetaUID: "-1", provider.MetaMtime: "1e300"},
			"mode of a directory":  {provider.MetaMode: "16877"},
			"unusual mode":         {provider.MetaMode: "0"},
			"every printable":      {"note": printable()},
			"spaces within":        {"note": "a b  c"},
			"capitals":             {"note": "UPPER and lower"},
			"looks quoted":         {"note": `"quoted", 'quoted'; =?utf-8?q?caf=C3=A9?=`},
			"percent":              {"note": "%41%2F%00%zz%"},
			"many":                 manyMetadata(20, 10),
			"long":                 {"note": strings.Repeat("x", 250)},
		} {
			t.sub(name, func(t *tester) {
				if err := provider.CheckMetadata(md, t.caps); err != nil {
					t.Fatal(err)
				}
				t.put(t.key("k"), pattern(10, 1), md)
				t.wantMetadata(t.key("k"), md)
			})
		}
	}},
	{"none is known to be none", func(t *tester) {
		t.put(t.key("nil"), []byte("x"), nil)
		t.put(t.key("empty"), []byte("x"), provider.Metadata{})
		t.wantMetadata(t.key("nil"), provider.Metadata{})
		t.wantMetadata(t.key("empty"), provider.Metadata{})
	}},
	{"maps belong to the caller", func(t *tester) {
		given := provider.Metadata{"note": "as given"}
		o, err := t.p.Put(t.ctx, t.key("k"), strings.NewReader("x"), 1, provider.PutOptions{Metadata: given})
		if err != nil {
			t.Fatal(err)
		}
		for _, md := range []provider.Metadata{given, o.Metadata, t.stat(t.key("k")).Metadata} {
			if md != nil {
				md["note"] = "changed later"
			}
		}
		t.wantMetadata(t.key("k"), provider.Metadata{"note": "as given"})
	}},
	{"Put replaces all of it", func(t *tester) {
		t.put(t.key("k"), []byte("x"), fileMetadata)
		t.put(t.key("k"), []byte("y"), provider.Metadata{"note": "new"})
		t.wantMetadata(t.key("k"), provider.Metadata{"note": "new"})
		t.put(t.key("k"), []byte("z"), nil)
		t.wantMetadata(t.key("k"), provider.Metadata{})
	}},
	{"as much as the store takes", func(t *tester) {
		size := 1900
		if t.caps.MaxMetadata > 0 {
			size = min(size, t.caps.MaxMetadata)
		}
		md := provider.Metadata{}
		for i := 0; md.Size() < size-50; i++ {
			name := fmt.Sprintf("n%03d", i)
			md[name] = strings.Repeat("v", min(200, size-md.Size()-len(name)))
		}
		t.put(t.key("k"), []byte("x"), md)
		t.wantMetadata(t.key("k"), md)
	}},
	{"a marker has metadata", func(t *tester) {
		md := provider.Metadata{provider.MetaMode: "16832", provider.MetaUID: "1000", provider.MetaMtime: "1600000000.5", "note": "dir"}
		t.put(t.key("d/"), nil, md)
		t.wantMetadata(t.key("d/"), md)
	}},
	{"a symlink is an object whose mode says so", func(t *tester) {
		md := provider.Metadata{provider.MetaMode: "41471", provider.MetaUID: "1000", provider.MetaMtime: "1600000000.5", provider.MetaPut: "6f1d-43"}
		for _, target := range []string{"../target/of link", "/nowhere", "/nowhere/else"} {
			t.put(t.key("link"), []byte(target), md)
			t.wantContent(t.key("link"), []byte(target))
			t.wantMetadata(t.key("link"), md)
			t.wantListedSame(t.stat(t.key("link")))
		}
		t.put(t.key("link"), []byte("a file now"), fileMetadata)
		t.wantContent(t.key("link"), []byte("a file now"))
		t.wantMetadata(t.key("link"), fileMetadata)
		t.put(t.key("link"), []byte("elsewhere"), md)
		t.wantContent(t.key("link"), []byte("elsewhere"))
		t.delete(t.key("link"))
		t.wantMissing(t.key("link"))
	}},
	{"a symlink is not followed", func(t *tester) {
		t.putString(t.key("d/x"), "below d")
		t.put(t.key("link"), []byte("d"), provider.Metadata{provider.MetaMode: "41471"})
		t.wantMissing(t.key("link/x"))
		t.delete(t.key("link/x"))
		t.wantContent(t.key("d/x"), []byte("below d"))
		t.wantListed(provider.ListOptions{Prefix: t.key("link/")}, []string{})
		t.wantListed(provider.ListOptions{Prefix: t.key("link/"), Flat: true}, []string{})
	}},
}

// wantMetadata compares what Stat, Open and List say of an object's metadata.
func (t *tester) wantMetadata(key string, want provider.Metadata) {
	t.Helper()
	o := t.stat(key)
	_, opened := t.get(key)
	for op, got := range map[string]provider.Metadata{"stat": o.Metadata, "open": opened.Metadata} {
		if got == nil || !maps.Equal(got, want) {
			t.Errorf("%s %q: metadata %#v, want %v", op, key, got, want)
		}
	}
	if !t.caps.ListMetadata {
		return
	}
	t.settled(func() error {
		page, err := t.p.List(t.ctx, provider.ListOptions{Prefix: key, Flat: true, Limit: 1})
		if err != nil {
			return err
		}
		if len(page.Objects) == 0 || page.Objects[0].Key != key {
			return fmt.Errorf("%q is not listed", key)
		}
		return t.listedMetadata(page.Objects[0], want)
	})
}

func printable() string {
	var b strings.Builder
	for c := byte(0x21); c <= 0x7e; c++ {
		b.WriteByte(c)
	}
	return b.String()
}

func manyMetadata(n, size int) provider.Metadata {
	md := provider.Metadata{}
	for i := range n {
		md[fmt.Sprintf("name-%d", i)] = strings.Repeat("v", size)
	}
	return md
}

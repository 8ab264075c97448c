package providertest

import (
	"bytes"
	"slices"
	"strings"

	"sharefs/provider"
)

// NastyKeys are keys that stores, protocols and listings get wrong. No key is a directory of another.
func NastyKeys() []string {
	return append([]string{
		"plain",
		"with space", " leading space", "trailing space ", "two  spaces", "dir with space/x y",
		"percent%", "%", "%%", "%2F", "%2f", "a%20b", "%zz", "%00",
		"plus+plus", "+", "a+b c",
		"amp&amp", "&amp;", "<tag>", "question?x=1", "hash#frag", "semi;colon", "equals=x", "comma,", "at@", "colon:x", "c:/windows",
		`back\slash`, `\`, `dir\`, `..\up`,
		`double"quote`, "single'quote", "back`tick", "$dollar", "!bang", "*star*", "(parens)", "[brackets]", "{braces}", "|pipe", "^caret", "~tilde", "-dash", "--dashes",
		".hidden", "..hidden", "...", "trailing.", "trailing..", ".dir/.file",
		"caf\u00e9 NFC", "cafe\u0301 NFD", "日本語/ファイル", "עברית", "emoji 😀", "👩\u200d👩\u200d👧", "\u00a0nbsp", "\ufeffbom", "zero\u200bwidth", "\u2028line", "\u202ertl",
		"tab\there", "new\nline", "carriage\rreturn", "control\x01", "delete\x7f", "escape\x1b[31m",
		"CON", "nul.txt", "index.html", "xl.meta", "soap", "robots.txt",
		"UPPER", "upper", "Upper",
		"dir/a-b", "dir/a.b", "dir/a/b", "dir/a0", "dir/a!", "dir-", "dir.", "dir0",
		"deep/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20",
	}, longKeys...)
}

// longKeys are cut to what the store takes.
var longKeys = []string{
	strings.Repeat("n", 255),
	"utf8 " + strings.Repeat("é", 125),
	strings.TrimSuffix(strings.Repeat(strings.Repeat("p", 99)+"/", 10), "/"),
}

var keyCases = []testCase{
	{"nasty keys in every method and both listings", func(t *tester) {
		keys := t.takenKeys()
		for _, key := range keys {
			t.put(key, []byte(key), provider.Metadata{"note": "x"})
		}
		for _, key := range keys {
			if got, o := t.get(key); string(got) != key || o.Key != key {
				t.Errorf("open %q: %s, key %q", key, shown(got), o.Key)
			}
			if o := t.stat(key); o.Key != key || o.Size != int64(len(key)) {
				t.Errorf("stat %q: %+v", key, o)
			}
		}
		t.wantListed(provider.ListOptions{Prefix: t.prefix, Flat: true}, t.withDirs(keys))
		t.wantListed(provider.ListOptions{Prefix: t.prefix, Flat: true, Limit: 7}, t.withDirs(keys))
		t.walk(keys, t.prefix)
		t.startAtEach(keys)
		t.copyEach(keys)
		t.deleteEach(keys)
	}},
	{"nasty keys that the store cannot hold are KindInvalid", func(t *tester) {
		for name := range t.cfg.Refused {
			key := t.key("refused/" + name)
			_, err := t.p.Put(t.ctx, key, bytes.NewReader(nil), 0, provider.PutOptions{})
			t.wantError(err, "put", provider.KindInvalid, key)
		}
		t.wantListed(provider.ListOptions{Prefix: t.key("refused/"), Flat: true}, []string{})
	}},
	{"nasty markers", func(t *tester) {
		names := []string{"with space/", "%2F/", "a+b/", "é/", "😀/", ".dot/", "back\\slash/", "trailing./", "new\nline/"}
		var keys []string
		for _, name := range names {
			if _, refused := t.cfg.Refused[strings.TrimSuffix(name, "/")]; !refused {
				keys = append(keys, t.key(name))
			}
		}
		for _, key := range keys {
			t.put(key, nil, nil)
			if o := t.stat(key); o.Key != key || !o.IsDir() {
				t.Errorf("stat %q: %+v", key, o)
			}
		}
		opts := provider.ListOptions{Prefix: t.prefix}
		t.wantListed(opts, t.expected(keys, opts))
		t.delete(keys...)
		for _, key := range keys {
			t.wantMissing(key)
		}
	}},
	{"a key as long as the store takes", func(t *tester) {
		longest := 1024
		if t.caps.MaxKey > 0 {
			longest = min(longest, t.caps.MaxKey)
		}
		key := t.prefix
		for len(key) < longest {
			component := strings.Repeat("k", min(100, longest-len(key)))
			if len(key)+len(component) < longest-1 {
				component += "/"
			}
			key += component
		}
		t.putString(key, "x")
		t.wantContent(key, []byte("x"))
		t.wantListed(provider.ListOptions{Prefix: t.prefix, Flat: true}, t.withDirs([]string{key}))
	}},
	{"names of files and directory markers as long as the store takes", func(t *tester) {
		longest := 255
		if t.caps.MaxComponent > 0 {
			longest = min(longest, t.caps.MaxComponent)
		}
		marker := longest
		if t.caps.MaxMarker > 0 {
			marker = min(marker, t.caps.MaxMarker)
			refused := t.prefix + strings.Repeat("r", t.caps.MaxMarker+1) + "/"
			_, err := t.p.Put(t.ctx, refused, strings.NewReader(""), 0, provider.PutOptions{})
			t.wantError(err, "put", provider.KindInvalid, refused)
		}
		file, dir := t.prefix+strings.Repeat("f", longest), t.prefix+strings.Repeat("d", marker)+"/"
		t.putString(file, "x")
		t.putString(dir, "")
		opts := provider.ListOptions{Prefix: t.prefix}
		t.wantListed(opts, t.expected([]string{file, dir}, opts))
		t.wantContent(file, []byte("x"))
	}},
}

// takenKeys returns the full nasty keys that this store holds.
func (t *tester) takenKeys() []string {
	var keys []string
	for _, name := range NastyKeys() {
		if _, refused := t.cfg.Refused[name]; refused {
			continue
		}
		if key := t.key(name); provider.CheckKey(key, t.caps) == nil || !slices.Contains(longKeys, name) {
			keys = append(keys, key)
		}
	}
	return keys
}

// walk lists one level after the other, as a tree does.
func (t *tester) walk(keys []string, prefix string) {
	t.Helper()
	opts := provider.ListOptions{Prefix: prefix}
	want := t.expected(keys, opts)
	t.wantListed(opts, want)
	for _, key := range want {
		if key != prefix && strings.HasSuffix(key, "/") {
			t.walk(keys, key)
		}
	}
}

// startAtEach pages from each name of the first level on.
func (t *tester) startAtEach(keys []string) {
	t.Helper()
	opts := provider.ListOptions{Prefix: t.prefix}
	all := t.expected(keys, opts)
	for i, after := range all {
		if t.cfg.Slow && i%4 != 0 {
			continue
		}
		opts.After, opts.Limit = after, 2
		page, err := t.p.List(t.ctx, opts)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := keysOf(page.Objects), all[i+1:min(i+3, len(all))]; !slices.Equal(got, want) {
			t.Errorf("after %q: %q, want %q", after, got, want)
		}
	}
}

func (t *tester) copyEach(keys []string) {
	t.Helper()
	if !t.caps.Copy {
		return // refused, as shown elsewhere
	}
	for i, key := range keys {
		if t.cfg.Slow && i%4 != 0 {
			continue
		}
		dst := t.key("copies/" + strings.TrimPrefix(key, t.prefix))
		if provider.CheckKey(dst, t.caps) != nil {
			dst = t.key("copies/of a long one")
		}
		if _, err := t.p.Copy(t.ctx, key, dst, provider.CopyOptions{}); err != nil {
			t.Errorf("copy: %v", err)
			continue
		}
		if got, _ := t.get(dst); string(got) != key {
			t.Errorf("the copy of %q has %s", key, shown(got))
		}
		t.delete(dst)
	}
}

// deleteEach deletes half of the keys one by one, the rest in one call.
func (t *tester) deleteEach(keys []string) {
	t.Helper()
	half := len(keys) / 2
	for _, key := range keys[:half] {
		t.delete(key)
	}
	t.delete(keys[half:]...)
	for _, key := range keys {
		if _, err := t.p.Stat(t.ctx, key); !provider.Is(err, provider.KindNotFound) {
			t.Errorf("after its deletion, stat %q: %v", key, err)
		}
	}
}

package keycodec_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"sharefs/provider"
	"sharefs/provider/keycodec"
	"sharefs/test/soak"
)

func TestMain(m *testing.M) {
	soak.FixRapid()
	m.Run()
}

func TestNamesAndTheirComponents(t *testing.T) {
	for _, tc := range []struct{ what, name, component string }{
		{"an ordinary name", "report.txt", "report.txt"},
		{"spaces and plus", " a +b ", " a +b "},
		{"other scripts", "žluťoučký 🐎", "žluťoučký 🐎"},
		{"a percent sign", "100%", "100%"},
		{"a percent sign before text", "50% off", "50% off"},
		{"what a URL encoder wrote", "a%20b", "a%20b"},
		{"an escape in lower case", "a%0a", "a%0a"},
		{"an escaped good letter", "a%41", "a%41"},
		{"an escaped percent alone", "a%25", "a%25"},
		{"an escaped NUL, which no name has", "a%00", "a%00"},
		{"an escaped slash, which no name has", "a%2F", "a%2F"},
		{"escaped bytes that are good UTF-8 together", "%C3%A9", "%C3%A9"},
		{"a percent sign at the end behind an escape", "%01%", "%01%"},
		{"a control character", "a\x01", "a%01"},
		{"a newline", "a\nb", "a%0Ab"},
		{"delete", "\x7f", "%7F"},
		{"not UTF-8", "caf\xe9", "caf%E9"},
		{"half of a rune", "\xc3", "%C3"},
		{"an overlong NUL", "\xc0\x80", "%C0%80"},
		{"a surrogate", "\xed\xa0\x80", "%ED%A0%80"},
		{"U+FFFE", "a\ufffe", "a%EF%BF%BE"},
		{"U+FFFF", "\uffff", "%EF%BF%BF"},
		{"the replacement character itself", "\ufffd", "\ufffd"},
		{"bad byte beside a percent sign", "5%\xff", "5%25%FF"},
		{"bad byte beside a good rune", "é\xff", "é%FF"},
		{"the literal name that a bad one becomes", "a%01", "a%2501"},
		{"and the one that this becomes", "a%2501", "a%252501"},
		{"the escape of mixed text, as a name", "5%25%FF", "5%2525%25FF"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			if got := keycodec.Encode(tc.name); got != tc.component {
				t.Errorf("Encode(%q) = %q, want %q", tc.name, got, tc.component)
			}
			if got := keycodec.Decode(tc.component); got != tc.name {
				t.Errorf("Decode(%q) = %q, want %q", tc.component, got, tc.name)
			}
		})
	}
}

func TestComponentsThatNoFileHas(t *testing.T) {
	for _, c := range []string{"", ".", "..", "a/b", "a\x00", "a\x1f", "\x7f", "\xff", "\ufffe", "\uffff"} {
		if keycodec.Valid(c) {
			t.Errorf("Valid(%q), but no file name encodes to it", c)
		}
		if got := keycodec.Decode(c); got != c {
			t.Errorf("Decode(%q) = %q, want it unchanged", c, got)
		}
	}
}

func TestPathsAreMappedByComponent(t *testing.T) {
	for _, tc := range []struct{ path, key string }{
		{"a/b/c", "a/b/c"},
		{"a%01/\x01/b/", "a%2501/%01/b/"},
		{"d\n/", "d%0A/"},
		{"50%/25", "50%/25"},
		{"50%/\xff", "50%/%FF"},
	} {
		if got := keycodec.EncodePath(tc.path); got != tc.key {
			t.Errorf("EncodePath(%q) = %q, want %q", tc.path, got, tc.key)
		}
		if got := keycodec.DecodePath(tc.key); got != tc.path {
			t.Errorf("DecodePath(%q) = %q, want %q", tc.key, got, tc.path)
		}
		if !keycodec.ValidPath(tc.key) {
			t.Errorf("ValidPath(%q) is false", tc.key)
		}
	}
	for _, key := range []string{"", "/", "a//b", "a/../b", "a/\x01", "/a", "a//"} {
		if keycodec.ValidPath(key) {
			t.Errorf("ValidPath(%q), but it is no path of file names", key)
		}
	}
}

// checkName holds everything that a user relies on for one file name.
func checkName(t interface{ Fatalf(string, ...any) }, name string) {
	component := keycodec.Encode(name)
	if !keycodec.Valid(component) {
		t.Fatalf("Encode(%q) = %q, which is not valid", name, component)
	}
	if err := provider.CheckKey(component, provider.Capabilities{}); err != nil {
		t.Fatalf("Encode(%q): %v", name, err)
	}
	if got := keycodec.Decode(component); got != name {
		t.Fatalf("Decode(Encode(%q)) = Decode(%q) = %q", name, component, got)
	}
	if !strings.Contains(name, "%") && keycodec.Valid(name) && component != name {
		t.Fatalf("Encode(%q) = %q, but an ordinary name stays", name, component)
	}
}

// checkComponent holds everything that a user relies on for one key that another program made.
func checkComponent(t interface{ Fatalf(string, ...any) }, component string) {
	name := keycodec.Decode(component)
	if !isFileName(name) {
		t.Fatalf("Decode(%q) = %q, which is no file name", component, name)
	}
	if got := keycodec.Encode(name); got != component {
		t.Fatalf("Encode(Decode(%q)) = Encode(%q) = %q", component, name, got)
	}
}

func isFileName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/\x00")
}

// names are file names in which escapes, escapes of escapes and bad bytes are frequent.
func names() *rapid.Generator[string] {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{"%", "%25", "%2525", "%01", "%0a", "%C3", "%A9", "%EF%BF%BE", "%00", "%2F", "%2E", ".",
			"\x01", "\n", "\x7f", "\xff", "\xc3", "\xa9", "é", "\ufffe", "\uffff", "\ufffd", "🐎", "2", "25", "F", "0", "1", " "}),
		rapid.String(),
		rapid.StringOf(rapid.RuneFrom([]rune("%0125ABCDEFabc"))),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
	)
	return rapid.Map(rapid.SliceOfN(piece, 1, 6), func(p []string) string { return strings.Join(p, "") }).Filter(isFileName)
}

func TestEveryNameComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkName(t, names().Draw(t, "name")) })
}

func TestEveryForeignKeyKeepsItsKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkComponent(t, names().Filter(keycodec.Valid).Draw(t, "component")) })
}

func TestNamesAreNeverSharedByRepeatedEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := names().Draw(t, "name")
		seen := map[string]string{}
		for range 5 {
			c := keycodec.Encode(name)
			if other, taken := seen[c]; taken && other != name {
				t.Fatalf("%q and %q both become %q", other, name, c)
			}
			seen[c] = name
			name = c // the component is itself a file name that may exist beside it
		}
	})
}

func TestShortNamesExhaustively(t *testing.T) {
	letters := []string{"%", "0", "1", "2", "5", "C", "\x01", "\xc3", "\xa9", "a", "."}
	seen := map[string]string{}
	var walk func(name string, left int)
	walk = func(name string, left int) {
		if isFileName(name) {
			checkName(t, name)
			c := keycodec.Encode(name)
			if other, taken := seen[c]; taken {
				t.Fatalf("%q and %q both become %q", other, name, c)
			}
			seen[c] = name
			if keycodec.Valid(name) {
				checkComponent(t, name)
			}
		}
		if left > 0 {
			for _, l := range letters {
				walk(name+l, left-1)
			}
		}
	}
	walk("", 5)
}

func FuzzNamesComeBack(f *testing.F) {
	for _, s := range []string{"a", "a%01", "a%2501", "\xff%", "%C3%A9", "\ufffe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !isFileName(s) {
			return
		}
		checkName(t, s)
		if keycodec.Valid(s) != (utf8.ValidString(s) && !strings.ContainsFunc(s, bad)) {
			t.Fatalf("Valid(%q) = %v", s, keycodec.Valid(s))
		}
		if keycodec.Valid(s) {
			checkComponent(t, s)
		}
	})
}

func bad(r rune) bool { return r < 0x20 || r == 0x7f || r == 0xfffe || r == 0xffff }

func TestOrdinaryNamesCostNoAllocation(t *testing.T) {
	for _, name := range []string{"report.txt", "žluťoučký", "50% off", "a%20b"} {
		allowed := 0.0
		if strings.Contains(name, "%20") {
			allowed = 2 // has to be tried as an escape
		}
		n := testing.AllocsPerRun(100, func() {
			if keycodec.Decode(keycodec.Encode(name)) != name {
				t.Fatal("does not come back")
			}
		})
		if n > 2*allowed {
			t.Errorf("%q: %v allocations", name, n)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, bc := range []struct{ what, name string }{
		{"plain", "kwf5tlhjnoucdtqdxgcsgeqfnu"}, {"unicode", "žluťoučký kůň"}, {"percent", "50% off"}, {"bad", "a\x01b"},
		{"nested", "a%" + strings.Repeat("25", 100) + "01"},
	} {
		b.Run(bc.what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				keycodec.Encode(bc.name)
			}
		})
	}
}

// Package keycodec maps file names to components of object keys and back.
//
// A file name on Linux is any bytes without "/" and NUL; a key component has to be UTF-8 and, to pass unharmed
// through XML listings, HTTP headers and other people's tools, free of control characters. Nearly every name is a
// good component as it stands and is kept letter for letter, with "%" in it or not. A name that is not has its bad
// bytes, and every "%", written as "%XX" in upper case hexadecimal: "a\x01" becomes "a%01". A file that is really
// called "a%01" has to step aside: it becomes "a%2501", and one that is really called "a%2501" becomes "a%252501".
//
// Encode and Decode are inverse bijections between all file names and all valid components (Valid), so that no two
// files share a key, and every key that another program made shows under a name of its own and keeps its key.
//
// The construction is that of the theorem of Cantor, Schroeder and Bernstein. With N the names, K the components
// (a subset of N), and escape: N -> K one to one, let C be the names outside K together with their images under
// escape, once, twice and so on. Encode escapes the names in C and leaves all others; since escape maps C onto
// the part of C that lies in K, the result is one to one and reaches all of K.
//
// The codec knows nothing of lengths: an encoded name may be three times as long, and is then checked against the
// limits of the store with provider.CheckKey.
package keycodec

import (
	"strings"
	"unicode/utf8"
)

// Encode returns the key component for a file name, which is not empty, ".", ".." and has no "/" and no NUL.
func Encode(name string) string {
	if isPlain(name) || !mustEscape(name) {
		return name
	}
	return escape(name)
}

// Decode returns the file name for a key component. A component that is not Valid comes back unchanged: no file
// name encodes to it.
func Decode(component string) string {
	if isPlain(component) || !Valid(component) || !mustEscape(component) {
		return component
	}
	name, _ := unescape(component)
	return name
}

// Valid reports whether a key component is the encoding of some file name: not empty, ".", or "..", UTF-8, without
// "/", control characters (U+0000 to U+001F, U+007F), U+FFFE and U+FFFF.
func Valid(component string) bool {
	return isName(component) && isClean(component)
}

// EncodePath encodes every component of a path whose components are separated by "/". A slash at the end, as in
// the key of a directory marker, stays.
func EncodePath(path string) string { return eachComponent(path, Encode) }

// DecodePath decodes every component of a key.
func DecodePath(key string) string { return eachComponent(key, Decode) }

// ValidPath reports whether a key is EncodePath of some path of file names: every component, but for an empty one
// behind a slash at the end, is Valid.
func ValidPath(key string) bool {
	for c := range strings.SplitSeq(strings.TrimSuffix(key, "/"), "/") {
		if !Valid(c) {
			return false
		}
	}
	return true
}

func eachComponent(path string, f func(string) string) string {
	if isPlain(path) {
		return path
	}
	var b strings.Builder
	b.Grow(len(path))
	for {
		c, rest, more := strings.Cut(path, "/")
		b.WriteString(f(c))
		if !more {
			return b.String()
		}
		b.WriteByte('/')
		path = rest
	}
}

// isPlain reports whether s is printable ASCII without "%": the names that need no second look.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '%' {
			return false
		}
	}
	return true
}

// isName reports whether s may be a file name (the set N).
func isName(s string) bool {
	return s != "" && s != "." && s != ".." && strings.IndexByte(s, '/') < 0 && strings.IndexByte(s, 0) < 0
}

// isClean reports whether no byte of s is bad. A name that is clean is a component (the set K).
func isClean(s string) bool {
	for len(s) > 0 {
		n, good := next(s)
		if !good {
			return false
		}
		s = s[n:]
	}
	return true
}

// next returns the length of the first character of s, which is not empty, and whether a component may have it.
func next(s string) (n int, good bool) {
	if c := s[0]; c < utf8.RuneSelf {
		return 1, c >= 0x20 && c != 0x7f
	}
	r, n := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && n == 1 {
		return 1, false
	}
	return n, r != 0xfffe && r != 0xffff
}

// mustEscape reports whether the name is in C: it is no component, or is what some name in C is escaped to.
// Every step makes the name shorter, so it ends.
func mustEscape(name string) bool {
	for isClean(name) {
		inner, ok := unescape(name)
		if !ok {
			return false
		}
		name = inner
	}
	return true
}

const hexDigits = "0123456789ABCDEF"

// escape writes every bad byte and every "%" of a name as "%XX".
func escape(name string) string {
	var b strings.Builder
	b.Grow(len(name) + 16)
	for len(name) > 0 {
		n, good := next(name)
		if good && name[0] != '%' {
			b.WriteString(name[:n])
		} else {
			for i := range n {
				b.WriteByte('%')
				b.WriteByte(hexDigits[name[i]>>4])
				b.WriteByte(hexDigits[name[i]&0xf])
			}
		}
		name = name[n:]
	}
	return b.String()
}

// unescape returns the name other than s itself that escape turns into s, if there is one.
func unescape(s string) (name string, ok bool) {
	first := strings.IndexByte(s, '%')
	if first < 0 {
		return "", false
	}
	b := make([]byte, 0, len(s))
	b = append(b, s[:first]...)
	for i := first; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	name = string(b)
	return name, isName(name) && escape(name) == s
}

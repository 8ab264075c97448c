package provider

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Reserved is the prefix of the keys that sharefs keeps for itself below a store's root.
const Reserved = ".sharefs/"

// Checkpoints is the prefix of the keys of a mount's checkpoints: what it knew of the store. See fusefs/tree.
const Checkpoints = Reserved + "catalog-"

// CheckKey reports what is wrong with a key, or nil: it must be UTF-8 without NUL, not empty, without a leading slash,
// without an empty, "." or ".." component, within the store's limits. One trailing slash makes it a directory marker.
// The error is of KindInvalid.
func CheckKey(key string, caps Capabilities) error {
	bad := func(why string) error {
		return &Error{Op: "key", Key: key, Kind: KindInvalid, Err: fmt.Errorf("%s", why)}
	}
	if !utf8.ValidString(key) {
		return bad("the key is not UTF-8")
	}
	if strings.IndexByte(key, 0) >= 0 {
		return bad("the key has a NUL byte")
	}
	if caps.MaxKey > 0 && len(key) > caps.MaxKey {
		return bad(fmt.Sprintf("the key has %d bytes, the store takes %d", len(key), caps.MaxKey))
	}
	path := strings.TrimSuffix(key, "/")
	for c := range strings.SplitSeq(path, "/") {
		switch {
		case c == "":
			return bad("the key has an empty component")
		case c == "." || c == "..":
			return bad("the key has a component " + c)
		case caps.MaxComponent > 0 && len(c) > caps.MaxComponent:
			return bad(fmt.Sprintf("a component of the key has %d bytes, the store takes %d", len(c), caps.MaxComponent))
		}
	}
	return nil
}

package storage

import (
	"encoding/base32"
	"fmt"
	"strings"
)

// Index is a storage index: what a client finds the shares of a file by.
type Index [16]byte

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ParseIndex reads a storage index as String writes it: 26 letters and digits of RFC 3548's base 32, in lower case.
func ParseIndex(text string) (Index, error) {
	b, err := base32Lower.DecodeString(text)
	if err != nil || len(b) != len(Index{}) || base32Lower.EncodeToString(b) != text || strings.ContainsAny(text, "\r\n") {
		return Index{}, fmt.Errorf("%q is no storage index: they are 26 letters of a-z and 2-7, as directories below shares/ have", text)
	}
	return Index(b), nil
}

// String returns the index in base 32.
func (i Index) String() string { return base32Lower.EncodeToString(i[:]) }

// Prefix returns the name of the directory that the index's is in: the first two letters.
func (i Index) Prefix() string { return i.String()[:2] }

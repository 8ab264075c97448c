package provider

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Metadata is what a store keeps with an object beside its bytes. Names are those of HTTP headers (RFC 9110, token) without
// upper case letters; values are printable ASCII without space at either end, and not empty: some stores cannot keep an
// empty one. A store returns what Put was given (S3 and Swift carry it as headers); names that other tools wrote in other
// letters arrive in lower case, and what they wrote need not pass CheckMetadata.
type Metadata map[string]string

// The names that sharefs writes: those of s3fs (https://github.com/s3fs-fuse/s3fs-fuse), so that both read each other's
// files; rclone reads and writes the same mtime. Put is our own.
const (
	MetaMode  = "mode"  // st_mode with its type bits, decimal
	MetaUID   = "uid"   // decimal
	MetaGID   = "gid"   // decimal
	MetaMtime = "mtime" // seconds since 1970, decimal, with up to nine digits behind the point
	MetaCtime = "ctime" // likewise
	MetaAtime = "atime" // likewise
	MetaXattr = "xattr" // a JSON object of names and base64 values, percent-encoded
	MetaPut   = "sharefs-put"
)

// The type bits of MetaMode, as in stat(2).
const (
	ModeType    = 0o170000
	ModeDir     = 0o040000
	ModeFile    = 0o100000
	ModeSymlink = 0o120000
)

// CheckMetadata reports what is wrong with metadata, or nil. The error is of KindInvalid, or KindTooLarge beyond
// Capabilities.MaxMetadata.
func CheckMetadata(md Metadata, caps Capabilities) error {
	for name, value := range md {
		if !validMetaName(name) {
			return &Error{Op: "metadata", Key: name, Kind: KindInvalid, Err: fmt.Errorf("a metadata name has a-z, 0-9 and the punctuation of HTTP header names only")}
		}
		if !validMetaValue(value) {
			return &Error{Op: "metadata", Key: name, Kind: KindInvalid, Err: fmt.Errorf("a metadata value is printable ASCII, not empty, without space at the ends")}
		}
	}
	if n := md.Size(); caps.MaxMetadata > 0 && n > caps.MaxMetadata {
		return &Error{Op: "metadata", Kind: KindTooLarge, Err: fmt.Errorf("%d bytes of metadata, the store takes %d", n, caps.MaxMetadata)}
	}
	return nil
}

// Size returns the bytes of all names and values.
func (m Metadata) Size() int {
	n := 0
	for name, value := range m {
		n += len(name) + len(value)
	}
	return n
}

func validMetaName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

func validMetaValue(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return s != "" && strings.TrimSpace(s) == s
}

// Attrs are the file attributes that metadata carries. A field that Has does not name is not in the metadata.
type Attrs struct {
	Mode                uint32 // st_mode, type bits too
	UID, GID            uint32
	Mtime, Ctime, Atime time.Time
	Xattrs              map[string][]byte // full names, such as "user.comment"
	Has                 AttrSet
}

// AttrSet is a set of attributes.
type AttrSet uint8

// The attributes.
const (
	HasMode AttrSet = 1 << iota
	HasUID
	HasGID
	HasMtime
	HasCtime
	HasAtime
	HasXattrs
)

// ParseAttrs reads the attributes from metadata. A value that cannot be read counts as not there: other tools write
// these names too. A mode without type bits, or with none that this package names, has the type bits cleared.
func ParseAttrs(md Metadata) Attrs {
	var a Attrs
	if v, err := strconv.ParseUint(md[MetaMode], 10, 32); err == nil {
		a.Mode, a.Has = uint32(v), a.Has|HasMode
		switch a.Mode & ModeType {
		case ModeDir, ModeFile, ModeSymlink:
		default:
			a.Mode &= 0o7777
		}
	}
	number := func(name string, to *uint32, bit AttrSet) {
		if v, err := strconv.ParseUint(md[name], 10, 32); err == nil {
			*to, a.Has = uint32(v), a.Has|bit
		}
	}
	number(MetaUID, &a.UID, HasUID)
	number(MetaGID, &a.GID, HasGID)
	stamp := func(name string, to *time.Time, bit AttrSet) {
		if t, ok := parseTime(md[name]); ok {
			*to, a.Has = t, a.Has|bit
		}
	}
	stamp(MetaMtime, &a.Mtime, HasMtime)
	stamp(MetaCtime, &a.Ctime, HasCtime)
	stamp(MetaAtime, &a.Atime, HasAtime)
	if v := md[MetaXattr]; v != "" {
		if x, ok := parseXattrs(v); ok {
			a.Xattrs, a.Has = x, a.Has|HasXattrs
		}
	}
	return a
}

// Metadata writes the attributes that Has names. No xattrs write nothing.
func (a Attrs) Metadata() Metadata {
	md := Metadata{}
	if a.Has&HasMode != 0 {
		md[MetaMode] = strconv.FormatUint(uint64(a.Mode), 10)
	}
	if a.Has&HasUID != 0 {
		md[MetaUID] = strconv.FormatUint(uint64(a.UID), 10)
	}
	if a.Has&HasGID != 0 {
		md[MetaGID] = strconv.FormatUint(uint64(a.GID), 10)
	}
	for _, t := range []struct {
		name string
		time time.Time
		bit  AttrSet
	}{{MetaMtime, a.Mtime, HasMtime}, {MetaCtime, a.Ctime, HasCtime}, {MetaAtime, a.Atime, HasAtime}} {
		if a.Has&t.bit != 0 {
			md[t.name] = formatTime(t.time)
		}
	}
	if a.Has&HasXattrs != 0 && len(a.Xattrs) > 0 {
		md[MetaXattr] = formatXattrs(a.Xattrs)
	}
	return md
}

func formatTime(t time.Time) string {
	sec, nsec := t.Unix(), int64(t.Nanosecond())
	sign := ""
	if sec < 0 {
		sign = "-"
		sec = -sec
		if nsec > 0 {
			sec--
			nsec = 1e9 - nsec
		}
	}
	return fmt.Sprintf("%s%d.%09d", sign, sec, nsec)
}

func parseTime(s string) (time.Time, bool) {
	whole, frac, _ := strings.Cut(s, ".")
	neg := strings.HasPrefix(whole, "-")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || sec > 1<<40 || sec < -1<<40 {
		return time.Time{}, false
	}
	var nsec int64
	if frac != "" {
		if len(frac) > 9 {
			frac = frac[:9]
		}
		n, err := strconv.ParseUint(frac, 10, 32)
		if err != nil {
			return time.Time{}, false
		}
		nsec = int64(n)
		for i := len(frac); i < 9; i++ {
			nsec *= 10
		}
	}
	if neg {
		nsec = -nsec
	}
	return time.Unix(sec, nsec), true
}

func formatXattrs(x map[string][]byte) string {
	enc := make(map[string]string, len(x))
	for name, value := range x {
		enc[name] = base64.StdEncoding.EncodeToString(value)
	}
	b, err := json.Marshal(enc) // sorted by name
	if err != nil {
		panic(err) // strings only: cannot fail
	}
	return url.PathEscape(string(b))
}

func parseXattrs(s string) (map[string][]byte, bool) {
	plain, err := url.PathUnescape(s)
	if err != nil {
		return nil, false
	}
	var enc map[string]string
	if json.Unmarshal([]byte(plain), &enc) != nil {
		return nil, false
	}
	x := make(map[string][]byte, len(enc))
	for name, value := range enc {
		b, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return nil, false
		}
		x[name] = b
	}
	return x, true
}

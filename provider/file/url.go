package file

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// ParseURL returns the directory that a file URL names: file:///var/store, or file://localhost/var/store. It takes no
// parameters.
func ParseURL(u *url.URL) (root string, err error) {
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("the store URL %s: %s; write file:///directory", u.Redacted(), why)
	}
	switch {
	case u.Scheme != "file":
		return bad("its scheme is not file")
	case u.Opaque != "" || !strings.HasPrefix(u.Path, "/"):
		return bad("the directory is not absolute")
	case u.Host != "" && u.Host != "localhost":
		return bad(fmt.Sprintf("it names the host %q, and only directories of this machine can be used", u.Host))
	case u.User != nil:
		return bad("it names a user")
	case u.Fragment != "":
		return bad("it has a fragment (# in a name is written %23)")
	case strings.IndexByte(u.Path, 0) >= 0:
		return bad("the directory has a NUL byte")
	}
	params, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return bad("its parameters cannot be read (? in a name is written %3F)")
	}
	if len(params) > 0 {
		names := make([]string, 0, len(params))
		for name := range params {
			names = append(names, name)
		}
		slices.Sort(names)
		return bad(fmt.Sprintf("unknown parameter %s (a file store has none)", strings.Join(names, ", ")))
	}
	return filepath.Clean(u.Path), nil
}

package overhttp

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"sharefs/provider"
	"sharefs/provider/secret"
)

// Form is how the URLs of one kind of store look, SCHEME://NAME/PREFIX?PARAM=VALUE&…, and where what they say belongs in C, the
// configuration of its driver. Everything but the name may be missing.
type Form[C any] struct {
	Scheme  string
	Store   string // what NAME is the name of: "bucket"
	Server  string // how a server is named, not by a port behind NAME: "endpoint=http://host:PORT"
	Secrets string // what to do with credentials, which belong in no URL

	Name, Prefix func(*C) *string // the prefix is empty or ends in "/"
	Params       []Param[C]       // by name
}

// Param is one parameter of a URL.
type Param[C any] struct {
	name string
	set  func(c *C, value string) error
	get  func(c *C) string // empty: not given
}

// Text is a parameter that is kept as it is.
func Text[C any](name string, field func(*C) *string) Param[C] {
	return Param[C]{name,
		func(c *C, value string) error { *field(c) = value; return nil },
		func(c *C) string { return *field(c) },
	}
}

// Server is a parameter that is the URL of a server, which is kept without a slash at its end. CheckServer is the caller's to call.
func Server[C any](name string, field func(*C) *string) Param[C] {
	p := Text(name, field)
	p.set = func(c *C, value string) error { *field(c) = strings.TrimSuffix(value, "/"); return nil }
	return p
}

// Truth is a parameter that is true or false; false is the same as not given.
func Truth[C any](name string, field func(*C) *bool) Param[C] {
	set := func(c *C, value string) error {
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%s=%s: want true or false", name, value)
		}
		*field(c) = b
		return nil
	}
	return Param[C]{name, set, func(c *C) string {
		if *field(c) {
			return "true"
		}
		return ""
	}}
}

// Parse reads a URL. An unknown parameter is an error, and so is anything secret, of which no error shows any. All errors are
// KindInvalid.
func (f Form[C]) Parse(u *url.URL) (C, error) {
	c, err := f.parse(u)
	if err != nil {
		var none C
		return none, provider.Invalid("url", "", "%w", err)
	}
	return c, nil
}

func (f Form[C]) parse(u *url.URL) (c C, err error) {
	switch {
	case u.Scheme != f.Scheme:
		return c, fmt.Errorf("the scheme is %q, want %s://%s/prefix", u.Scheme, f.Scheme, f.Store)
	case u.User != nil:
		return c, errors.New("credentials do not belong in a URL: " + f.Secrets)
	case u.Opaque != "" || u.Host == "":
		return c, fmt.Errorf("no %s: want %s://%s/prefix", f.Store, f.Scheme, f.Store)
	case u.Port() != "":
		return c, fmt.Errorf("a port behind the %s: give the server as ?%s", f.Store, strings.Replace(f.Server, "PORT", u.Port(), 1))
	case u.Fragment != "":
		return c, errors.New("a # in a prefix must be written %23")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return c, fmt.Errorf("the parameters cannot be read: %w", err)
	}
	*f.Name(&c) = u.Host
	if prefix := strings.Trim(u.Path, "/"); prefix != "" {
		*f.Prefix(&c) = prefix + "/"
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if err := f.set(&c, name, query[name]); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (f Form[C]) set(c *C, name string, values []string) error {
	i := slices.IndexFunc(f.Params, func(p Param[C]) bool { return p.name == name })
	switch {
	case i < 0 && secret.Names(name):
		return fmt.Errorf("the parameter %q: credentials do not belong in a URL: %s", name, f.Secrets)
	case i < 0:
		var known []string
		for _, p := range f.Params {
			known = append(known, p.name)
		}
		return fmt.Errorf("unknown parameter %q: known are %s", name, strings.Join(known, ", "))
	case len(values) != 1 || values[0] == "":
		return fmt.Errorf("the parameter %q needs one value", name)
	}
	return f.Params[i].set(c, values[0])
}

// String returns the URL that Parse reads back.
func (f Form[C]) String(c C) string {
	query := url.Values{}
	for _, p := range f.Params {
		if value := p.get(&c); value != "" {
			query.Set(p.name, value)
		}
	}
	u := url.URL{Scheme: f.Scheme, Host: *f.Name(&c), RawQuery: query.Encode()}
	if prefix := strings.TrimSuffix(*f.Prefix(&c), "/"); prefix != "" {
		u.Path = "/" + prefix
	}
	return u.String()
}

// CheckPrefix reports what is wrong with a prefix of keys, which have at most so many bytes.
func CheckPrefix(prefix string, maxKey int) error {
	switch {
	case prefix == "":
		return nil
	case !strings.HasSuffix(prefix, "/"):
		return provider.Invalid("url", "", "the prefix %q does not end in a slash", prefix)
	}
	if err := provider.CheckKey(prefix, provider.Capabilities{MaxKey: maxKey}); err != nil {
		return fmt.Errorf("the prefix cannot be used: %w", err)
	}
	return nil
}

// ProxyAt returns the proxy of Options that a URL names; nil for none.
func ProxyAt(text string) (func(*http.Request) (*url.URL, error), error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, provider.Invalid("open", "", "the proxy cannot be read: want http://host:port") // it may hold a secret
	}
	return http.ProxyURL(u), nil
}

// CheckServer reports what is wrong with the URL of a server or a proxy, and shows nothing of it that may be secret. what
// names it; instead says where credentials belong. None, an empty text, is right.
func CheckServer(what, text, instead string) error {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return nil
	case err != nil:
		return provider.Invalid("url", "", "the %s cannot be read: want http://host:port or https://host:port", what)
	case u.User != nil:
		return provider.Invalid("url", "", "the %s has credentials, which do not belong in a URL: %s", what, instead)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return provider.Invalid("url", "", "the %s %q: want http://host:port or https://host:port", what, text)
	}
	return nil
}

// Package all knows every driver: it turns the URL of a store into a provider.
//
// The list of drivers stands here, in one place; drivers do not register themselves. A URL names a store and holds
// nothing secret: credentials come from where the ecosystem of the store keeps them. What comes back is the bare
// driver; provider/stack puts the decorators around it.
package all

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"

	"sharefs/provider"
)

// Options are the options of Open. The zero value is for reading and writing.
type Options struct {
	ReadOnly bool         // nothing is written to find out what the store can do
	Create   bool         // a directory that is not there is made; other stores are made by their Create
	Logger   *slog.Logger // nil means none

	// Secrets finds credentials by the names that the ecosystem of the store gives them in the environment, such as
	// AWS_SECRET_ACCESS_KEY or OS_PASSWORD, and stands for the environment then. It is asked whenever credentials are needed, so
	// that what has changed counts. nil: they come from where the ecosystem keeps them.
	Secrets func(name string) (value string, ok bool)
}

// Location is a store that a URL names. Make it with Parse.
type Location struct {
	scheme string
	text   string
	prefix string
	dir    string
	id     func(ctx context.Context, opts Options) (string, error)
	open   func(ctx context.Context, opts Options) (provider.Provider, error)
}

// Parse reads the URL of a store, or the path of a directory, which begins with "/", "./" or "../" and is short for
// the file URL. It asks nobody. An unknown scheme or parameter is KindInvalid; no error shows what may be secret.
func Parse(text string) (Location, error) {
	u, err := parse(text)
	if err != nil {
		return Location{}, invalid(err)
	}
	for _, d := range drivers {
		if d.Name == u.Scheme {
			if err := d.holdsSecret(u); err != nil {
				return Location{}, invalid(err)
			}
			l, err := d.parse(u)
			if err != nil {
				return Location{}, invalid(err)
			}
			l.scheme = d.Name
			return l, nil
		}
	}
	return Location{}, invalid(fmt.Errorf("the scheme %s: is not known; a store is one of %s", u.Scheme, forms()))
}

// Open parses the URL and opens the store. The prefix is what the URL says of keys, for stack.Options.
func Open(ctx context.Context, text string, opts Options) (driver provider.Provider, prefix string, err error) {
	l, err := Parse(text)
	if err != nil {
		return nil, "", err
	}
	driver, err = l.Open(ctx, opts)
	return driver, l.Prefix(), err
}

// Open opens the store. It may ask the store what it can do.
func (l Location) Open(ctx context.Context, opts Options) (provider.Provider, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	p, err := l.open(ctx, opts)
	if err != nil {
		return nil, err // and no driver's own nil
	}
	return p, nil
}

// ID returns what identifies the store, for naming what belongs to it: a URL of the scheme, the server, the bucket and the
// prefix, or the path, without what says only how to get there (region, profile, style of requests). Equal IDs are the
// same store. It may read configuration files, and asks no server. It holds nothing secret. Of the options only
// Secrets counts, which may tell where the store is.
func (l Location) ID(ctx context.Context, opts Options) (string, error) { return l.id(ctx, opts) }

// String returns the URL in its plain form, with all parameters that were given, and without anything secret.
func (l Location) String() string { return l.text }

// Scheme returns the scheme, such as "s3".
func (l Location) Scheme() string { return l.scheme }

// Prefix returns the prefix of keys that the URL names; empty for the whole store.
func (l Location) Prefix() string { return l.prefix }

// Dir returns the directory of this machine that holds the store; empty when none does.
func (l Location) Dir() string { return l.dir }

func parse(text string) (*url.URL, error) {
	if isPath(text) {
		path, err := filepath.Abs(text)
		return &url.URL{Scheme: "file", Path: path}, err
	}
	u, err := url.Parse(text)
	if err != nil {
		// What url.Parse says shows parts of the text, which may be a password.
		return nil, errors.New("the store cannot be read as a URL; a character that means something in URLs is written %XX")
	}
	if u.Scheme == "" {
		return nil, fmt.Errorf("the store has no scheme: it is one of %s, or a directory as /PATH or ./PATH", forms())
	}
	return u, nil
}

func isPath(text string) bool {
	first, _, _ := strings.Cut(text, "/")
	return first == "." || first == ".." || strings.HasPrefix(text, "/")
}

// forms returns what a URL may look like, in one line.
func forms() string {
	var all []string
	for _, d := range drivers {
		all = append(all, d.Form)
	}
	return strings.Join(all, ", ")
}

func invalid(err error) error {
	if provider.Is(err, provider.KindInvalid) {
		return err
	}
	return &provider.Error{Op: "url", Kind: provider.KindInvalid, Err: err}
}

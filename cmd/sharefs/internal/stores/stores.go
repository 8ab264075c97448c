// Package stores finds the store that a user means, by its URL, by the path of a directory, or by the name that the config
// file gives it, and opens it with its credentials and all decorators. Every command that takes a STORE takes it from here.
//
// A name may be followed by parameters, as in shares?region=eu-west-1. Of the places that name a parameter of the URL
// this comes first, then the url of the named store, then its parameters.
package stores

import (
	"fmt"
	"net/url"
	"strings"

	"sharefs/cmd/sharefs/internal/config"
	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/cmd/sharefs/internal/near"
	"sharefs/provider/all"
)

// Store is a store that can be opened.
type Store struct {
	Name     string // in the config file; empty for one that has none there
	Location all.Location
	Secrets  string // name of the file with its credentials; empty: they come from where the store's own tools keep them
}

// String returns the URL, without anything secret.
func (s Store) String() string { return s.Location.String() }

// Find returns the store that a text means, and asks nobody. What is wrong with the text is an error of exit.Store.
func Find(file *config.File, text string) (Store, error) {
	name, query, _ := strings.Cut(text, "?")
	named, ok := file.Store(name)
	switch {
	case ok:
		return find(file, named, query)
	case config.IsStoreName(name):
		return Store{}, exit.Errorf(exit.Store, "there is no store %q: %s; or give a URL, or a directory as ./%s", name, knownNames(file, name), name)
	}
	location, err := all.Parse(text)
	return Store{Location: location}, exit.With(exit.Store, err)
}

func find(file *config.File, named *config.Store, query string) (Store, error) {
	bad := func(err error) (Store, error) {
		return Store{}, exit.Errorf(exit.Store, "the store %s of %s: %w", named.Name, file.Name, err)
	}
	given, err := url.ParseQuery(query)
	if err != nil {
		return bad(fmt.Errorf("the parameters cannot be read: write NAME=VALUE, with & between them"))
	}
	text, err := withParameters(named, given)
	if err != nil {
		return bad(err)
	}
	location, err := all.Parse(text)
	if err != nil {
		return bad(err)
	}
	return Store{Name: named.Name, Location: location, Secrets: named.Secrets}, nil
}

// withParameters returns the URL of a named store with all its parameters, over which those count that are given.
func withParameters(named *config.Store, given url.Values) (string, error) {
	if len(named.Parameters) == 0 && len(given) == 0 {
		return named.URL, nil
	}
	u, err := url.Parse(named.URL)
	if err != nil || u.Scheme == "" {
		return "", fmt.Errorf("parameters need a url with a scheme, such as file:///DIRECTORY, not a path")
	}
	query := url.Values{}
	for name, value := range named.Parameters {
		query.Set(name, value)
	}
	own, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", fmt.Errorf("the parameters of its url cannot be read")
	}
	for _, stronger := range []url.Values{own, given} {
		for name, values := range stronger {
			query[name] = values
		}
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

func knownNames(file *config.File, name string) string {
	switch names := file.Stores(); {
	case file.Name == "":
		return "there is no config file that names stores"
	case len(names) == 0:
		return "the config file " + file.Name + " names none"
	default:
		return "in " + file.Name + " " + near.Hint(name, names)
	}
}

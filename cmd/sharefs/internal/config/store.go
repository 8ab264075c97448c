package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sharefs/cmd/sharefs/internal/near"
	"sharefs/provider/secret"
)

// Store is a named store of a config file.
type Store struct {
	Name       string
	URL        string
	Parameters map[string]string // of the URL, where that does not name them itself
	Secrets    string            // name of the file with the credentials, absolute; empty: none is named

	settings map[string]any // of mounts of it
}

// The keys of a store beside the settings.
const (
	storesTable   = "stores"
	keyURL        = "url"
	keyParameters = "parameters"
	keySecrets    = "secrets"
)

func (s *Store) table() string { return storesTable + "." + s.Name }

var storeName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*$`)

// IsStoreName reports whether a text can be the name of a store: letters, digits, - and _, so that it is neither a URL
// nor a path.
func IsStoreName(text string) bool { return storeName.MatchString(text) }

// takeStores moves the tables of stores out of the settings.
func (f *File) takeStores(doc []byte, wrong *mistakes) {
	value, ok := f.global[storesTable]
	delete(f.global, storesTable)
	if !ok {
		return
	}
	tables, ok := value.(map[string]any)
	if !ok {
		wrong.add(doc, "", storesTable, errors.New("it is a table for each store: [stores.NAME]"))
		return
	}
	for name, value := range tables {
		table, ok := value.(map[string]any)
		switch {
		case !ok:
			wrong.add(doc, storesTable, name, fmt.Errorf("a store is a table: [stores.%s], with url = \"...\" in it", name))
		case !IsStoreName(name):
			wrong.add(doc, storesTable, name, errors.New("not a name of a store: it has letters, digits, - and _"))
		default:
			f.takeStore(doc, wrong, name, table)
		}
	}
}

func (f *File) takeStore(doc []byte, wrong *mistakes, name string, table map[string]any) {
	s := &Store{Name: name, settings: table, Parameters: map[string]string{}}
	f.stores[name] = s
	take := func(key string, set func(value any) error) {
		value, ok := table[key]
		delete(table, key)
		if !ok {
			return
		}
		if err := set(value); err != nil {
			wrong.add(doc, s.table(), key, err)
		}
	}
	take(keyURL, func(value any) (err error) {
		s.URL, err = text(value)
		return err
	})
	take(keySecrets, func(value any) (err error) {
		if s.Secrets, err = text(value); err != nil {
			return err
		}
		return errors.Join(absolute(s.Secrets), path{&s.Secrets, "file"}.Set(s.Secrets))
	})
	take(keyParameters, func(value any) error {
		parameters, ok := value.(map[string]any)
		if !ok {
			return errors.New(`they are a table: parameters = { region = "..." }`)
		}
		return s.takeParameters(doc, wrong, parameters)
	})
	if s.URL == "" {
		wrong.add(doc, storesTable, name, errors.New(`the store has no url: url = "s3://BUCKET" or the like`))
	}
	s.checkKeys(doc, wrong)
}

func (s *Store) takeParameters(doc []byte, wrong *mistakes, parameters map[string]any) error {
	for name, value := range parameters {
		switch value := value.(type) {
		case string:
			s.Parameters[name] = value
		case bool, int64:
			s.Parameters[name] = fmt.Sprint(value)
		default:
			wrong.add(doc, s.table()+"."+keyParameters, name, errors.New("a parameter is a string, a number, true or false"))
		}
	}
	return nil
}

// checkKeys says of keys that are no settings what a store may have, which is more.
func (s *Store) checkKeys(doc []byte, wrong *mistakes) {
	scratch := Defaults()
	known := append([]string{keyURL, keyParameters, keySecrets}, slices.DeleteFunc(keys(scratch.Options()), func(k string) bool {
		return strings.HasPrefix(k, storesTable)
	})...)
	for key := range s.settings {
		if slices.Contains(known, key) {
			continue
		}
		wrong.add(doc, s.table(), key, s.unknown(key, known))
		delete(s.settings, key)
	}
}

func (s *Store) unknown(key string, known []string) error {
	if secret.Names(key) {
		return fmt.Errorf("credentials do not belong in this file, which others may read: write them into one of their own, and name it here: %s = \"/etc/sharefs/%s.env\"", keySecrets, s.Name)
	}
	return fmt.Errorf("unknown key of a store (parameters of its URL stand in parameters = {...}): %s", near.Hint(key, known))
}

// text returns a value that is a string, and not empty.
func text(value any) (string, error) {
	s, ok := value.(string)
	if !ok || s == "" {
		return "", errors.New("it must be a string, and not empty")
	}
	return s, nil
}

package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/cmd/sharefs/internal/near"
)

// File is a config file, TOML: a key for each setting of all mounts, and a table [stores.NAME] for each named store. The
// zero value is that of a machine without one.
type File struct {
	Name   string         // empty: there is none
	global map[string]any // values of settings
	stores map[string]*Store
}

// ReadFile reads and checks a config file. An unknown key or a wrong value, also of a store that nobody asks for, is an
// error of exit.Usage with the file's name and the line.
func ReadFile(name string) (*File, error) {
	doc, err := os.ReadFile(name)
	if err != nil {
		return nil, exit.Errorf(exit.Usage, "config file: %w", err)
	}
	var values map[string]any
	if err := toml.Unmarshal(doc, &values); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, _ := at.Position()
			return nil, exit.Errorf(exit.Usage, "%s:%d: %s", name, line, strings.TrimPrefix(at.Error(), "toml: "))
		}
		return nil, exit.Errorf(exit.Usage, "%s: %w", name, err)
	}
	f := &File{Name: name, global: values, stores: map[string]*Store{}}
	var wrong mistakes
	f.takeStores(doc, &wrong)
	scratch := Defaults()
	options := scratch.Options()
	wrong.ofSettings(doc, "", options, values)
	for _, s := range f.stores {
		wrong.ofSettings(doc, s.table(), options, s.settings)
	}
	if first, ok := wrong.first(); ok {
		return nil, exit.Errorf(exit.Usage, "%s:%d: %w", name, first.line, first.err)
	}
	return f, nil
}

// Store returns the store of a name.
func (f *File) Store(name string) (*Store, bool) {
	s, ok := f.stores[name]
	return s, ok
}

// Stores returns the names of all stores, sorted.
func (f *File) Stores() []string { return slices.Sorted(maps.Keys(f.stores)) }

// set sets what the file says for all mounts, and over it what it says for the store of a name, which may be empty.
func (f *File) set(options []Option, store string) error {
	sources := []map[string]any{f.global}
	if s, ok := f.stores[store]; ok {
		sources = append(sources, s.settings)
	}
	for _, values := range sources {
		for _, key := range slices.Sorted(maps.Keys(values)) {
			if err := setFromFile(options, key, values[key]); err != nil {
				return exit.Errorf(exit.Usage, "%s: %s: %w", f.Name, key, err)
			}
		}
	}
	return nil
}

// mistakes are those of a file.
type mistakes []mistake

type mistake struct {
	line int
	err  error
}

func (m *mistakes) add(doc []byte, table, key string, err error) {
	*m = append(*m, mistake{lineOf(doc, table, key), fmt.Errorf("%s: %w", key, err)})
}

// ofSettings checks the settings of a table.
func (m *mistakes) ofSettings(doc []byte, table string, options []Option, values map[string]any) {
	for key, value := range values {
		if err := setFromFile(options, key, value); err != nil {
			m.add(doc, table, key, err)
		}
	}
}

// first returns the one that stands first in the file.
func (m mistakes) first() (mistake, bool) {
	if len(m) == 0 {
		return mistake{}, false
	}
	return slices.MinFunc(m, func(a, b mistake) int {
		if a.line != b.line {
			return a.line - b.line
		}
		return strings.Compare(a.err.Error(), b.err.Error())
	}), true
}

func setFromFile(options []Option, key string, value any) error {
	i := slices.IndexFunc(options, func(o Option) bool { return o.Name == key })
	if i < 0 {
		return fmt.Errorf("unknown key: %s", near.Hint(key, keys(options)))
	}
	switch value := value.(type) {
	case string:
		if _, ok := options[i].Value.(path); ok {
			if err := absolute(value); err != nil {
				return err
			}
		}
		return options[i].Value.Set(value)
	case []any:
		if _, ok := options[i].Value.(patterns); ok {
			return setList(options[i].Value, value)
		}
	case int64, bool, float64:
		return options[i].Value.Set(fmt.Sprint(value))
	}
	return fmt.Errorf("it must be one value: a string, a number, true or false")
}

// keys returns the names of the settings, as keys of a file, and beside them that of the stores.
func keys(options []Option) []string {
	all := make([]string, 0, len(options)+1)
	for _, o := range options {
		all = append(all, o.Name)
	}
	return append(all, storesTable+".NAME")
}

// absolute refuses a name of a file that is relative.
func absolute(name string) error {
	if !strings.HasPrefix(name, "/") && !strings.HasPrefix(name, "~/") {
		return fmt.Errorf("%q is relative, to nobody knows what: begin it with / or ~/", name)
	}
	return nil
}

// setList sets patterns from an array of strings.
func setList(v Value, list []any) error {
	texts := make([]string, len(list))
	for i, one := range list {
		text, ok := one.(string)
		if !ok || text == "" {
			return fmt.Errorf("an array of patterns holds strings that are not empty")
		}
		texts[i] = text
	}
	return v.Set(strings.Join(texts, ":"))
}

// lineOf returns the line on which a key of a table begins, or where that hides too well, its table; 1 in the worst case.
// The table of a key at the top is "".
func lineOf(doc []byte, table, key string) int {
	from := 0
	if table != "" {
		header := regexp.MustCompile(`(?m)^[ \t]*\[[ \t]*` + quotable(table) + `[ \t]*\]`).FindIndex(doc)
		if header == nil {
			head, last, _ := cutLast(table)
			return lineOf(doc, head, last)
		}
		from = header[0]
	}
	at := regexp.MustCompile(`(?m)^[ \t]*(\[+[ \t]*)?` + quotable(key) + `[ \t]*[=.\]]`).FindIndex(doc[from:])
	if at != nil {
		from += at[0]
	}
	return 1 + strings.Count(string(doc[:from]), "\n")
}

// quotable returns a pattern of a dotted key, the parts of which may be quoted.
func quotable(key string) string {
	parts := strings.Split(key, ".")
	for i, p := range parts {
		parts[i] = `["']?` + regexp.QuoteMeta(p) + `["']?`
	}
	return strings.Join(parts, `[ \t]*\.[ \t]*`)
}

func cutLast(table string) (head, last string, found bool) {
	i := strings.LastIndexByte(table, '.')
	if i < 0 {
		return "", table, false
	}
	return table[:i], table[i+1:], true
}

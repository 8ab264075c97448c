package config

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"sharefs/cmd/sharefs/internal/exit"
)

// readFile sets what a config file says. The file is TOML: one key for each setting, no tables. An unknown key or a
// wrong value is an error with the file's name and the line.
func readFile(name string, options []Option) error {
	doc, err := os.ReadFile(name)
	if err != nil {
		return exit.Errorf(exit.Usage, "config file: %w", err)
	}
	var values map[string]any
	if err := toml.Unmarshal(doc, &values); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, _ := at.Position()
			return exit.Errorf(exit.Usage, "%s:%d: %s", name, line, strings.TrimPrefix(at.Error(), "toml: "))
		}
		return exit.Errorf(exit.Usage, "%s: %w", name, err)
	}
	var wrong []mistake
	for key, value := range values {
		if err := setFromFile(options, key, value); err != nil {
			wrong = append(wrong, mistake{lineOf(doc, key), key, err})
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	first := slices.MinFunc(wrong, func(a, b mistake) int { return a.line - b.line })
	return exit.Errorf(exit.Usage, "%s:%d: %s: %w", name, first.line, first.key, first.err)
}

type mistake struct {
	line int
	key  string
	err  error
}

func setFromFile(options []Option, key string, value any) error {
	i := slices.IndexFunc(options, func(o Option) bool { return o.Name == key })
	if i < 0 {
		return fmt.Errorf("unknown key: the keys are the long names of the flags, see sharefs mount --help")
	}
	switch value := value.(type) {
	case string:
		if _, ok := options[i].Value.(path); ok && !strings.HasPrefix(value, "/") && !strings.HasPrefix(value, "~/") {
			return fmt.Errorf("%q is relative, to nobody knows what: begin it with / or ~/", value)
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

// lineOf returns the line on which a key of a flat file, or its table, begins; 1 when it hides too well.
func lineOf(doc []byte, key string) int {
	k := regexp.QuoteMeta(key)
	at := regexp.MustCompile(`(?m)^[ \t]*(\[+[ \t]*)?["']?` + k + `["']?[ \t]*[=.\]]`).FindIndex(doc)
	if at == nil {
		return 1
	}
	return 1 + strings.Count(string(doc[:at[0]]), "\n")
}

package stack

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"sharefs/provider"
)

// first returns the first error as that of the operation; nil when there is none. What is wrong with an argument is
// KindInvalid, unless the check said otherwise.
func first(op, key string, errs ...error) error {
	for _, err := range errs {
		if err == nil {
			continue
		}
		up := provider.Error{Op: op, Key: key, Kind: provider.KindInvalid, Err: err}
		var e *provider.Error
		if errors.As(err, &e) {
			up.Kind, up.Err = e.Kind, e.Err
			if e.Key != "" && e.Key != key {
				up.Err = fmt.Errorf("%q: %w", e.Key, e.Err)
			}
		}
		return &up
	}
	return nil
}

// check checks the key of a request, and then whatever else was found.
func (s *Stack) check(op, key string, errs ...error) error {
	if err := first(op, key, s.key(key)); err != nil {
		return err
	}
	return first(op, key, errs...)
}

// checkChange checks a request that changes the store.
func (s *Stack) checkChange(op, key string, errs ...error) error {
	if err := first(op, key, s.writable()); err != nil {
		return err
	}
	return s.check(op, key, errs...)
}

func (s *Stack) writable() error {
	if s.readOnly {
		return &provider.Error{Kind: provider.KindReadOnly, Err: errors.New("the store was opened for reading only")}
	}
	return nil
}

func (s *Stack) key(key string) error { return provider.CheckKey(key, s.caps) }

func (s *Stack) metadata(md provider.Metadata) error { return provider.CheckMetadata(md, s.caps) }

func (s *Stack) partNumber(n int) error {
	if n < 1 || s.caps.MaxParts > 0 && n > s.caps.MaxParts {
		return fmt.Errorf("part number %d, the store takes 1 to %d", n, s.caps.MaxParts)
	}
	return nil
}

func (s *Stack) limit(n int) error {
	if n < 0 || s.caps.MaxListPage > 0 && n > s.caps.MaxListPage {
		return fmt.Errorf("limit %d, the store takes 1 to %d", n, s.caps.MaxListPage)
	}
	return nil
}

// dirPrefix checks the prefix of a listing of one level: empty, or the key of a directory.
func (s *Stack) dirPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	if !strings.HasSuffix(prefix, "/") {
		return errors.New(`the prefix of a listing of one level ends in "/"`)
	}
	return s.key(prefix)
}

// flatPrefix checks the prefix of a flat listing, which may end anywhere in a key.
func flatPrefix(prefix string) error {
	if !utf8.ValidString(prefix) || strings.IndexByte(prefix, 0) >= 0 {
		return errors.New("no key begins with this prefix: it is not UTF-8, or has a NUL byte")
	}
	return nil
}

func notNegative(what string, n int64) error {
	if n < 0 {
		return fmt.Errorf("the %s is %d", what, n)
	}
	return nil
}

func oneCondition(c provider.Condition) error {
	if c.Absent && c.Version != "" {
		return errors.New("two conditions contradict each other: absent, and a version")
	}
	return nil
}

func oneKey(opts provider.DeleteOptions, keys int) error {
	if opts.IfVersion != "" && keys != 1 {
		return fmt.Errorf("a version is given for %d keys", keys)
	}
	return nil
}

func copyChanges(src, dst string, opts provider.CopyOptions) error {
	if src == dst && opts.Metadata == nil {
		return errors.New("a copy onto itself changes metadata, and none is given")
	}
	return nil
}

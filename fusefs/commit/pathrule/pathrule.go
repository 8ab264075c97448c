// Package pathrule says which files are kept from the store for a while, by their paths.
//
// A scratch path is stored only once it has been renamed to a path that is not scratch; a lazy path is stored a stated time
// after its first change, however often it changes until then.
//
// A pattern is a glob: "*" and "?" and "[...]" match within a name, "**" matches any number of directories, "{a,b}" either.
// It is matched against the path below the mountpoint; a pattern without a slash against the name alone, in whatever
// directory.
package pathrule

import (
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

// MaxDelay bounds the delay of a lazy path.
const MaxDelay = 24 * time.Hour

// Rules are the rules of a mount. The zero value has none.
type Rules struct {
	scratch []string
	lazy    []lazy
}

type lazy struct {
	pattern string
	delay   time.Duration
}

// Parse reads patterns of scratch paths ("**/incoming/**"), and of lazy ones with their delays ("*.state=10m").
func Parse(scratchPatterns, lazyPatterns []string) (Rules, error) {
	var r Rules
	for _, text := range scratchPatterns {
		pattern, err := check(text)
		if err != nil {
			return Rules{}, fmt.Errorf("scratch path %q: %w", text, err)
		}
		r.scratch = append(r.scratch, pattern)
	}
	for _, text := range lazyPatterns {
		rule, err := parseLazy(text)
		if err != nil {
			return Rules{}, fmt.Errorf("lazy path %q: %w", text, err)
		}
		r.lazy = append(r.lazy, rule)
	}
	return r, nil
}

func parseLazy(text string) (lazy, error) {
	i := strings.LastIndexByte(text, '=')
	if i < 0 {
		return lazy{}, fmt.Errorf("no delay: write it as PATTERN=DURATION, such as *.state=10m")
	}
	pattern, err := check(text[:i])
	if err != nil {
		return lazy{}, err
	}
	delay, err := time.ParseDuration(text[i+1:])
	if err != nil {
		return lazy{}, fmt.Errorf("%q is no duration: write it as 30s or 10m", text[i+1:])
	}
	if delay <= 0 || delay > MaxDelay {
		return lazy{}, fmt.Errorf("the delay must be more than nothing and at most %v", MaxDelay)
	}
	return lazy{pattern, delay}, nil
}

func check(text string) (string, error) {
	pattern := strings.TrimPrefix(text, "/")
	switch {
	case pattern == "":
		return "", fmt.Errorf("the pattern is empty")
	case !doublestar.ValidatePattern(pattern):
		return "", fmt.Errorf("not a pattern: a bracket or brace is not closed, or a backslash stands at the end")
	case strings.HasSuffix(pattern, "/"):
		return "", fmt.Errorf("it ends in a slash and would match nothing: for what is below a directory write %s**", pattern)
	}
	return pattern, nil
}

// Scratch reports whether a path, as seen from the mountpoint, is scratch.
func (r Rules) Scratch(name string) bool {
	for _, pattern := range r.scratch {
		if match(pattern, name) {
			return true
		}
	}
	return false
}

// HasScratch reports whether any path is scratch.
func (r Rules) HasScratch() bool { return len(r.scratch) > 0 }

// Delay returns how long after its first change a lazy path is stored; 0 for others. The first rule that matches counts.
func (r Rules) Delay(name string) time.Duration {
	for _, rule := range r.lazy {
		if match(rule.pattern, name) {
			return rule.delay
		}
	}
	return 0
}

// HasLazy reports whether any path is lazy.
func (r Rules) HasLazy() bool { return len(r.lazy) > 0 }

func match(pattern, name string) bool {
	name = strings.TrimPrefix(name, "/")
	if !strings.Contains(pattern, "/") {
		name = path.Base(name)
	}
	return doublestar.MatchUnvalidated(pattern, name)
}

package config

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// Value is one setting as text: Set parses and checks, String shows the present value, Type names the kind of text
// in help. It is pflag.Value too.
type Value interface {
	Set(text string) error
	String() string
	Type() string
}

// Size is a number of bytes, at least min, for a flag that is no setting.
func Size(at *int64, min int64) Value { return size{at, min} }

// Duration is a time span from min to max, for a flag that is no setting.
func Duration(at *time.Duration, min, max time.Duration) Value { return duration{at, min, max} }

// size is a number of bytes; it reads "10G", "512MiB", "1048576". At least min.
type size struct {
	at  *int64
	min int64
}

func (v size) Set(text string) error {
	n, err := humanize.ParseBytes(text)
	if err != nil || n > 1<<62 {
		return fmt.Errorf("not a size: write it as 10G (1000³ bytes), 10GiB (1024³ bytes) or in bytes")
	}
	if int64(n) < v.min {
		hint := ""
		if !strings.ContainsAny(text, "kKmMgGtT") {
			hint = fmt.Sprintf(" (a number alone is bytes: did you mean %sG?)", text)
		}
		return fmt.Errorf("%s is too small, it must be at least %s%s", humanize.IBytes(n), humanize.IBytes(uint64(v.min)), hint)
	}
	*v.at = int64(n)
	return nil
}

// String is exact: in the largest unit that divides the size.
func (v size) String() string {
	n, unit := *v.at, 0
	units := []string{"", "KiB", "MiB", "GiB", "TiB"}
	for n > 0 && n%1024 == 0 && unit < len(units)-1 {
		n, unit = n/1024, unit+1
	}
	return strconv.FormatInt(n, 10) + units[unit]
}
func (v size) Type() string { return "size" }

// sizeOrAuto is a size from 0, or "auto".
type sizeOrAuto struct {
	at  *int64
	min int64
}

func (v sizeOrAuto) Set(text string) error {
	if text == "auto" {
		*v.at = Auto
		return nil
	}
	if err := size(v).Set(text); err != nil {
		return fmt.Errorf("%w, or auto", err)
	}
	return nil
}

func (v sizeOrAuto) String() string {
	if *v.at == Auto {
		return "auto"
	}
	return size(v).String()
}
func (v sizeOrAuto) Type() string { return "size" }

// duration is a time span; it reads "500ms", "1m30s". From min to max.
type duration struct {
	at       *time.Duration
	min, max time.Duration
}

func (v duration) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("not a duration: write it as 500ms, 10s or 1m30s")
	}
	if d < v.min || d > v.max {
		return fmt.Errorf("it must be from %v to %v", v.min, v.max)
	}
	*v.at = d
	return nil
}
func (v duration) String() string { return v.at.String() }
func (v duration) Type() string   { return "duration" }

// mode is permission bits in octal. At most 0777; zero is refused unless it may be (a umask).
type mode struct {
	at     *uint32
	mayBe0 bool
}

func (v mode) Set(text string) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("not permission bits: write them in octal, such as 0644")
	}
	if n == 0 && !v.mayBe0 {
		return fmt.Errorf("nobody could use such a file: write the bits in octal, such as 0644")
	}
	*v.at = uint32(n)
	return nil
}

func (v mode) String() string {
	if *v.at == 0 && !v.mayBe0 {
		return "" // not set: it follows from the umask
	}
	return fmt.Sprintf("%04o", *v.at)
}
func (v mode) Type() string { return "octal" }

// id is a user's or a group's number; it reads names too.
type id struct {
	at     *uint32
	lookup func(name string) (string, error)
	kind   string // "user" or "group"
}

func userID(at *uint32) id {
	return id{at, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	}, "user"}
}

func groupID(at *uint32) id {
	return id{at, func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	}, "group"}
}

func (v id) Set(text string) error {
	number := text
	if _, err := strconv.ParseInt(text, 10, 64); err != nil {
		if number, err = v.lookup(text); err != nil {
			return fmt.Errorf("no such %s: give its number, or a name that this machine knows", v.kind)
		}
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n == 1<<32-1 {
		return fmt.Errorf("not a %s id: it is a number from 0 to 4294967294", v.kind)
	}
	*v.at = uint32(n)
	return nil
}
func (v id) String() string { return strconv.FormatUint(uint64(*v.at), 10) }
func (v id) Type() string   { return v.kind }

// toggle is on or off.
type toggle struct{ at *bool }

func (v toggle) Set(text string) error {
	b, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("it must be true or false")
	}
	*v.at = b
	return nil
}
func (v toggle) String() string   { return strconv.FormatBool(*v.at) }
func (v toggle) Type() string     { return "bool" }
func (v toggle) IsBoolFlag() bool { return true }

// choice is one word of several.
type choice struct {
	at    *string
	words []string
}

func (v choice) Set(text string) error {
	if !slices.Contains(v.words, text) {
		return fmt.Errorf("it must be one of %s", strings.Join(v.words, ", "))
	}
	*v.at = text
	return nil
}
func (v choice) String() string { return *v.at }
func (v choice) Type() string   { return strings.Join(v.words, "|") }

// count is a number from min to max.
type count struct {
	at       *int
	min, max int
}

func (v count) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < v.min || n > v.max {
		return fmt.Errorf("it must be a number from %d to %d", v.min, v.max)
	}
	*v.at = n
	return nil
}
func (v count) String() string { return strconv.Itoa(*v.at) }
func (v count) Type() string   { return "number" }

// path is the name of a file or directory, made absolute; "~/" at its beginning is the home directory.
type path struct {
	at   *string
	kind string
}

func (v path) Set(text string) error {
	if text == "" {
		return fmt.Errorf("the name is empty")
	}
	if rest, ok := strings.CutPrefix(text, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return fmt.Errorf("~ is not known here: HOME is not set")
		}
		text = filepath.Join(home, rest)
	}
	abs, err := filepath.Abs(text)
	if err != nil {
		return err
	}
	*v.at = abs
	return nil
}
func (v path) String() string { return *v.at }
func (v path) Type() string   { return v.kind }

// patterns are globs with colons between them; a colon in one has a backslash before it. As a flag each adds to those before.
type patterns struct {
	at    *[]string
	check func([]string) error
}

func (v patterns) Set(text string) error {
	list := splitPatterns(text)
	if err := v.check(list); err != nil {
		return err
	}
	*v.at = list
	return nil
}
func (v patterns) String() string { return strings.Join(*v.at, ":") }
func (v patterns) Type() string   { return "patterns" }

// splitPatterns splits at colons without a backslash. An empty text has no patterns.
func splitPatterns(text string) []string {
	var list []string
	from := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case ':':
			list = append(list, text[from:i])
			from = i + 1
		}
	}
	if from == 0 && text == "" {
		return nil
	}
	return append(list, text[from:])
}

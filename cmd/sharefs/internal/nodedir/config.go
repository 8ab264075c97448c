package nodedir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gopkg.in/ini.v1"

	"sharefs/cmd/sharefs/internal/exit"
)

// config is a tahoe.cfg. The first setting that cannot be understood is err.
type config struct {
	name string
	file *ini.File
	err  error
}

// readConfig reads the file as Python's ConfigParser does, without interpolation: names of settings in any case, = or :, comments on
// lines of their own, values that go on in indented lines.
func readConfig(name string) (*config, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	file, err := ini.LoadSources(ini.LoadOptions{
		InsensitiveKeys:            true,
		IgnoreInlineComment:        true,
		AllowPythonMultilineValues: true,
		PreserveSurroundedQuote:    true,
		KeyValueDelimiters:         "=:",
	}, text)
	if err != nil {
		return nil, exit.Errorf(exit.Usage, "%s: %w", name, err)
	}
	return &config{name: name, file: file}, nil
}

// text returns a setting, or what it is when it is not there.
func (c *config) text(section, key, otherwise string) string {
	s, err := c.file.GetSection(section)
	if err != nil || !s.HasKey(key) {
		return otherwise
	}
	return strings.TrimSpace(s.Key(key).Value())
}

// fail notes that a setting cannot be understood.
func (c *config) fail(section, key string, err error) {
	if c.err == nil {
		c.err = exit.Errorf(exit.Usage, "%s: [%s] %s: %w", c.name, section, key, err)
	}
}

func (c *config) bool(section, key string, otherwise bool) bool {
	switch text := strings.ToLower(c.text(section, key, "")); text {
	case "":
		return otherwise
	case "1", "yes", "true", "on":
		return true
	case "0", "no", "false", "off":
		return false
	default:
		c.fail(section, key, fmt.Errorf("%q is neither true nor false", text))
		return false
	}
}

// readStorage reads the section [storage].
func readStorage(c *config, dir string) (Storage, error) {
	const section = "storage"
	s := Storage{Dir: c.text(section, "storage_dir", "storage"), ReadOnly: c.bool(section, "readonly", false)}
	if s.Dir == "~" || strings.HasPrefix(s.Dir, "~/") {
		home, err := os.UserHomeDir()
		if err != nil {
			return Storage{}, err
		}
		s.Dir = home + s.Dir[1:]
	}
	if !filepath.IsAbs(s.Dir) {
		s.Dir = filepath.Join(dir, s.Dir)
	}
	var err error
	if s.Reserved, err = parseSize(c.text(section, "reserved_space", "")); err != nil {
		c.fail(section, "reserved_space", err)
	}
	s.Expire = readExpire(c)
	if c.bool(section, "debug_discard", false) {
		c.fail(section, "debug_discard", errors.New("this server keeps what it is given"))
	}
	return s, c.err
}

// readExpire reads expire.*. Settings of the other mode are refused, as Tahoe-LAFS's documentation says; its code ignores them.
func readExpire(c *config) Expire {
	const section = "storage"
	e := Expire{
		Enabled:   c.bool(section, "expire.enabled", false),
		Immutable: c.bool(section, "expire.immutable", true),
		Mutable:   c.bool(section, "expire.mutable", true),
	}
	mode := c.text(section, "expire.mode", "")
	if mode == "" && e.Enabled {
		c.fail(section, "expire.mode", errors.New("is missing: age or cutoff-date, since expire.enabled is true"))
	}
	duration, cutoff := c.text(section, "expire.override_lease_duration", ""), c.text(section, "expire.cutoff_date", "")
	var err error
	switch mode {
	case "age", "":
		if duration != "" {
			if e.Duration, err = parseDuration(duration); err != nil {
				c.fail(section, "expire.override_lease_duration", err)
			}
		}
		if cutoff != "" {
			c.fail(section, "expire.cutoff_date", errors.New("goes with expire.mode = cutoff-date only"))
		}
	case "cutoff-date":
		if e.Cutoff, err = time.Parse(time.DateOnly, cutoff); err != nil {
			c.fail(section, "expire.cutoff_date", fmt.Errorf("%q is no date as 2009-01-16", cutoff))
		}
		if duration != "" {
			c.fail(section, "expire.override_lease_duration", errors.New("goes with expire.mode = age only"))
		}
	default:
		c.fail(section, "expire.mode", fmt.Errorf("%q is neither age nor cutoff-date", mode))
	}
	return e
}

// missing says what a node does that this server does not.
func missing(c *config, dir string) []string {
	var found []string
	if announced(c, dir) {
		found = append(found, "clients learn of it from an introducer")
	}
	if c.bool("storage", "force_foolscap", false) {
		found = append(found, "its clients use Foolscap alone ([storage] force_foolscap)")
	}
	if !c.bool("storage", "anonymous", true) || c.text("storage", "plugins", "") != "" {
		found = append(found, "it serves through plugins ([storage] plugins, anonymous)")
	}
	if c.bool("storage", "grid_management", false) {
		found = append(found, "it shows certificates of grid managers ([storage] grid_management)")
	}
	if c.bool("helper", "enabled", false) {
		found = append(found, "it is an upload helper ([helper] enabled)")
	}
	if !c.bool("storage", "enabled", false) {
		c.fail("storage", "enabled", errors.New("is not true: this node is no storage node"))
	}
	return found
}

// announced returns whether a node has an introducer: [client] introducer.furl, or private/introducers.yaml with more than comments and
// an empty map.
func announced(c *config, dir string) bool {
	if furl := c.text("client", "introducer.furl", ""); furl != "" && furl != "None" {
		return true
	}
	text, err := os.ReadFile(filepath.Join(dir, introducers))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.fail("client", introducers, err)
		}
		return false
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		if strings.Contains(line, "furl") {
			return true
		}
	}
	return false
}

package config

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"sharefs/cmd/sharefs/internal/exit"
)

// EnvPrefix begins the environment variables that hold settings.
const EnvPrefix = "SHAREFS_"

// EnvName returns the environment variable of a setting.
func EnvName(option string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(option, "-", "_"))
}

// fileFlag is the flag that names the config file.
const fileFlag = "config"

// BindFile adds the flag --config to set.
func BindFile(set *pflag.FlagSet) {
	set.String(fileFlag, "", "config file: settings and named stores (default: $XDG_CONFIG_HOME/sharefs/config.toml, else /etc/sharefs/config.toml) ["+EnvName(fileFlag)+"]")
}

// FileOf reads the config file that the flag of BindFile or the environment names, else the default one; where there is
// none, an empty one.
func FileOf(set *pflag.FlagSet, p Places) (*File, error) {
	name, err := fileName(set, p)
	if err != nil || name == "" {
		return &File{}, err
	}
	return ReadFile(name)
}

// fileName returns the name of the file to read; empty when there is none. One that was asked for must exist.
func fileName(set *pflag.FlagSet, p Places) (string, error) {
	name, err := set.GetString(fileFlag)
	if err != nil {
		return "", err
	}
	from := "--" + fileFlag
	if !set.Changed(fileFlag) {
		name, from = "", EnvName(fileFlag)
		if text, ok := p.env(from); ok {
			name = text
		}
	}
	if name == "" {
		return p.configFile(), nil
	}
	if err := (path{&name, "file"}).Set(name); err != nil {
		return "", exit.Errorf(exit.Usage, "%s: %w", from, err)
	}
	return name, nil
}

// Flags are the settings given on a command line.
type Flags struct {
	texts map[string]string // by option: what was given last
}

// Bind adds a flag for every setting to set, and --config and -o beside them.
func Bind(set *pflag.FlagSet) *Flags {
	f := &Flags{texts: map[string]string{}}
	scratch := Defaults()
	for _, o := range scratch.Options() {
		flag := set.VarPF(given{o, f.texts}, o.Name, o.Short, o.Usage+" ["+EnvName(o.Name)+"]")
		if _, ok := o.Value.(toggle); ok {
			flag.NoOptDefVal = "true"
		}
	}
	BindFile(set)
	set.VarP(mountOptions{set}, "options", "o", "the same settings as mount(8) writes them, such as -o ro,cache-size=10G")
	return f
}

// given checks the text of a flag and keeps it, to be applied over the config file and the environment.
type given struct {
	Option
	texts map[string]string
}

func (g given) Set(text string) error {
	if err := g.Value.Set(text); err != nil {
		return err
	}
	if before, ok := g.texts[g.Name]; ok {
		if _, adds := g.Value.(patterns); adds && before != "" && text != "" {
			text = before + ":" + text
		}
	}
	g.texts[g.Name] = text
	return nil
}
func (g given) String() string {
	if g.Value == nil {
		return "" // pflag asks the zero value
	}
	return g.Value.String()
}
func (g given) Type() string { return g.Value.Type() }

// Load returns the settings that hold for a mount of the store that the file knows by the name, which is empty for others.
// Wrong ones are errors of exit.Usage that name where they stand.
func Load(f *Flags, file *File, p Places, store string) (Settings, error) {
	s := Defaults()
	if err := f.load(&s, file, p, store); err != nil || s.Profile == "" {
		return s, err
	}
	chosen := Defaults() // again, from the profile's defaults
	Profiles[s.Profile](&chosen)
	return chosen, f.load(&chosen, file, p, store)
}

// load puts what the config file, the environment and the flags say over the settings.
func (f *Flags) load(s *Settings, file *File, p Places, store string) error {
	options := s.Options()
	if err := file.set(options, store); err != nil {
		return err
	}
	for _, o := range options {
		if text, ok := p.env(EnvName(o.Name)); ok {
			if err := o.Value.Set(text); err != nil {
				return exit.Errorf(exit.Usage, "environment variable %s=%s: %w", EnvName(o.Name), text, err)
			}
		}
	}
	for _, o := range options {
		if text, ok := f.texts[o.Name]; ok {
			if err := o.Value.Set(text); err != nil {
				return exit.Errorf(exit.Usage, "--%s %s: %w", o.Name, text, err)
			}
		}
	}
	return nil
}

// mountOptions is the flag -o: words of mount(8), each of which sets a flag, so that of -o and flags the last wins.
type mountOptions struct{ set *pflag.FlagSet }

// words of mount(8) that say something else than the name of a setting.
var aliases = map[string][2]string{
	"ro": {"read-only", "true"},
	"rw": {"read-only", "false"},
}

// Words for mount(8), fstab and systemd that do not concern the filesystem, and what every mount of ours is anyway.
var ignored = map[string]bool{
	"defaults": true, "auto": true, "noauto": true, "nofail": true, "_netdev": true, "nodev": true, "nosuid": true,
	"user": true, "users": true, "nouser": true, "owner": true, "group": true,
	"exec": true, "noatime": true, "nodiratime": true, "relatime": true,
}

func (m mountOptions) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		name, value, hasValue := strings.Cut(word, "=")
		name = strings.ReplaceAll(name, "_", "-")
		if word == "" || ignored[word] || strings.HasPrefix(word, "x-") || strings.HasPrefix(word, "comment=") {
			continue
		}
		if a, ok := aliases[name]; ok && !hasValue {
			name, value, hasValue = a[0], a[1], true
		}
		flag := m.set.Lookup(name)
		if flag == nil || name == "options" || name == "help" {
			return fmt.Errorf("unknown option %q", word)
		}
		if !hasValue {
			if flag.NoOptDefVal == "" {
				return fmt.Errorf("option %q needs a value: %s=%s", name, name, strings.ToUpper(flag.Value.Type()))
			}
			value = flag.NoOptDefVal
		}
		if err := m.set.Set(name, value); err != nil {
			return err
		}
	}
	return nil
}
func (m mountOptions) String() string { return "" }
func (m mountOptions) Type() string   { return "option,..." }

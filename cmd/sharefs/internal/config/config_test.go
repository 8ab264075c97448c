package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"sharefs/cmd/sharefs/internal/exit"
)

// world is what surrounds a command: its arguments, environment and config file.
type world struct {
	args string // separated by blanks
	env  map[string]string
	file string // contents; empty: there is none

	store string // the named store that is mounted; empty: another one
}

func (w world) load(t *testing.T) (Settings, error) {
	t.Helper()
	home := t.TempDir()
	if w.file != "" {
		name := filepath.Join(home, ".config/sharefs/config.toml")
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(w.file), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{"HOME": home}
	for k, v := range w.env {
		env[k] = v
	}
	set := pflag.NewFlagSet("mount", pflag.ContinueOnError)
	flags := Bind(set)
	if err := set.Parse(strings.Fields(w.args)); err != nil {
		return Settings{}, err
	}
	p := Places{Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
	file, err := FileOf(set, p)
	if err != nil {
		return Settings{}, err
	}
	return Load(flags, file, p, w.store)
}

func TestFlagsBeatEnvironmentBeatsFileBeatsDefault(t *testing.T) {
	const file = "cache-size = \"1GiB\"\nwriteback = \"3s\"\nparallel = 3\nread-only = true\n"
	env := map[string]string{"SHAREFS_CACHE_SIZE": "2GiB", "SHAREFS_WRITEBACK": "4s", "SHAREFS_READ_ONLY": "false"}
	type got struct {
		size      int64
		writeback time.Duration
		parallel  int
		readOnly  bool
	}
	for _, c := range []struct {
		name string
		world
		want got
	}{
		{"nothing is said", world{}, got{10 << 30, time.Second, 16, false}},
		{"the file", world{file: file}, got{1 << 30, 3 * time.Second, 3, true}},
		{"the environment over the file", world{env: env, file: file}, got{2 << 30, 4 * time.Second, 3, false}},
		{"flags over both", world{args: "--cache-size 5GiB -r", env: env, file: file}, got{5 << 30, 4 * time.Second, 3, true}},
		{"-o is as strong as flags", world{args: "-o cache-size=5GiB,ro", env: env, file: file}, got{5 << 30, 4 * time.Second, 3, true}},
		{"of -o and flags the last wins", world{args: "-o ro --read-only=false --parallel 1 -o parallel=2", env: env, file: file}, got{2 << 30, 4 * time.Second, 2, false}},
		{"rw undoes read-only", world{args: "-r -o rw"}, got{10 << 30, time.Second, 16, false}},
		{"an empty variable says nothing", world{env: map[string]string{"SHAREFS_CACHE_SIZE": ""}, file: file}, got{1 << 30, 3 * time.Second, 3, true}},
		{"words for mount(8) are taken", world{args: "-o defaults,_netdev,nofail,x-systemd.automount,allow_other"}, got{10 << 30, time.Second, 16, false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := c.load(t)
			if err != nil {
				t.Fatal(err)
			}
			if g := (got{s.CacheSize, s.Writeback, s.Parallel, s.ReadOnly}); g != c.want {
				t.Errorf("got %+v, want %+v", g, c.want)
			}
		})
	}
}

func TestEverySettingHasOneNameEverywhere(t *testing.T) {
	// a value for each that is not the default
	values := map[string]string{
		"read-only": "true", "shared": "true", "take-over": "true", "force": "true", "allow-other": "true", "uid": "1234", "gid": "1235", "umask": "0077", "file-mode": "0640", "dir-mode": "0750",
		"attributes": "listed", "cache-dir": "/c", "cache-size": "3GiB", "stage-size": "3GiB", "keep-free": "3GiB", "capacity": "3GiB", "stall-timeout": "7s", "memory": "3MiB", "commit": "sync", "foreign": "check", "writeback": "7s", "parallel": "7",
		"io-timeout": "7s", "open-timeout": "7s", "foreground": "true", "log-file": "/l", "log-level": "debug", "log-format": "json", "debug-fuse": "true",
		"profile": "tahoe", "scratch": "**/in/**:*.part", "lazy": "*.state=10m:logs/**=1h",
	}
	defaults := Defaults()
	for _, o := range defaults.Options() {
		v, ok := values[o.Name]
		if !ok {
			t.Errorf("%s: no value in this test", o.Name)
			continue
		}
		for _, c := range []struct {
			name string
			world
		}{
			{"flag", world{args: "--" + o.Name + "=" + v}},
			{"-o", world{args: "-o " + o.Name + "=" + v}},
			{"-o with underscores", world{args: "-o " + strings.ReplaceAll(o.Name, "-", "_") + "=" + v}},
			{"environment", world{env: map[string]string{EnvName(o.Name): v}}},
			{"file", world{file: fmt.Sprintf("%s = %q\n", o.Name, v)}},
			{"store of the file", world{file: fmt.Sprintf("[stores.it]\nurl = \"mem:\"\n%s = %q\n", o.Name, v), store: "it"}},
		} {
			t.Run(o.Name+" by "+c.name, func(t *testing.T) {
				s, err := c.load(t)
				if err != nil {
					t.Fatal(err)
				}
				if got := optionText(&s, o.Name); got != v {
					t.Errorf("got %q, want %q", got, v)
				}
				if got := optionText(&defaults, o.Name); got == v {
					t.Errorf("%q is the default, so this test shows nothing", v)
				}
			})
		}
	}
}

func TestProfileGivesDefaultsThatAnythingElseBeats(t *testing.T) {
	type got struct{ attributes, scratch, lazy string }
	tahoe := got{"listed", "**/shares/incoming/**", "*.state.json*=10m:*.history.json*=10m"}
	for _, c := range []struct {
		name string
		world
		want got
	}{
		{"none", world{}, got{"full", "", ""}},
		{"a flag", world{args: "--profile tahoe"}, tahoe},
		{"the file", world{file: "profile = \"tahoe\"\n"}, tahoe},
		{"the environment", world{env: map[string]string{"SHAREFS_PROFILE": "tahoe"}}, tahoe},
		{"attributes by a flag", world{args: "--profile tahoe --attributes full"}, got{"full", tahoe.scratch, tahoe.lazy}},
		{"scratch by the file", world{args: "--profile tahoe", file: "scratch = [\"a/**\", \"b\"]\n"}, got{"listed", "a/**:b", tahoe.lazy}},
		{"no scratch", world{args: "--profile tahoe --scratch="}, got{"listed", "", tahoe.lazy}},
		{"a flag for each pattern", world{args: "--scratch a/** --scratch b"}, got{"full", "a/**:b", ""}},
		{"a colon in a pattern", world{args: `--scratch a\:b:c`}, got{"full", `a\:b:c`, ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := c.load(t)
			if err != nil {
				t.Fatal(err)
			}
			g := got{s.Attributes, optionText(&s, "scratch"), optionText(&s, "lazy")}
			if g != c.want {
				t.Errorf("got %+v, want %+v", g, c.want)
			}
		})
	}
	for args, want := range map[string]string{
		"--profile other":  "tahoe",
		"--scratch [a":     "not a pattern",
		"--lazy *.json":    "PATTERN=DURATION",
		"-o lazy=a=1h:b=x": `"x" is no duration`,
	} {
		if _, err := (world{args: args}).load(t); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", args, err, want)
		}
	}
}

func optionText(s *Settings, name string) string {
	for _, o := range s.Options() {
		if o.Name == name {
			return o.Value.String()
		}
	}
	return ""
}

func TestWrongSettingsAreNamedWithTheirPlace(t *testing.T) {
	for _, c := range []struct {
		name string
		world
		want string // HOME stands for the home directory
	}{
		{"size", world{args: "--cache-size 10X"}, `invalid argument "10X" for "--cache-size" flag: not a size: write it as 10G (1000³ bytes), 10GiB (1024³ bytes) or in bytes`},
		{"size or auto", world{args: "--keep-free much"}, `invalid argument "much" for "--keep-free" flag: not a size: write it as 10G (1000³ bytes), 10GiB (1024³ bytes) or in bytes, or auto`},
		{"size without a unit", world{args: "--cache-size 10"}, `invalid argument "10" for "--cache-size" flag: 10 B is too small, it must be at least 16 MiB (a number alone is bytes: did you mean 10G?)`},
		{"duration", world{args: "--writeback 3"}, `invalid argument "3" for "--writeback" flag: not a duration: write it as 500ms, 10s or 1m30s`},
		{"duration out of range", world{args: "--io-timeout 1ms"}, `invalid argument "1ms" for "--io-timeout" flag: it must be from 1s to 24h0m0s`},
		{"mode", world{args: "--umask 99"}, `invalid argument "99" for "--umask" flag: not permission bits: write them in octal, such as 0644`},
		{"choice", world{args: "--attributes some"}, `invalid argument "some" for "--attributes" flag: it must be one of full, listed`},
		{"user", world{args: "--uid nobody-has-this"}, `invalid argument "nobody-has-this" for "--uid" flag: no such user: give its number, or a name that this machine knows`},
		{"word of -o", world{args: "-o ro,cachesize=3G"}, `invalid argument "ro,cachesize=3G" for "-o, --options" flag: unknown option "cachesize=3G"`},
		{"word of -o without its value", world{args: "-o cache_size"}, `invalid argument "cache_size" for "-o, --options" flag: option "cache-size" needs a value: cache-size=SIZE`},
		{"environment", world{env: map[string]string{"SHAREFS_PARALLEL": "0"}}, `environment variable SHAREFS_PARALLEL=0: it must be a number from 1 to 1024`},
		{"key of the file", world{file: "# mine\nparallel = 3\ncash-size = \"3G\"\n"}, `HOME/.config/sharefs/config.toml:3: cash-size: unknown key: did you mean cache-size? known are read-only, `},
		{"table of the file", world{file: "\n[mount]\nparallel = 3\n"}, `HOME/.config/sharefs/config.toml:2: mount: unknown key: known are read-only, `},
		{"value of the file", world{file: "read-only = 3\n"}, `HOME/.config/sharefs/config.toml:1: read-only: it must be true or false`},
		{"list in the file", world{file: "parallel = [3]\n"}, `HOME/.config/sharefs/config.toml:1: parallel: it must be one value: a string, a number, true or false`},
		{"relative name in the file", world{file: "\n\ncache-dir = \"c\"\n"}, `HOME/.config/sharefs/config.toml:3: cache-dir: "c" is relative, to nobody knows what: begin it with / or ~/`},
		{"syntax of the file", world{file: "parallel = 3\ncache-size = 10G\n"}, `HOME/.config/sharefs/config.toml:2: `},
		{"the first of several", world{file: "a = 1\nb = 2\n"}, `HOME/.config/sharefs/config.toml:1: a: unknown key`},
		{"a store without a url", world{file: "\n[stores.shares]\nparallel = 3\n"}, `HOME/.config/sharefs/config.toml:2: shares: the store has no url: url = "s3://BUCKET" or the like`},
		{"key of a store", world{file: "[stores.a]\nurl = \"mem:\"\n[stores.shares]\nurl = \"mem:\"\nprofil = \"tahoe\"\n"}, `HOME/.config/sharefs/config.toml:5: profil: unknown key of a store (parameters of its URL stand in parameters = {...}): did you mean profile? known are url, parameters, secrets, read-only, `},
		{"secret as a key of a store", world{file: "[stores.shares]\nurl = \"mem:\"\nAWS_SECRET_ACCESS_KEY = \"HUSH\"\n"}, `HOME/.config/sharefs/config.toml:3: AWS_SECRET_ACCESS_KEY: credentials do not belong in this file, which others may read: write them into one of their own, and name it here: secrets = "/etc/sharefs/shares.env"`},
		{"parameter as a key of a store", world{file: "[stores.shares]\nurl = \"mem:\"\nregion = \"x\"\n"}, `HOME/.config/sharefs/config.toml:3: region: unknown key of a store (parameters of its URL stand in parameters = {...}): `},
		{"value of a store", world{file: "parallel = 3\n[stores.shares]\nurl = \"mem:\"\nparallel = 0\n"}, `HOME/.config/sharefs/config.toml:4: parallel: it must be a number from 1 to 1024`},
		{"name of a store", world{file: "[stores.\"a/b\"]\nurl = \"mem:\"\n"}, `HOME/.config/sharefs/config.toml:1: a/b: not a name of a store: it has letters, digits, - and _`},
		{"a store that is no table", world{file: "[stores]\nshares = \"s3://b\"\n"}, `HOME/.config/sharefs/config.toml:2: shares: a store is a table: [stores.shares], with url = "..." in it`},
		{"stores that are none", world{file: "stores = 3\n"}, `HOME/.config/sharefs/config.toml:1: stores: it is a table for each store: [stores.NAME]`},
		{"url that is none", world{file: "[stores.shares]\nurl = 3\n"}, `HOME/.config/sharefs/config.toml:1: shares: the store has no url`},
		{"parameters that are none", world{file: "[stores.shares]\nurl = \"mem:\"\nparameters = \"a=b\"\n"}, `HOME/.config/sharefs/config.toml:3: parameters: they are a table: parameters = { region = "..." }`},
		{"a parameter that is a list", world{file: "[stores.shares]\nurl = \"mem:\"\n[stores.shares.parameters]\na = [1]\n"}, `HOME/.config/sharefs/config.toml:4: a: a parameter is a string, a number, true or false`},
		{"relative name of the secrets", world{file: "[stores.shares]\nurl = \"mem:\"\nsecrets = \"s.env\"\n"}, `HOME/.config/sharefs/config.toml:3: secrets: "s.env" is relative, to nobody knows what: begin it with / or ~/`},
		{"a store that nobody asks for", world{file: "[stores.other]\nurl = \"mem:\"\ncolour = 1\n", store: "shares"}, `HOME/.config/sharefs/config.toml:3: colour: unknown key of a store`},
		{"a file that is not there", world{args: "--config /no/such.toml"}, `config file: open /no/such.toml: no such file or directory`},
		{"a file of the environment that is not there", world{env: map[string]string{"SHAREFS_CONFIG": "/no/such.toml"}}, `config file: open /no/such.toml: no such file or directory`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.load(t)
			if err == nil {
				t.Fatal("no error")
			}
			text := err.Error()
			if i := strings.Index(text, "/.config/"); i >= 0 {
				text = "HOME" + text[i:]
			}
			if !strings.HasPrefix(text, c.want) {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
			if c.args == "" && exit.CodeOf(err) != exit.Usage {
				t.Errorf("exit code %d, want %d", exit.CodeOf(err), exit.Usage)
			}
		})
	}
}

func TestModesFollowTheUmaskUnlessGiven(t *testing.T) {
	for _, c := range []struct {
		args      string
		file, dir uint32
	}{
		{"", 0o644, 0o755},
		{"--umask 077", 0o600, 0o700},
		{"--umask 0", 0o666, 0o777},
		{"--umask 077 --file-mode 0640", 0o640, 0o700},
		{"--dir-mode 2", 0o644, 0o002},
	} {
		s, err := world{args: c.args}.load(t)
		if err != nil {
			t.Fatal(err)
		}
		if file, dir := s.Modes(); file != c.file || dir != c.dir {
			t.Errorf("%q: %04o %04o, want %04o %04o", c.args, file, dir, c.file, c.dir)
		}
	}
}

func TestSampleFileHoldsEverySettingWithItsDefault(t *testing.T) {
	const name = "../../../../docs/sharefs.toml"
	doc, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	s := Defaults()
	s.Umask = 0o777 // what the file must set back
	file, err := ReadFile(uncommented(t, string(doc)))
	if err != nil {
		t.Fatal(err)
	}
	if err := file.set(s.Options(), ""); err != nil {
		t.Fatal(err)
	}
	if s.Umask != 0o022 {
		t.Errorf("umask %04o", s.Umask)
	}
	for _, o := range s.Options() {
		if !strings.Contains(string(doc), "\n#"+o.Name+" = ") {
			t.Errorf("%s does not show %s", name, o.Name)
		}
	}
	d := Defaults()
	for _, o := range []string{"cache-size", "stage-size", "keep-free", "capacity", "stall-timeout", "memory", "writeback", "parallel", "io-timeout", "open-timeout", "commit", "foreign", "attributes", "log-level", "log-format", "umask", "read-only", "allow-other"} {
		if got, want := optionText(&s, o), optionText(&d, o); got != want {
			t.Errorf("%s shows %s = %s, the default is %s", name, o, got, want)
		}
	}
}

// uncommented returns a copy of the sample in which every setting counts.
func uncommented(t *testing.T, doc string) string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(doc) {
		if strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# ") && line != "#\n" {
			line = line[1:]
		}
		lines = append(lines, line)
	}
	name := filepath.Join(t.TempDir(), "sample.toml")
	if err := os.WriteFile(name, []byte(strings.Join(lines, "")), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestPlacesFollowXDGAndAreOfTheSystemForRoot(t *testing.T) {
	user := map[string]string{"HOME": "/home/u"}
	xdg := map[string]string{"HOME": "/home/u", "XDG_CACHE_HOME": "/x/c", "XDG_DATA_HOME": "/x/d", "XDG_STATE_HOME": "relative"}
	for _, c := range []struct {
		name             string
		env              map[string]string
		root             bool
		data, cache, log string
	}{
		{"a user", user, false, "/home/u/.local/share/sharefs", "/home/u/.cache/sharefs/s3-b-x-28b1755c", "/home/u/.local/state/sharefs/mnt-a-f72353b3.log"},
		{"a user with XDG, one of it not valid", xdg, false, "/x/d/sharefs", "/x/c/sharefs/s3-b-x-28b1755c", "/home/u/.local/state/sharefs/mnt-a-f72353b3.log"},
		{"root", user, true, "/home/u/.local/share/sharefs", "/var/cache/sharefs/s3-b-x-28b1755c", "/var/log/sharefs/mnt-a-f72353b3.log"},
		{"root without a home", nil, true, "error", "/var/cache/sharefs/s3-b-x-28b1755c", "/var/log/sharefs/mnt-a-f72353b3.log"},
		{"a user without a home", nil, false, "error", "error", "error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Places{Env: func(name string) (string, bool) { v, ok := c.env[name]; return v, ok }, Root: c.root}
			check := func(what, want, got string, err error) {
				t.Helper()
				if err != nil {
					got = "error"
				}
				if got != want {
					t.Errorf("%s: got %s (%v), want %s", what, got, err, want)
				}
			}
			data, err := p.Data()
			check("data", c.data, data, err)
			cache, err := p.Cache("s3://b/x")
			check("cache", c.cache, cache, err)
			log, err := p.Log("/mnt/a")
			check("log", c.log, log, err)
		})
	}
}

func TestFileNamesDifferAndStayShort(t *testing.T) {
	seen := map[string]string{}
	for _, s := range []string{"s3://a/b", "s3://a-b", "s3://a/b?region=x", "file:///" + strings.Repeat("x", 300), "/", "...", "-"} {
		n := FileName(s)
		if len(n) > 80 || strings.ContainsAny(n, "/ ") || strings.HasPrefix(n, ".") || strings.HasPrefix(n, "-") {
			t.Errorf("%q: bad file name %q", s, n)
		}
		if other, ok := seen[n]; ok {
			t.Errorf("%q and %q have the same name %q", s, other, n)
		}
		seen[n] = s
	}
}

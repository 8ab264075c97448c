package nodedir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sharefs/cmd/sharefs/internal/exit"
)

// made makes a node in a new directory.
func made(t *testing.T) *Node {
	t.Helper()
	n, err := Create(New{Dir: filepath.Join(t.TempDir(), "node"), Nickname: "one", Listen: "127.0.0.1:3457", Location: "example.org:3457"})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestANewNodeIsReadAgain(t *testing.T) {
	n := made(t)
	again, err := Open(n.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if n.FURL != again.FURL || n.ID != again.ID || n.Identity.Hash() != again.Identity.Hash() {
		t.Error("it is another node when it is read again")
	}
	if diff := cmp.Diff([]string{"127.0.0.1:3457"}, again.Listen); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"example.org:3457"}, again.Locations); diff != "" {
		t.Error(diff)
	}
	want := Storage{Dir: filepath.Join(n.Dir, "storage"), Reserved: 1e9, Expire: Expire{Immutable: true, Mutable: true}}
	if diff := cmp.Diff(want, again.Storage); diff != "" {
		t.Error(diff)
	}
	if len(again.Missing) > 0 || again.Nickname != "one" {
		t.Errorf("%q lacks %q", again.Nickname, again.Missing)
	}
	nurls, err := again.NURLs()
	if err != nil || len(nurls) != 1 || nurls[0] != "pb://"+n.Identity.Hash()+"@example.org:3457/"+n.Swissnum+"#v=1" {
		t.Errorf("the NURLs are %q, %v", nurls, err)
	}
	if !strings.HasPrefix(n.FURL, "pb://"+n.ID.String()+"@tcp:example.org:3457/") || len(n.Swissnum) != 32 {
		t.Errorf("the FURL is %s", n.FURL)
	}
	for _, name := range []string{keyFile, furlFile, signingFile} {
		if fi, err := os.Stat(n.path(name)); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, fi.Mode(), err)
		}
	}
	if _, err := Create(New{Dir: n.Dir, Listen: ":1", Location: "x:1"}); err == nil {
		t.Error("a node is made over another")
	}
}

func TestAnnouncement(t *testing.T) {
	n := made(t)
	text, err := n.Announcement()
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(n.path(verifyFile))
	if err != nil {
		t.Fatal(err)
	}
	nurls, _ := n.NURLs()
	for _, want := range []string{"storage:\n  " + strings.TrimPrefix(strings.TrimSpace(string(key)), "pub-") + ":\n", n.FURL, nurls[0], `nickname: "one"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the announcement lacks %s:\n%s", want, text)
		}
	}
}

func TestWhatIsNoNode(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{dir, filepath.Join(dir, "missing")} {
		if _, err := Open(name); !errors.Is(err, ErrNone) {
			t.Errorf("%s: %v", name, err)
		}
	}
	write(t, dir, "something", "")
	if _, err := Open(dir); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("a directory with something else: %v", err)
	}
	n := made(t)
	if err := os.Remove(n.path(furlFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(n.Dir); exit.CodeOf(err) != exit.Usage {
		t.Errorf("a node that has never served: %v", err)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// configured opens a node again, with another tahoe.cfg.
func configured(t *testing.T, n *Node, config string) (*Node, error) {
	t.Helper()
	write(t, n.Dir, configFile, config)
	return Open(n.Dir)
}

func TestSettings(t *testing.T) {
	n, err := configured(t, made(t), `# as tahoe create-node writes it
[node]
Nickname: two # words
tub.port = tcp:1:interface=127.0.0.1,tcp6:2,3,tcp6:4:interface=\:\:1
tub.location = tcp:a.example:1,b.example:2, tcp:[::1]:3 ,
  tor:abc.onion:4
[storage]
enabled = YES
storage_dir = /srv/shares 100%
readonly = on
RESERVED_SPACE = 2 GiB
expire.enabled = true
expire.mode = age
expire.override_lease_duration = 60 days
expire.mutable = 0
`)
	if err != nil {
		t.Fatal(err)
	}
	if n.Nickname != "two # words" {
		t.Errorf("the nickname is %q", n.Nickname)
	}
	if diff := cmp.Diff([]string{"127.0.0.1:1", ":2", ":3", "[::1]:4"}, n.Listen); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a.example:1", "b.example:2", "[::1]:3"}, n.Locations); diff != "" {
		t.Error(diff)
	}
	want := Storage{Dir: "/srv/shares 100%", ReadOnly: true, Reserved: 2 << 30,
		Expire: Expire{Enabled: true, Duration: 60 * day, Immutable: true}}
	if diff := cmp.Diff(want, n.Storage); diff != "" {
		t.Error(diff)
	}
	if len(n.Missing) != 1 || !strings.Contains(n.Missing[0], "tor:abc.onion:4") {
		t.Errorf("missing: %q", n.Missing)
	}
}

const plain = "[node]\ntub.port = tcp:1\ntub.location = tcp:a:1\n[storage]\nenabled = true\n"

func TestWhatOnlyTahoeLAFSHas(t *testing.T) {
	node := made(t)
	for config, want := range map[string]string{
		plain: "",
		plain + "[client]\nintroducer.furl = pb://x\n": "introducer",
		plain + "[client]\nintroducer.furl = None\n":   "",
		plain + "force_foolscap = true\n":              "Foolscap",
		plain + "grid_management = true\n":             "grid managers",
		plain + "anonymous = false\nplugins = x\n":     "plugins",
		plain + "[helper]\nenabled = true\n":           "helper",
	} {
		n, err := configured(t, node, config)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(n.Missing, "; "); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("missing %q, want %q, of\n%s", got, want, config)
		}
	}
	for yaml, want := range map[string]bool{"introducers: {}\n": false, "introducers:\n  a:\n    furl: pb://x\n": true, "# furl: none\n": false} {
		write(t, node.Dir, configFile, plain)
		write(t, node.Dir, introducers, yaml)
		n, err := Open(node.Dir)
		if err != nil || (len(n.Missing) > 0) != want {
			t.Errorf("missing %q, %v, of %s", n.Missing, err, yaml)
		}
	}
}

func TestSettingsThatAreWrong(t *testing.T) {
	n := made(t)
	for config, want := range map[string]string{
		"[node]\ntub.port = disabled\n[storage]\nenabled = true\n":                            "does not listen",
		"[node]\ntub.port = tcp:1\ntub.location = disabled\n[storage]\nenabled = true\n":      "cannot find",
		"[node]\ntub.port = listen:tor\ntub.location = tcp:a:1\n[storage]\nenabled = true\n":  "listen:tor",
		"[node]\ntub.port = tcp:0\ntub.location = tcp:a:1\n[storage]\nenabled = true\n":       "no port",
		"[node]\ntub.port = tcp:1\ntub.location = tor:a.onion:1\n[storage]\nenabled = true\n": "tcp:HOST:PORT",
		"[node]\ntub.port = tcp:1\ntub.location = tcp:a:x\n[storage]\nenabled = true\n":       "tcp:HOST:PORT",
		"[node]\ntub.port = tcp:1\ntub.location = tcp:a:1\n":                                  "enabled",
		plain + "readonly = maybe\n":                                            "maybe",
		plain + "reserved_space = much\n":                                       "much",
		plain + "debug_discard = true\n":                                        "debug_discard",
		plain + "expire.enabled = true\n":                                       "expire.mode",
		plain + "expire.mode = sometimes\n":                                     "sometimes",
		plain + "expire.mode = age\nexpire.override_lease_duration = 3 weeks\n": "3 weeks",
		plain + "expire.mode = age\nexpire.cutoff_date = 2009-01-16\n":          "cutoff-date only",
		plain + "expire.mode = cutoff-date\n":                                   "no date",
		plain + "expire.mode = cutoff-date\nexpire.cutoff_date = 2009-13-16\n":  "no date",
		plain + "expire.mode = cutoff-date\nexpire.cutoff_date = 2009-01-16\nexpire.override_lease_duration = 60 days\n": "age only",
		"enabled\n": configFile,
	} {
		if _, err := configured(t, n, config); err == nil || !strings.Contains(err.Error(), want) || exit.CodeOf(err) != exit.Usage {
			t.Errorf("%v, want %q, of\n%s", err, want, config)
		}
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]int64{
		"": 0, "0": 0, "100MB": 1e8, "100 M": 1e8, "100000000B": 1e8, "100000kb": 1e8, "1MiB": 1 << 20, "1024 Ki": 1 << 20,
		"1048576 B": 1 << 20, "1G": 1e9, "8EiB": -1, "10E": -1, "1.5G": -1, "-1": -1, "G": -1, "99999999999999999999": -1,
	} {
		got, err := parseSize(text)
		if want < 0 != (err != nil) || err == nil && got != want {
			t.Errorf("%q is %d, %v", text, got, err)
		}
	}
	for text, want := range map[string]time.Duration{
		"7days": 7 * day, "31day": 31 * day, "60 days": 60 * day, "2mo": 62 * day, "3 month": 93 * day, "12 months": 372 * day,
		"2years": 730 * day, "5 S": 5 * time.Second, "days": -1, "1 week": -1, "999999999 years": -1, "": -1,
	} {
		got, err := parseDuration(text)
		if want < 0 != (err != nil) || err == nil && got != want {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}

func text(pid int, start float64) string { return fmt.Sprintf("%d %f\n", pid, start) }

func TestOneServerAtATime(t *testing.T) {
	n := made(t)
	store := t.TempDir()
	l, err := Lock(n.Dir, store)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Run(n); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{n.Dir, store} {
		if _, err := Lock(t.TempDir(), dir); exit.CodeOf(err) != exit.Busy {
			t.Errorf("a second server of %s: %v", dir, err)
		}
	}
	l.Unlock()
	if _, err := os.Stat(n.path(processFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the process file is left: %v", err)
	}
	l, err = Lock(n.Dir, store)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Unlock()
	parent, err := startOf(os.Getppid())
	if err != nil {
		t.Fatal(err)
	}
	for text, code := range map[string]exit.Code{
		text(os.Getppid(), parent):      exit.Busy,
		text(os.Getppid(), parent-3600): exit.OK, // another process had its number
		text(1<<30, parent):             exit.OK,
		"nonsense":                      exit.OK,
	} {
		write(t, n.Dir, processFile, text)
		if err := l.Run(n); exit.CodeOf(err) != code {
			t.Errorf("%q: %v", text, err)
		}
	}
}

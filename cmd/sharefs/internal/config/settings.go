// Package config holds the settings of a mount and where they come from, and the stores that the config file names. One
// table (Settings.Options) names every setting; the same name is a flag (--cache-size), an environment variable
// (SHAREFS_CACHE_SIZE), a key of the config file (cache-size), for all mounts or in the table of a store, and a word of -o.
// Where several give a value the order is: flag or -o, environment, store of the config file, config file, profile, default.
//
// It holds no secrets: a store names the file that does, or they come from where the store's own tools keep them.
package config

import (
	"maps"
	"os"
	"slices"
	"time"

	"sharefs/fusefs/commit/pathrule"
)

// Settings are what a mount is told. Paths are absolute.
type Settings struct {
	UID, GID            uint32
	Umask               uint32 // for FileMode and DirMode where those are 0
	FileMode, DirMode   uint32 // permission bits; 0: from Umask. See Modes.
	AllowOther          bool
	ReadOnly            bool
	Shared              bool     // with other read-write mounts; implies CommitSync
	TakeOver, Force     bool     // of the claim on the store; Force only with TakeOver
	Profile             string   // empty or a name of Profiles
	Attributes          string   // AttributesFull or AttributesListed
	Scratch, Lazy       []string // as pathrule.Parse takes them
	CacheDir            string   // empty: Places.Cache
	CacheSize           int64    // bytes
	StageSize           int64    // bytes
	KeepFree            int64    // bytes; Auto: by the size of the disk
	Capacity            int64    // bytes; Auto: by the store
	StallTimeout        time.Duration
	Memory              int64  // bytes
	Commit              string // CommitAsync or CommitSync
	Foreign             string // ForeignTrust or ForeignCheck
	Writeback           time.Duration
	IOTimeout           time.Duration
	OpenTimeout         time.Duration
	Parallel            int
	Foreground          bool
	LogFile             string // empty: Places.Log in the background, stderr in the foreground
	LogLevel, LogFormat string
	DebugFUSE           bool
}

// Auto is the size that sharefs chooses itself.
const Auto = -1

// Words of Settings.Attributes, Commit, LogLevel and LogFormat.
const (
	AttributesFull   = "full"
	AttributesListed = "listed"
	CommitAsync      = "async"
	ForeignTrust     = "trust"
	ForeignCheck     = "check"
	CommitSync       = "sync"
	FormatText       = "text"
	FormatJSON       = "json"
)

// Defaults are the settings when nobody says anything.
func Defaults() Settings {
	return Settings{
		UID:          uint32(os.Geteuid()),
		GID:          uint32(os.Getegid()),
		Umask:        0o022,
		Attributes:   AttributesFull,
		CacheSize:    10 << 30,
		StageSize:    10 << 30,
		KeepFree:     Auto,
		Capacity:     Auto,
		StallTimeout: time.Minute,
		Memory:       128 << 20,
		Writeback:    time.Second,
		IOTimeout:    time.Minute,
		OpenTimeout:  20 * time.Second,
		Parallel:     16,
		LogLevel:     "info",
		LogFormat:    FormatText,
		Commit:       CommitAsync,
		Foreign:      ForeignTrust,
	}
}

// Profiles are sets of defaults for a kind of server, by name. What is given explicitly holds over them.
var Profiles = map[string]func(*Settings){
	// The storage node of Tahoe-LAFS writes shares below shares/incoming and renames them into place, and keeps the state
	// of its crawlers in files that it replaces after each time slice (src/allmydata/storage/{server,crawler,expirer}.py).
	"tahoe": func(s *Settings) {
		s.Attributes = AttributesListed
		s.Scratch = []string{"**/shares/incoming/**"}
		s.Lazy = []string{"*.state.json*=10m", "*.history.json*=10m"}
	},
}

// Modes returns the permission bits of files and of directories that carry none of their own.
func (s Settings) Modes() (file, dir uint32) {
	file, dir = s.FileMode, s.DirMode
	if file == 0 {
		file = 0o666 &^ s.Umask
	}
	if dir == 0 {
		dir = 0o777 &^ s.Umask
	}
	return file, dir
}

// Option is one setting.
type Option struct {
	Name  string
	Short string // a letter; may be empty
	Usage string
	Value Value // of the Settings that Options was called on
}

// Options is the table of all settings.
func (s *Settings) Options() []Option {
	return []Option{
		{"read-only", "r", "take no changes", toggle{&s.ReadOnly}},
		{"shared", "", "several mounts with this flag change the store, on S3: nobody claims it, close and rename return when it is stored (--commit sync), and who is second gets ESTALE",
			toggle{&s.Shared}},
		{"take-over", "", "take the store from a mount that is gone for good, after watching for three minutes that it is silent", toggle{&s.TakeOver}},
		{"force", "", "with --take-over: at once. A mount that is alive has lost what it has not stored", toggle{&s.Force}},
		{"allow-other", "", "let other users of this machine in; permissions are checked", toggle{&s.AllowOther}},
		{"uid", "", "owner of what the store names no owner for", userID(&s.UID)},
		{"gid", "", "group of what the store names no group for", groupID(&s.GID)},
		{"umask", "", "bits taken away from 0666 and 0777, where the store names no mode", mode{&s.Umask, true}},
		{"file-mode", "", "mode of files that the store names none for, instead of --umask", mode{&s.FileMode, false}},
		{"dir-mode", "", "mode of directories that the store names none for, instead of --umask", mode{&s.DirMode, false}},
		{"profile", "", "defaults for a kind of server: tahoe (listed attributes, scratch and lazy paths of a Tahoe-LAFS storage node)",
			choice{&s.Profile, slices.Sorted(maps.Keys(Profiles))}},
		{"attributes", "", "full: owner, mode, links and times of files as the store keeps them; listed: what a listing tells, and write none",
			choice{&s.Attributes, []string{AttributesFull, AttributesListed}}},
		{"cache-dir", "", "where the catalog, what is not stored yet, and the read cache are (default: by the store's name below $XDG_CACHE_HOME/sharefs, for root /var/cache/sharefs)",
			path{&s.CacheDir, "directory"}},
		{"cache-size", "", "disk for the read cache", size{&s.CacheSize, 16 << 20}},
		{"stage-size", "", "disk for changed files that are not stored yet; a write beyond it waits for the store", size{&s.StageSize, 16 << 20}},
		{"keep-free", "", "what the read cache and changed files leave free of the disk; auto: 1GiB, at most a twentieth of the disk", sizeOrAuto{&s.KeepFree, 0}},
		{"capacity", "", "what files may have in all, as df shows it; a write beyond it fails. auto: the quota that the store tells, else 1PiB", sizeOrAuto{&s.Capacity, 1 << 20}},
		{"stall-timeout", "", "a write that finds the disk full fails when nothing got free for so long", duration{&s.StallTimeout, time.Second, 24 * time.Hour}},
		{"memory", "", "memory for cached contents, read-ahead and uploads", size{&s.Memory, 1 << 20}},
		{"commit", "", "async: what was closed, renamed, removed is stored moments later; sync: those calls return when it is stored, or with the error",
			choice{&s.Commit, []string{CommitAsync, CommitSync}}},
		{"foreign", "", "check: ask, before a request for which the store checks no version, whether another program has changed the object, and report it; trust: do not",
			choice{&s.Foreign, []string{ForeignTrust, ForeignCheck}}},
		{"writeback", "", "a file is stored after this long without another change to it", duration{&s.Writeback, time.Millisecond, time.Hour}},
		{"scratch", "", "paths that are stored only once they are renamed to another one, such as **/incoming/**; several with colons between them",
			patterns{&s.Scratch, func(p []string) error { _, err := pathrule.Parse(p, nil); return err }}},
		{"lazy", "", "paths that are stored so long after their first change, such as *.state=10m; several with colons between them",
			patterns{&s.Lazy, func(p []string) error { _, err := pathrule.Parse(nil, p); return err }}},
		{"parallel", "", "requests to the store at a time", count{&s.Parallel, 1, 1024}},
		{"io-timeout", "", "a read or an fsync that the store does not answer fails after this long", duration{&s.IOTimeout, time.Second, 24 * time.Hour}},
		{"open-timeout", "", "mount fails when the store does not answer within this time", duration{&s.OpenTimeout, time.Second, time.Hour}},
		{"foreground", "f", "stay in the foreground and log to stderr", toggle{&s.Foreground}},
		{"log-file", "", "log to this file (default in the background: below $XDG_STATE_HOME/sharefs, for root /var/log/sharefs; reopened at SIGHUP)",
			path{&s.LogFile, "file"}},
		{"log-level", "", "how much to log", choice{&s.LogLevel, []string{"debug", "info", "warn", "error"}}},
		{"log-format", "", "how to log", choice{&s.LogFormat, []string{FormatText, FormatJSON}}},
		{"debug-fuse", "", "log every request of the kernel", toggle{&s.DebugFUSE}},
	}
}

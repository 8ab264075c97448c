package control

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"sharefs/fusefs"
)

// Runtime says in which directories sockets are: where a daemon of this user makes its own, and where commands of this
// user look for them. They are not the same, because a login shell has XDG_RUNTIME_DIR and a service has not.
type Runtime struct {
	Own    string
	Search []string
	Given  bool // by the user: mounts whose daemons are elsewhere are none of his concern
}

// RuntimeOptions find a Runtime.
type RuntimeOptions struct {
	Dir string                           // given by the user: this one and no other
	Env func(name string) (string, bool) // os.LookupEnv
	UID int                              // of this process
	Run string                           // "/run"
}

// FindRuntime returns the runtime directories: $XDG_RUNTIME_DIR/sharefs, for root /run/sharefs, and where there is
// neither, ~/.cache/sharefs/run. Root looks into those of all users.
func FindRuntime(o RuntimeOptions) (Runtime, error) {
	if o.Dir != "" {
		return Runtime{Own: o.Dir, Search: []string{o.Dir}, Given: true}, nil
	}
	var dirs []string
	if dir, ok := o.Env("XDG_RUNTIME_DIR"); ok && filepath.IsAbs(dir) && ownedBy(dir, o.UID) {
		dirs = append(dirs, filepath.Join(dir, "sharefs"))
	}
	if o.UID == 0 {
		dirs = append(dirs, filepath.Join(o.Run, "sharefs"))
	}
	if dir := filepath.Join(o.Run, "user", strconv.Itoa(o.UID)); ownedBy(dir, o.UID) {
		dirs = append(dirs, filepath.Join(dir, "sharefs"))
	}
	if home, ok := o.Env("HOME"); ok && filepath.IsAbs(home) {
		dirs = append(dirs, fallback(home))
	}
	if len(dirs) == 0 {
		return Runtime{}, errors.New("no place for the control socket: neither XDG_RUNTIME_DIR nor HOME is set: set one, or give --runtime-dir")
	}
	r := Runtime{Own: dirs[0]}
	if o.UID == 0 {
		dirs = append(dirs, ofOthers(o.Run)...)
	}
	for _, dir := range dirs {
		if !slices.Contains(r.Search, dir) {
			r.Search = append(r.Search, dir)
		}
	}
	return r, nil
}

func fallback(home string) string { return filepath.Join(home, ".cache", "sharefs", "run") }

// ofOthers returns the runtime directories of the users that have one, or have a mount.
func ofOthers(run string) []string {
	dirs, err := filepath.Glob(filepath.Join(run, "user", "*", "sharefs"))
	if err != nil {
		return nil // the pattern is good
	}
	mounts, err := fusefs.Mounts()
	if err != nil {
		return dirs
	}
	for _, m := range mounts {
		if !m.Ours() {
			continue
		}
		if u, err := user.LookupId(strconv.FormatUint(uint64(m.UID), 10)); err == nil && filepath.IsAbs(u.HomeDir) {
			dirs = append(dirs, fallback(u.HomeDir))
		}
	}
	return dirs
}

func ownedBy(dir string, uid int) bool {
	fi, err := os.Stat(dir)
	if err != nil || !fi.IsDir() {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == uid
}

// makePrivate makes a runtime directory, or checks that the one that is there is this user's and closed to others.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("runtime directory: %w", err)
	}
	if !ownedBy(dir, os.Geteuid()) {
		return fmt.Errorf("runtime directory %s belongs to somebody else: remove it, or give --runtime-dir", dir)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("runtime directory: %w", err)
	}
	return nil
}

// fileName is the name of a mount's files in a runtime directory, without the ending: short, because the name of a
// unix socket has at most 107 bytes.
func fileName(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(sum[:8])
}

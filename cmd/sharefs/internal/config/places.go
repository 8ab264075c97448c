package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Places knows where files go that no setting names: the XDG base directories, and those of the system for root.
type Places struct {
	Env  func(name string) (string, bool) // os.LookupEnv
	Root bool                             // the user is root
}

// env returns a variable that is set and not empty.
func (p Places) env(name string) (string, bool) {
	v, ok := p.Env(name)
	return v, ok && v != ""
}

// base returns an XDG base directory: the variable, else for root the system's directory (unless that is empty),
// else below the home directory.
func (p Places) base(variable, system, home string) (string, error) {
	if dir, ok := p.env(variable); ok && filepath.IsAbs(dir) { // the XDG specification: ignore relative ones
		return dir, nil
	}
	if p.Root && system != "" {
		return system, nil
	}
	if dir, ok := p.env("HOME"); ok {
		return filepath.Join(dir, home), nil
	}
	return "", fmt.Errorf("neither %s nor HOME is set, so there is no place for it", variable)
}

// Data is where the embedded default store is.
func (p Places) Data() (string, error) {
	return p.below("XDG_DATA_HOME", "", ".local/share", "sharefs")
}

// Cache is the cache directory of the store with the id (provider/all's Location.ID).
func (p Places) Cache(id string) (string, error) {
	return p.below("XDG_CACHE_HOME", "/var/cache", ".cache", filepath.Join("sharefs", FileName(id)))
}

// Copy is the directory for what copies to the store with the id keep.
func (p Places) Copy(id string) (string, error) {
	return p.below("XDG_STATE_HOME", "/var/lib", ".local/state", filepath.Join("sharefs", "copy-"+FileName(id)))
}

// Node is the directory of the storage node that serves a store when no other is named.
func (p Places) Node(store string) (string, error) {
	return p.below("XDG_DATA_HOME", "/var/lib", ".local/share", filepath.Join("sharefs-nodes", FileName(store)))
}

// Log is the log file of the mount on dir.
func (p Places) Log(dir string) (string, error) {
	return p.below("XDG_STATE_HOME", "/var/log", ".local/state", filepath.Join("sharefs", FileName(dir)+".log"))
}

func (p Places) below(variable, system, home, rest string) (string, error) {
	base, err := p.base(variable, system, home)
	if err != nil {
		return "", err
	}
	return filepath.Join(base, rest), nil
}

// configFile returns the first of the default config files that exists, empty when none does.
func (p Places) configFile() string {
	candidates := []string{"/etc/sharefs/config.toml"}
	if own, err := p.below("XDG_CONFIG_HOME", "", ".config", "sharefs/config.toml"); err == nil {
		candidates = append([]string{own}, candidates...)
	}
	for _, name := range candidates {
		if _, err := os.Stat(name); err == nil {
			return name
		}
	}
	return ""
}

// maxReadable is the length of a FileName but for what makes it different, in bytes.
const maxReadable = 60

// FileName makes a file name of a URL or path: readable, and different for different ones.
func FileName(s string) string {
	sum := sha256.Sum256([]byte(s))
	readable := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_':
			return r
		}
		return '-'
	}, strings.SplitN(s, "?", 2)[0])
	for strings.Contains(readable, "--") {
		readable = strings.ReplaceAll(readable, "--", "-")
	}
	readable = strings.Trim(readable, "-.")
	if len(readable) > maxReadable { // the end tells more than the beginning
		readable = readable[len(readable)-maxReadable:]
		if _, rest, ok := strings.Cut(readable, "-"); ok {
			readable = rest // from the beginning of a word
		}
	}
	return strings.TrimLeft(readable+"-"+hex.EncodeToString(sum[:4]), "-.")
}

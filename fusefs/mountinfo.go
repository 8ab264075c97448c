package fusefs

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// MountEntry is a mount, as a line of /proc/self/mountinfo shows it, proc_pid_mountinfo(5).
type MountEntry struct {
	Device string // major:minor
	Dir    string
	FSType string
	Source string
	UID    uint32 // of FUSE mounts: who mounted it
}

// Ours reports whether it is a mount of sharefs.
func (m MountEntry) Ours() bool { return m.FSType == fsType }

// Mounts returns the mounts that this process can see, later ones behind those that they hide. It touches none of them.
func Mounts() ([]MountEntry, error) { return MountsOf("/proc/self") }

// MountsOf is Mounts for another process, which may be in another mount namespace. proc is its directory in /proc.
func MountsOf(proc string) ([]MountEntry, error) {
	data, err := os.ReadFile(filepath.Join(proc, "mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("the table of mounts cannot be read: %w", err)
	}
	return parseMountinfo(string(data)), nil
}

// mountedAt returns what is mounted at dir, an absolute path without symlinks, the topmost last.
func mountedAt(dir string) ([]MountEntry, error) {
	all, err := Mounts()
	if err != nil {
		return nil, err
	}
	var at []MountEntry
	for _, m := range all {
		if m.Dir == dir {
			at = append(at, m)
		}
	}
	return at, nil
}

// parseMountinfo returns the mounts in the order of the table; lines of another form are left out.
func parseMountinfo(table string) []MountEntry {
	var mounts []MountEntry
	for line := range strings.Lines(table) {
		place, kind, found := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		p, k := strings.Split(place, " "), strings.Split(kind, " ")
		if !found || len(p) < 6 || len(k) < 2 {
			continue
		}
		m := MountEntry{Device: p[2], Dir: unescape(p[4]), FSType: k[0], Source: unescape(k[1])}
		if len(k) > 2 {
			m.UID = userOf(k[2])
		}
		mounts = append(mounts, m)
	}
	return mounts
}

// userOf reads user_id=N of a FUSE mount's options.
func userOf(options string) uint32 {
	for word := range strings.SplitSeq(options, ",") {
		if text, ok := strings.CutPrefix(word, "user_id="); ok {
			if n, err := strconv.ParseUint(text, 10, 32); err == nil {
				return uint32(n)
			}
		}
	}
	return 0
}

// unescape resolves the octal escapes of blanks, newlines and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

package mountpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Users returns the processes that use something below dir, each as "name (pid)", as far as this process may see
// them. It reads names of links only and does not touch the mount.
func Users(dir string) []string {
	var users []string
	pids, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil // the pattern is good
	}
	for _, proc := range pids {
		if uses(proc, dir) {
			name, err := os.ReadFile(filepath.Join(proc, "comm"))
			if err != nil {
				continue // it has just ended
			}
			users = append(users, fmt.Sprintf("%s (%s)", strings.TrimSpace(string(name)), filepath.Base(proc)))
		}
	}
	slices.Sort(users)
	return users
}

func uses(proc, dir string) bool {
	below := func(link string) bool {
		target, err := os.Readlink(link)
		return err == nil && (target == dir || strings.HasPrefix(target, dir+"/"))
	}
	if below(filepath.Join(proc, "cwd")) || below(filepath.Join(proc, "root")) || below(filepath.Join(proc, "exe")) {
		return true
	}
	fds, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if below(filepath.Join(proc, "fd", fd.Name())) {
			return true
		}
	}
	maps, err := os.ReadDir(filepath.Join(proc, "map_files"))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(maps, func(m os.DirEntry) bool { return below(filepath.Join(proc, "map_files", m.Name())) })
}

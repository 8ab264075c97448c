package mountpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sharefs/fusefs"
)

// Holders returns one process of each other mount namespace, such as a container's, that has the mount of a device: "name
// (pid)", as far as this process may see them. Such a mount lives on when it is unmounted here.
func Holders(device string) []string {
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return nil
	}
	seen := map[string]bool{own: true}
	var holders []string
	pids, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil // the pattern is good
	}
	for _, proc := range pids {
		space, err := os.Readlink(filepath.Join(proc, "ns", "mnt"))
		if err != nil || seen[space] {
			continue
		}
		mounts, err := fusefs.MountsOf(proc)
		if err != nil {
			continue // it has just ended: another one of its namespace may be there
		}
		seen[space] = true
		if !slices.ContainsFunc(mounts, func(m fusefs.MountEntry) bool { return m.Device == device }) {
			continue
		}
		name, _ := os.ReadFile(filepath.Join(proc, "comm")) // without a name the number tells
		holders = append(holders, fmt.Sprintf("%s (%s)", strings.TrimSpace(string(name)), filepath.Base(proc)))
	}
	slices.Sort(holders)
	return holders
}

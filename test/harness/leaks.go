package harness

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// processInfo is one process, as /proc shows it.
type processInfo struct {
	pid, parent int
	state       byte
	command     string
}

// descendants returns the processes below one, the nearest first.
func descendants(root int) []processInfo {
	all := processes()
	var found []processInfo
	for parents := []int{root}; len(parents) > 0; {
		var next []int
		for _, p := range all {
			if slices.Contains(parents, p.parent) {
				found, next = append(found, p), append(next, p.pid)
			}
		}
		parents = next
	}
	return found
}

func processes() []processInfo {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		panic(err) // the pattern is good
	}
	var all []processInfo
	for _, name := range stats {
		p, err := readProcess(filepath.Dir(name))
		if err == nil { // else it has ended
			all = append(all, p)
		}
	}
	return all
}

// readProcess reads the stat of a directory in /proc, described in proc(5).
func readProcess(dir string) (processInfo, error) {
	var p processInfo
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return p, err
	}
	end := bytes.LastIndexByte(stat, ')') // of the name, which may hold anything
	fields := strings.Fields(string(stat[end+1:]))
	if end < 0 || len(fields) < 2 {
		return p, fmt.Errorf("%s/stat: %q", dir, stat)
	}
	p.state = fields[0][0]
	if p.parent, err = strconv.Atoi(fields[1]); err != nil {
		return p, err
	}
	if p.pid, err = strconv.Atoi(filepath.Base(dir)); err != nil {
		return p, err
	}
	command, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	p.command = strings.ReplaceAll(strings.TrimRight(string(command), "\x00"), "\x00", " ")
	return p, err
}

// mountsBelow returns the mountpoints below a directory, the last one first.
func mountsBelow(dir string) []string {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		panic(err) // no Linux without it
	}
	var found []string
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			found = append(found, fields[4])
		}
	}
	slices.Reverse(found)
	return found
}

// Mounted reports whether something is mounted on the directory.
func Mounted(dir string) bool { return slices.Contains(mountsBelow(filepath.Dir(dir)), dir) }

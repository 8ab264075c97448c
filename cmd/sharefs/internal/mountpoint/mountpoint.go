// Package mountpoint knows which directory is which mount, and who uses it. It never looks into a mount, because a daemon that
// hangs would make it hang too. What is mounted at all is told by fusefs, which also checks whether a directory can be
// mounted on.
package mountpoint

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"sharefs/fusefs"
)

// Top returns the mount that is visible at dir itself, and false when dir is not a mountpoint. The directory must be
// written as the kernel does: absolute, without symlinks; see Resolve.
func Top(dir string) (fusefs.MountEntry, bool, error) {
	all, err := fusefs.Mounts()
	if err != nil {
		return fusefs.MountEntry{}, false, err
	}
	for _, m := range slices.Backward(all) {
		if m.Dir == dir {
			return m, true, nil
		}
	}
	return fusefs.MountEntry{}, false, nil
}

// Resolve returns a directory's name as the kernel writes it in its list of mounts: absolute, without symlinks. A
// directory that is a mountpoint is not touched.
func Resolve(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("the name is empty") // not the working directory, as filepath.Abs has it
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	all, err := fusefs.Mounts()
	if err != nil {
		return "", err
	}
	mounted := map[string]bool{}
	for _, m := range all {
		mounted[m.Dir] = m.Ours()
	}
	if mounted[abs] {
		return abs, nil
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", err
	}
	name := filepath.Join(parent, filepath.Base(abs))
	if mounted[name] {
		return name, nil
	}
	if target, err := os.Readlink(name); err == nil {
		if !filepath.IsAbs(target) {
			target = filepath.Join(parent, target)
		}
		if mounted[target] {
			return target, nil
		}
	}
	return filepath.EvalSymlinks(name)
}

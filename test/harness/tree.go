package harness

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// Type is what a Node is.
type Type string

// The types of nodes.
const (
	Regular   Type = "file"
	Directory Type = "directory"
	Symlink   Type = "symlink"
)

// The bits of a st_mode.
const (
	typeBits       = syscall.S_IFMT
	symlinkBits    = syscall.S_IFLNK
	permissionBits = 0o7777
)

// Node is a file, directory or symlink.
type Node struct {
	Type   Type
	Mode   uint32    // permission bits; 0: not known. Not of symlinks
	Mtime  time.Time // of files; zero: not known
	Size   int64     // of files
	Sum    [32]byte  // of a file's content: see sum
	Target string    // of symlinks
}

// Tree is everything below a directory, by path.
type Tree map[string]Node

func sum(b []byte) [32]byte { return sha256.Sum256(b) }

// ReadTree reads everything below a directory.
func ReadTree(tb testing.TB, dir string) Tree {
	tb.Helper()
	tree := Tree{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		tree[name], err = readNode(path)
		return err
	})
	if err != nil {
		tb.Fatalf("reading the tree of %s: %v", dir, err)
	}
	return tree
}

func readNode(path string) (Node, error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return Node{}, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	n := Node{Mode: st.Mode & permissionBits}
	switch st.Mode & typeBits {
	case syscall.S_IFDIR:
		n.Type = Directory
		return n, nil
	case syscall.S_IFLNK:
		target, err := os.Readlink(path)
		return Node{Type: Symlink, Target: target}, err
	}
	n.Type, n.Mtime = Regular, time.Unix(st.Mtim.Unix())
	f, err := os.Open(path)
	if err != nil {
		return n, err
	}
	defer f.Close()
	hash := sha256.New()
	n.Size, err = io.Copy(hash, f)
	if err == nil && n.Size != st.Size {
		err = fmt.Errorf("%s: stat says %d bytes, reading gives %d", path, st.Size, n.Size)
	}
	hash.Sum(n.Sum[:0])
	return n, err
}

// Aspect is something of which Differences can say that it does not matter.
type Aspect int

// The aspects.
const (
	Times Aspect = iota
	Modes
	DirectoryModes
	EmptyDirectories // that are in only one of the trees
)

// Differences lists where got is not as want, in words. What one of them does not know is no difference.
func Differences(want, got Tree, but ...Aspect) []string {
	var found []string
	for _, path := range slices.Sorted(maps.Keys(union(want, got))) {
		w, wanted := want[path]
		g, there := got[path]
		switch {
		case !there:
			if w.Type != Directory || !slices.Contains(but, EmptyDirectories) {
				found = append(found, fmt.Sprintf("%s: the %s is missing", path, w.Type))
			}
		case !wanted:
			if g.Type != Directory || !slices.Contains(but, EmptyDirectories) {
				found = append(found, fmt.Sprintf("%s: a %s that should not be there", path, g.Type))
			}
		default:
			if text := w.difference(g, but); text != "" {
				found = append(found, path+": "+text)
			}
		}
	}
	return found
}

func union(a, b Tree) Tree {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func (n Node) difference(got Node, but []Aspect) string {
	ignored := func(a Aspect) bool { return slices.Contains(but, a) }
	switch {
	case n.Type != got.Type:
		return fmt.Sprintf("a %s instead of a %s", got.Type, n.Type)
	case n.Target != got.Target:
		return fmt.Sprintf("target %q instead of %q", got.Target, n.Target)
	case n.Size != got.Size:
		return fmt.Sprintf("%d bytes instead of %d", got.Size, n.Size)
	case n.Sum != got.Sum:
		return fmt.Sprintf("other content of the same %d bytes", n.Size)
	case n.Mode != got.Mode && n.Mode != 0 && got.Mode != 0 && !ignored(Modes) && (n.Type != Directory || !ignored(DirectoryModes)):
		return fmt.Sprintf("mode %04o instead of %04o", got.Mode, n.Mode)
	case !n.Mtime.Equal(got.Mtime) && !n.Mtime.IsZero() && !got.Mtime.IsZero() && !ignored(Times):
		return fmt.Sprintf("mtime %v instead of %v", got.Mtime.UTC(), n.Mtime.UTC())
	}
	return ""
}

// MustEqual fails the test where got is not as want.
func MustEqual(tb testing.TB, what string, want, got Tree, but ...Aspect) {
	tb.Helper()
	found := Differences(want, got, but...)
	for i, text := range found {
		if i == 20 {
			tb.Errorf("%s: and %d more", what, len(found)-i)
			break
		}
		tb.Errorf("%s: %s", what, text)
	}
	if len(found) > 0 {
		tb.FailNow()
	}
}

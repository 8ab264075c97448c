package catalog

import (
	"errors"
	"fmt"
	"strings"

	"sharefs/provider/keycodec"
)

// RootIno is the inode number of the root.
const RootIno = 1

// Key returns the key under which an inode is to be stored, as its name and those of its parents say: for a directory
// with a trailing slash, for the root "". ErrNotFound when it, or a directory above it, has no name any more.
func (tx *Tx) Key(n *Inode) (string, error) {
	if n.Ino == RootIno {
		return "", nil
	}
	var parts []string
	for at := n; at.Ino != RootIno; {
		if at.Parent == 0 {
			return "", ErrNotFound
		}
		parts = append(parts, keycodec.Encode(at.Name))
		if len(parts) > 1<<16 {
			return "", fmt.Errorf("catalog: inode %d lies below itself", n.Ino)
		}
		up, err := tx.Get(at.Parent)
		if err != nil {
			return "", err
		}
		at = up
	}
	var b strings.Builder
	for i := len(parts) - 1; i >= 0; i-- {
		b.WriteString(parts[i])
		if i > 0 || n.IsDir() {
			b.WriteByte('/')
		}
	}
	return b.String(), nil
}

// Path returns the names from the root to the inode, joined by slashes: what a person calls it. For an inode without a
// name it returns its number.
func (tx *Tx) Path(n *Inode) string {
	var parts []string
	for at := n; at.Ino != RootIno; {
		if at.Parent == 0 || len(parts) > 1<<16 {
			return fmt.Sprintf("(unlinked inode %d)", n.Ino)
		}
		parts = append(parts, at.Name)
		up, err := tx.Get(at.Parent)
		if err != nil {
			return fmt.Sprintf("(inode %d)", n.Ino)
		}
		at = up
	}
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return "/" + strings.Join(parts, "/")
}

// Resolve returns the inode that is to be stored under the key, if one is known: a directory for a key that ends in "/".
func (tx *Tx) Resolve(key string) (*Inode, error) {
	n, err := tx.Get(RootIno)
	if err != nil || key == "" {
		return n, err
	}
	path := strings.TrimSuffix(key, "/")
	for part := range strings.SplitSeq(path, "/") {
		if !keycodec.Valid(part) {
			return nil, ErrNotFound // no name has such a key
		}
		if n, err = tx.Child(n.Ino, keycodec.Decode(part)); err != nil {
			return nil, err
		}
	}
	if n.IsDir() != strings.HasSuffix(key, "/") {
		return nil, ErrNotFound
	}
	return n, nil
}

// ParentOf returns the directory that a key lies in, if it is known.
func (tx *Tx) ParentOf(key string) (*Inode, error) {
	path := strings.TrimSuffix(key, "/")
	i := strings.LastIndexByte(path, '/')
	return tx.Resolve(path[:i+1])
}

// IsNotFound reports whether err says that a row does not exist.
func IsNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

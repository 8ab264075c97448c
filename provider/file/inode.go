package file

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"sharefs/provider"
)

// inode is an inode that is held, so that its number is not used again, without being read.
type inode struct {
	fd
	kind kind
}

// kind is what an inode is to the store.
type kind uint8

const (
	regular kind = iota
	directory
	symlink
	foreign // a device, a pipe, a socket: no object
)

func kindOfMode(mode uint32) kind {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return regular
	case unix.S_IFDIR:
		return directory
	case unix.S_IFLNK:
		return symlink
	}
	return foreign
}

// lookup returns the inode of a key's object; the caller closes it. ENOENT and what else is missing: there is none.
func (s *Store) lookup(key string) (inode, error) {
	if reserved(key) {
		return inode{}, unix.ENOENT
	}
	dir, name, isDir := split(key)
	in, err := s.inodeAt(joined(dir, name))
	if err != nil {
		return inode{}, err
	}
	hidden := in.kind == foreign || isDir != (in.kind == directory)
	if !hidden && key == provider.Reserved {
		hidden, err = s.onlyOwn(in.fd)
	}
	if hidden || err != nil {
		in.close()
		return inode{}, orNotExist(err)
	}
	return in, nil
}

// inodeAt returns what has the name below the root, whatever it is.
func (s *Store) inodeAt(name string) (inode, error) {
	f, err := s.openAt(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return inode{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f), &st); err != nil {
		f.close()
		return inode{}, err
	}
	return inode{f, kindOfMode(st.Mode)}, nil
}

// onlyOwn reports whether the directory of the store's own holds nothing else: then it is not shown.
func (s *Store) onlyOwn(f fd) (bool, error) {
	entries, err := readDir(f)
	for _, e := range entries {
		if !reserved(ownDir + "/" + e.Name()) {
			return false, err
		}
	}
	return true, err
}

func orNotExist(err error) error {
	if err == nil {
		return unix.ENOENT
	}
	return err
}

func joined(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// describe returns the object that an inode is, with attributes that belong together.
func (s *Store) describe(key string, in inode) (provider.Object, error) {
	s.attributes.RLock()
	defer s.attributes.RUnlock()
	for try := 0; ; try++ {
		o, st, err := s.describeOnce(key, in)
		if err != nil {
			return o, err
		}
		var again unix.Stat_t
		if err := unix.Fstat(int(in.fd), &again); err != nil {
			return o, err
		}
		if again.Ctim == st.Ctim || try == 10 { // it changes all the time: every answer is as good
			return o, nil
		}
	}
}

func (s *Store) describeOnce(key string, in inode) (provider.Object, unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(in.fd), &st); err != nil {
		return provider.Object{}, st, err
	}
	target, err := in.target()
	if err != nil {
		return provider.Object{}, st, err
	}
	rec, real, err := s.readRecord(in, st, target)
	if err != nil {
		return provider.Object{}, st, err
	}
	o := provider.Object{Key: key, ModTime: time.Unix(st.Ctim.Unix()), Metadata: rec.metadata(st, real)}
	id := fmt.Sprintf("%x-%x.%x-%x-%s", st.Ino, st.Ctim.Sec, st.Ctim.Nsec, st.Size, rec.ID)
	o.Revision = provider.Revision(id)
	switch in.kind {
	case directory:
		o.Version = "directory" // it has no bytes
	case symlink:
		o.Size = st.Size
		sum := sha256.Sum256([]byte(target))
		o.Version = provider.Version(hex.EncodeToString(sum[:16]))
	default:
		o.Size = st.Size
		o.Version = provider.Version(id)
	}
	return o, st, nil
}

// target returns what a symlink points to, "" for anything else.
func (in inode) target() (string, error) {
	if in.kind != symlink {
		return "", nil
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(in.fd), "", buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

package file

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sharefs/provider"
)

// apply sets the attributes that metadata asks for on an inode, and writes its record. What metadata does not name
// stays as it is. At the end no other attribute than the change time may change without a new record.
func (s *Store) apply(in inode, md provider.Metadata) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(in.fd), &st); err != nil {
		return err
	}
	attrs := provider.ParseAttrs(md)
	if err := applyOwner(in, st, attrs); err != nil {
		return err
	}
	if err := applyMode(in, attrs); err != nil {
		return err
	}
	real, err := s.applyXattrs(in, attrs)
	if err != nil {
		return err
	}
	if err := applyTimes(in, attrs); err != nil {
		return err
	}
	if err := unix.Fstat(int(in.fd), &st); err != nil {
		return err
	}
	return s.writeRecord(in, st, md, real)
}

func (s *Store) writeRecord(in inode, st unix.Stat_t, md provider.Metadata, real map[string][]byte) error {
	target, err := in.target()
	if err != nil {
		return err
	}
	r := newRecord(md, st, real, target, rand.Text()[:13])
	if in.kind == symlink {
		return s.writeLinkRecord(st, r)
	}
	return s.attrError(unix.Setxattr(in.path(), recordAttr, r.encode(), 0))
}

// applyOwner changes owner and group where they differ. Where this process may not, the record alone has them.
func applyOwner(in inode, st unix.Stat_t, attrs provider.Attrs) error {
	uid, gid := st.Uid, st.Gid
	if attrs.Has&provider.HasUID != 0 {
		uid = attrs.UID
	}
	if attrs.Has&provider.HasGID != 0 {
		gid = attrs.GID
	}
	if uid == st.Uid && gid == st.Gid {
		return nil
	}
	err := unix.Fchownat(int(in.fd), "", int(uid), int(gid), unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) { // EINVAL: not in this user namespace
		return nil
	}
	return err
}

// applyMode changes the permissions, after the owner, whose change clears some. A process that is not root leaves
// itself those that the store needs.
func applyMode(in inode, attrs provider.Attrs) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(in.fd), &st); err != nil {
		return err
	}
	if in.kind == symlink || attrs.Has&provider.HasMode == 0 {
		return nil
	}
	mode := attrs.Mode & 0o7777
	if euid := uint32(os.Geteuid()); euid != 0 && st.Uid == euid {
		if mode |= 0o600; in.kind == directory {
			mode |= 0o100
		}
	}
	if mode == st.Mode&0o7777 {
		return nil
	}
	return unix.Chmod(in.path(), mode)
}

// applyXattrs makes the user.* attributes those that are asked for, and returns what there is then.
func (s *Store) applyXattrs(in inode, attrs provider.Attrs) (map[string][]byte, error) {
	if in.kind == symlink {
		return nil, nil // it can have none
	}
	have, err := userXattrs(in.path())
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(have, func(name string, _ []byte) bool { return strings.HasPrefix(name, ownAttrs) })
	want := map[string][]byte{}
	for name, value := range attrs.Xattrs {
		if strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, ownAttrs) {
			want[name] = value
		}
	}
	for name := range have {
		if _, keep := want[name]; !keep {
			if err := unix.Removexattr(in.path(), name); err != nil && err != unix.ENODATA {
				return nil, err
			}
		}
	}
	for name, value := range want {
		if err := unix.Setxattr(in.path(), name, value, 0); err != nil {
			return nil, s.attrError(err)
		}
	}
	return want, nil
}

// errMetadataSize is the cause when a value does not fit beside a file.
var errMetadataSize = errors.New("the file system cannot keep so much metadata with a file")

// attrError tells a value that does not fit, which file systems call ENOSPC too, from a full disk.
func (s *Store) attrError(err error) error {
	var fs unix.Statfs_t
	switch {
	case err == unix.ENOSPC && unix.Fstatfs(int(s.root), &fs) == nil && fs.Bavail == 0:
	case err == unix.ENOSPC, err == unix.ERANGE, err == unix.E2BIG:
		return fmt.Errorf("%w: %w", errMetadataSize, err)
	}
	return err
}

func applyTimes(in inode, attrs provider.Attrs) error {
	omit := unix.Timespec{Nsec: unix.UTIME_OMIT}
	times := []unix.Timespec{omit, omit}
	if attrs.Has&provider.HasAtime != 0 {
		times[0] = timespec(attrs.Atime)
	}
	if attrs.Has&provider.HasMtime != 0 {
		times[1] = timespec(attrs.Mtime)
	}
	if times[0] == omit && times[1] == omit {
		return nil
	}
	return unix.UtimesNanoAt(int(in.fd), "", times, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW)
}

func timespec(t time.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

package file

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sharefs/provider"
)

const (
	ownAttrs   = "user.sharefs."
	recordAttr = ownAttrs + "metadata"
)

// record is what is kept beside an inode's own attributes: the metadata as they were given, and what became of them,
// so that changes by other programs are seen. Its JSON form is the format of user.sharefs.metadata and of the files in
// .sharefs/links.
type record struct {
	ID    string            `json:"id"`    // another one with every Put and every change of metadata
	Given provider.Metadata `json:"given"` // xattr is left out where the inode's attributes say the same
	Is    applied           `json:"is"`
	Link  string            `json:"link,omitempty"` // the target, of a symlink
}

// applied is the state of an inode after metadata was applied to it.
type applied struct {
	Mode   uint32 `json:"mode"` // permission bits
	UID    uint32 `json:"uid"`
	GID    uint32 `json:"gid"`
	Size   int64  `json:"size"` // 0 for a directory
	Mtime  string `json:"mtime"`
	Xattrs string `json:"xattrs,omitempty"` // a hash of the user.* attributes; empty: there are none
}

func appliedTo(st unix.Stat_t, real map[string][]byte) applied {
	a := applied{Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Size: st.Size,
		Mtime: fmt.Sprintf("%d.%09d", st.Mtim.Sec, st.Mtim.Nsec), Xattrs: hashXattrs(real)}
	if kindOfMode(st.Mode) == directory {
		a.Size = 0
	}
	return a
}

// sameBytes reports whether the file is as it was stored. A directory's times and sizes change with its entries.
func (a applied) sameBytes(now applied, k kind) bool {
	return k == directory || a.Size == now.Size && a.Mtime == now.Mtime
}

// metadata returns what is told of an inode with this record: as it was given, except for what was changed since.
func (r record) metadata(st unix.Stat_t, real map[string][]byte) provider.Metadata {
	now := appliedTo(st, real)
	fromInode := inodeAttrs(st, real)
	if r.ID == "" || !r.Is.sameBytes(now, kindOfMode(st.Mode)) {
		return fromInode.Metadata()
	}
	md := make(provider.Metadata, len(r.Given))
	maps.Copy(md, r.Given)
	for name, same := range map[string]bool{
		provider.MetaMode:  r.Is.Mode == now.Mode,
		provider.MetaUID:   r.Is.UID == now.UID,
		provider.MetaGID:   r.Is.GID == now.GID,
		provider.MetaMtime: r.Is.Mtime == now.Mtime,
		provider.MetaXattr: r.Is.Xattrs == now.Xattrs && md[provider.MetaXattr] != "",
	} {
		if same {
			continue
		}
		delete(md, name)
		if value, ok := fromInode.Metadata()[name]; ok {
			md[name] = value
		}
	}
	return md
}

// inodeAttrs is the metadata of an inode that another program made.
func inodeAttrs(st unix.Stat_t, real map[string][]byte) provider.Attrs {
	return provider.Attrs{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Mtime: time.Unix(st.Mtim.Unix()), Xattrs: real,
		Has: provider.HasMode | provider.HasUID | provider.HasGID | provider.HasMtime | provider.HasXattrs}
}

// newRecord makes the record of an inode to which metadata was just applied.
func newRecord(given provider.Metadata, st unix.Stat_t, real map[string][]byte, target, id string) record {
	r := record{ID: id, Given: maps.Clone(given), Is: appliedTo(st, real), Link: target}
	canonical := provider.Attrs{Xattrs: real, Has: provider.HasXattrs}.Metadata()[provider.MetaXattr]
	if canonical != "" && r.Given[provider.MetaXattr] == canonical {
		delete(r.Given, provider.MetaXattr)
	}
	return r
}

func (r record) encode() []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		panic(err) // strings and numbers only: cannot fail
	}
	return bytes.TrimSpace(buf.Bytes())
}

// readRecord returns the record of an inode and its real user.* attributes. Without a record that belongs to it, and
// where this process may not read it, the record is empty: everything is then told from the inode.
func (s *Store) readRecord(in inode, st unix.Stat_t, target string) (record, map[string][]byte, error) {
	if in.kind == symlink {
		r, err := s.readLinkRecord(st)
		if r.Link != target || r.Is.UID != st.Uid || r.Is.GID != st.Gid {
			r = record{}
		}
		return r, nil, err
	}
	var r record
	all, err := userXattrs(in.path())
	if err != nil {
		return r, nil, err
	}
	if raw := all[recordAttr]; raw != nil {
		if err := json.Unmarshal(raw, &r); err != nil {
			s.log.Warn("a file's "+recordAttr+" cannot be read and is ignored", "store", s.String(), "error", err)
			r = record{}
		}
	}
	maps.DeleteFunc(all, func(name string, _ []byte) bool { return strings.HasPrefix(name, ownAttrs) })
	return r, all, nil
}

// userXattrs returns the user.* attributes. An inode that may not be read, and a file system that has none, has none.
func userXattrs(path string) (map[string][]byte, error) {
	names, err := readAttr(func(buf []byte) (int, error) { return unix.Listxattr(path, buf) })
	if err != nil || len(names) == 0 {
		return nil, err
	}
	x := map[string][]byte{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if !strings.HasPrefix(name, "user.") {
			continue
		}
		value, err := readAttr(func(buf []byte) (int, error) { return unix.Getxattr(path, name, buf) })
		if err != nil {
			return nil, err
		}
		if value != nil {
			x[name] = value
		}
	}
	return x, nil
}

// readAttr reads a value of unknown length. nil: there is none, or none for this process.
func readAttr(read func(buf []byte) (int, error)) ([]byte, error) {
	for size := 4096; ; size = 1 << 16 {
		buf := make([]byte, size)
		n, err := read(buf)
		switch {
		case err == nil:
			return buf[:n], nil
		case err == unix.ERANGE && size < 1<<16:
		case err == unix.ENODATA, err == unix.ENOTSUP, err == unix.EACCES, err == unix.EPERM:
			return nil, nil
		default:
			return nil, err
		}
	}
}

func hashXattrs(x map[string][]byte) string {
	if len(x) == 0 {
		return ""
	}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(x)) {
		fmt.Fprintf(h, "%d %s %d %s ", len(name), name, len(x[name]), x[name])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// linkRecordName names the file that holds the record of the symlink with the inode number.
func linkRecordName(st unix.Stat_t) string { return fmt.Sprintf("%x", st.Ino) }

func (s *Store) readLinkRecord(st unix.Stat_t) (record, error) {
	f, err := s.openAt(linksDir+"/"+linkRecordName(st), unix.O_RDONLY)
	if missing(err) {
		return record{}, nil
	}
	if err != nil {
		return record{}, err
	}
	file := os.NewFile(uintptr(f), "")
	defer func() { _ = file.Close() }()
	var r record
	if err := json.NewDecoder(file).Decode(&r); err != nil {
		s.log.Warn("the record of a symlink cannot be read and is ignored", "store", s.String(), "file", linksDir+"/"+linkRecordName(st), "error", err)
		return record{}, nil
	}
	return r, nil
}

// writeLinkRecord stores the record of the symlink with the inode number.
func (s *Store) writeLinkRecord(st unix.Stat_t, r record) error {
	dir, err := s.makeDir(linksDir)
	if err != nil {
		return err
	}
	defer dir.close()
	f, name, err := s.scratch.create()
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	defer s.scratch.remove(name)
	if _, err := f.Write(r.encode()); err != nil {
		return err
	}
	if s.sync {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := unix.Renameat(int(s.scratch.dir), name, int(dir), linkRecordName(st)); err != nil {
		return err
	}
	return s.syncDir(dir)
}

// dropLinkRecord removes the record of a symlink that is gone. It is held open, so that no new one has its number yet.
func (s *Store) dropLinkRecord(in inode) {
	var st unix.Stat_t
	if unix.Fstat(int(in.fd), &st) == nil && st.Nlink == 0 {
		_ = unix.Unlinkat(int(s.root), linksDir+"/"+linkRecordName(st), 0) // one that stays belongs to no symlink
	}
}

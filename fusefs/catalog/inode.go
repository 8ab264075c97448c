package catalog

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"sharefs/provider"
)

// Inode is one row: a file, directory or symlink.
type Inode struct {
	Ino    uint64
	Parent uint64 // 0: the root, or unlinked
	Name   string

	// Desired: what the mount shows.
	Mode                uint32
	UID, GID            uint32
	Size                int64 // bytes
	Atime, Mtime, Ctime time.Time
	Xattrs              map[string][]byte // names are UTF-8
	Target              string            // of a symlink; empty while not known
	Foreign             provider.Metadata // metadata of the stored object that is none of ours, kept when it is replaced
	ContentType         string            // of the stored object, likewise
	Known               bool              // mode, owner, times and xattrs are known, not only what a LIST tells
	Complete            bool              // of a directory: all its children are rows

	// Where the content is.
	Content    uint64    // content id of what is stored, in the read cache
	Stage      uint64    // id of the staged file, when the content is not stored yet; else 0
	StageMtime time.Time // the staged file's own mtime when the row was written: another one means later writes
	Synced     bool      // what the staged file holds, a version that a close or an fsync left behind, is durable

	// Stored: what the store has for it.
	Key      string // empty: nothing
	Version  provider.Version
	Revision provider.Revision
	StoredSz int64

	// A request that was sent and whose fate is not known: the store may have an object of ours at PutKey, with PutTag as
	// its sharefs-put.
	PutKey string
	PutTag string

	// What is pending.
	MetaDirty bool      // the stored metadata is not the desired one
	Dirty     time.Time // since when something is to be stored (or to be looked at); zero: nothing
}

// IsDir reports whether it is a directory.
func (n *Inode) IsDir() bool { return n.Mode&provider.ModeType == provider.ModeDir }

// IsFile reports whether it is a regular file.
func (n *Inode) IsFile() bool { return n.Mode&provider.ModeType == provider.ModeFile }

// IsSymlink reports whether it is a symlink.
func (n *Inode) IsSymlink() bool { return n.Mode&provider.ModeType == provider.ModeSymlink }

// The columns that indexes are made of, and the others.
const (
	indexed = "parent, name, dirty, skey, put_key"
	others  = `mode, uid, gid, size, atime, mtime, ctime, xattrs, target, known, complete, content, stage, stage_mtime, synced, meta,
		sversion, srevision, ssize, foreign_meta, content_type, put_tag`
	columns = "ino, " + indexed + ", " + others
)

var (
	insertRow   = "INSERT INTO inode (" + columns + ") VALUES (?" + strings.Repeat(",?", strings.Count(columns, ",")) + ")"
	updateRow   = "UPDATE inode SET " + assign(indexed+", "+others) + " WHERE ino = ?"
	updatePlain = "UPDATE inode SET " + assign(others) + " WHERE ino = ?"
)

// assign makes "a = ?, b = ?" of "a, b".
func assign(columns string) string {
	return strings.ReplaceAll(columns, ",", " = ?,") + " = ?"
}

func scanInode(row scanner) (*Inode, error) {
	var n Inode
	var name, xattrs, foreign []byte
	var atime, mtime, ctime, stageMtime, dirty int64
	var version, revision string
	err := row.Scan(&n.Ino, &n.Parent, &name, &dirty, &n.Key, &n.PutKey, &n.Mode, &n.UID, &n.GID, &n.Size, &atime, &mtime, &ctime,
		&xattrs, &n.Target, &n.Known, &n.Complete, &n.Content, &n.Stage, &stageMtime, &n.Synced, &n.MetaDirty, &version, &revision,
		&n.StoredSz, &foreign, &n.ContentType, &n.PutTag)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	n.Name, n.Version, n.Revision = string(name), provider.Version(version), provider.Revision(revision)
	n.Atime, n.Mtime, n.Ctime = time.Unix(0, atime), time.Unix(0, mtime), time.Unix(0, ctime)
	n.StageMtime, n.Dirty = fromNano(stageMtime), fromNano(dirty)
	if len(xattrs) > 0 {
		if err := json.Unmarshal(xattrs, &n.Xattrs); err != nil {
			return nil, fmt.Errorf("inode %d: xattrs: %w", n.Ino, err)
		}
	}
	if len(foreign) > 0 {
		if err := json.Unmarshal(foreign, &n.Foreign); err != nil {
			return nil, fmt.Errorf("inode %d: metadata: %w", n.Ino, err)
		}
	}
	return &n, nil
}

// fromNano and toNano keep the zero time as 0.
func fromNano(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

func toNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return nano(t)
}

// nano returns nanoseconds since 1970, for a time before 1677 or after 2262 those of the first or last that there are.
func nano(t time.Time) int64 {
	switch sec := t.Unix(); {
	case sec <= math.MinInt64/int64(time.Second):
		return math.MinInt64
	case sec >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// Get returns an inode.
func (tx *Tx) Get(ino uint64) (*Inode, error) {
	return tx.one("SELECT "+columns+" FROM inode WHERE ino = ?", int64(ino))
}

// Child returns the inode of a name.
func (tx *Tx) Child(parent uint64, name string) (*Inode, error) {
	return tx.one("SELECT "+columns+" FROM inode WHERE parent = ? AND name = ? AND parent > 0", int64(parent), []byte(name))
}

// Children returns at most limit children of a directory with inode numbers greater than after, by number.
func (tx *Tx) Children(parent, after uint64, limit int) ([]*Inode, error) {
	return tx.many("SELECT "+columns+" FROM inode WHERE parent = ? AND ino > ? AND parent > 0 ORDER BY ino LIMIT ?",
		int64(parent), int64(after), limit)
}

// Clean returns at most limit named inodes with numbers greater than after of which something is stored and nothing is
// pending, by number.
func (tx *Tx) Clean(after uint64, limit int) ([]*Inode, error) {
	return tx.many("SELECT "+columns+` FROM inode WHERE ino > ? AND parent > 0 AND skey <> '' AND dirty = 0 AND put_key = ''
		ORDER BY ino LIMIT ?`, int64(after), limit)
}

// HasChildren reports whether a directory has known children.
func (tx *Tx) HasChildren(parent uint64) (bool, error) {
	return tx.exists("SELECT 1 FROM inode WHERE parent = ? AND parent > 0 LIMIT 1", int64(parent))
}

// HasStoredChildren reports whether something is stored for a child of the directory.
func (tx *Tx) HasStoredChildren(parent uint64) (bool, error) {
	return tx.exists("SELECT 1 FROM inode WHERE parent = ? AND parent > 0 AND skey <> '' LIMIT 1", int64(parent))
}

const below = `WITH RECURSIVE below(ino) AS (
	SELECT ino FROM inode WHERE parent = ? AND parent > 0
	UNION ALL SELECT inode.ino FROM inode JOIN below ON inode.parent = below.ino AND inode.parent > 0) `

// Below returns everything below a directory, in no order.
func (tx *Tx) Below(ino uint64) ([]*Inode, error) {
	return tx.many(below+"SELECT "+columns+" FROM inode WHERE ino IN below", int64(ino))
}

// IncompleteBelow returns the directories at and below ino whose children are not all known.
func (tx *Tx) IncompleteBelow(ino uint64) ([]*Inode, error) {
	return tx.many(below+"SELECT "+columns+` FROM inode WHERE (ino IN below OR ino = ?)
		AND mode & 61440 = 16384 AND complete = 0`, int64(ino), int64(ino))
}

// DirtyIn returns what waits to be stored of a directory: itself and its children.
func (tx *Tx) DirtyIn(ino uint64) ([]*Inode, error) {
	return tx.many("SELECT "+columns+" FROM inode WHERE ino = ? AND dirty > 0 UNION ALL SELECT "+columns+
		" FROM inode INDEXED BY inode_dirty WHERE parent = ? AND parent > 0 AND dirty > 0", int64(ino), int64(ino))
}

// Dirty returns every inode that waits to be stored.
func (tx *Tx) Dirty() ([]*Inode, error) {
	return tx.many("SELECT " + columns + " FROM inode WHERE dirty > 0")
}

// Staged returns every inode with a staged file.
func (tx *Tx) Staged() ([]*Inode, error) {
	return tx.many("SELECT " + columns + " FROM inode WHERE stage > 0")
}

// Unlinked returns the inodes without a name, the root not among them.
func (tx *Tx) Unlinked() ([]*Inode, error) {
	return tx.many("SELECT " + columns + " FROM inode WHERE parent = 0 AND ino <> 1")
}

// AttrsUnknown returns at most limit children of a directory whose attributes are not known, with numbers from from on.
func (tx *Tx) AttrsUnknown(parent, from uint64, limit int) ([]*Inode, error) {
	return tx.many("SELECT "+columns+" FROM inode WHERE parent = ? AND ino >= ? AND parent > 0 AND known = 0 ORDER BY ino LIMIT ?",
		int64(parent), int64(from), limit)
}

// StoredAt returns the inodes whose stored object has the key: at most one that is named, and unlinked ones.
func (tx *Tx) StoredAt(key string) ([]*Inode, error) {
	return tx.many("SELECT "+columns+" FROM inode WHERE skey = ? AND skey <> ''", key)
}

// StoredBelow returns at most limit inodes whose stored object's key lies below the key (key/...).
func (tx *Tx) StoredBelow(key string, limit int) ([]*Inode, error) {
	return tx.many("SELECT "+columns+" FROM inode WHERE skey >= ? AND skey < ? AND skey <> '' LIMIT ?", key+"/", key+"0", limit)
}

// SentAt returns the inodes with a request for the key whose fate is not known, and SentBelow at most limit of those with
// one for a key below it (key/...).
func (tx *Tx) SentAt(key string) ([]*Inode, error) {
	return tx.many("SELECT "+columns+" FROM inode WHERE put_key = ? AND put_key <> ''", key)
}

// SentBelow is described at SentAt.
func (tx *Tx) SentBelow(key string, limit int) ([]*Inode, error) {
	return tx.many("SELECT "+columns+" FROM inode WHERE put_key >= ? AND put_key < ? AND put_key <> '' LIMIT ?", key+"/", key+"0", limit)
}

// Put writes an inode, new or changed. For a new one Ino comes from NewIno.
func (tx *Tx) Put(n *Inode) error {
	old, err := tx.Get(n.Ino)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	tx.count(old, -1)
	tx.count(n, 1)
	tx.countName(n.Ino, n.Parent != 0)
	var xattrs, foreign []byte
	if len(n.Xattrs) > 0 {
		if xattrs, err = json.Marshal(n.Xattrs); err != nil {
			return err
		}
	}
	if len(n.Foreign) > 0 {
		if foreign, err = json.Marshal(n.Foreign); err != nil {
			return err
		}
	}
	named := []any{int64(n.Parent), []byte(n.Name), toNano(n.Dirty), n.Key, n.PutKey}
	plain := []any{n.Mode, n.UID, n.GID, n.Size, nano(n.Atime), nano(n.Mtime), nano(n.Ctime), xattrs, n.Target, n.Known,
		n.Complete, int64(n.Content), int64(n.Stage), toNano(n.StageMtime), n.Synced, n.MetaDirty, string(n.Version), string(n.Revision),
		n.StoredSz, foreign, n.ContentType, n.PutTag}
	switch {
	case old == nil:
		return tx.exec(insertRow, append(append([]any{int64(n.Ino)}, named...), plain...)...)
	case old.Parent == n.Parent && old.Name == n.Name && old.Dirty.Equal(n.Dirty) && old.Key == n.Key && old.PutKey == n.PutKey:
		return tx.exec(updatePlain, append(plain, int64(n.Ino))...) // no index has to be written
	}
	return tx.exec(updateRow, append(append(named, plain...), int64(n.Ino))...)
}

// Delete removes an inode's row.
func (tx *Tx) Delete(ino uint64) error {
	old, err := tx.Get(ino)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	tx.count(old, -1)
	tx.countName(ino, false)
	return tx.exec("DELETE FROM inode WHERE ino = ?", int64(ino))
}

// DoubtAll makes every directory incomplete.
func (tx *Tx) DoubtAll() error {
	tx.usage.Unlisted = tx.usage.Dirs + 1 // and the root
	return tx.exec("UPDATE inode SET complete = 0 WHERE complete <> 0")
}

// Summary is how much is pending.
type Summary struct {
	Items  int // dirty inodes and doomed objects
	Bytes  int64
	Oldest time.Time // zero: nothing is pending
}

// PendingSummary counts what is pending.
func (tx *Tx) PendingSummary() (Summary, error) {
	s, err := tx.c.stmt(`SELECT count(*), coalesce(sum(bytes), 0), coalesce(min(since), 0) FROM (
		SELECT CASE WHEN stage > 0 THEN size ELSE 0 END AS bytes, dirty AS since FROM inode WHERE dirty > 0
		UNION ALL SELECT 0, since FROM doomed)`)
	if err != nil {
		return Summary{}, err
	}
	var sum Summary
	var oldest int64
	if err := s.QueryRow().Scan(&sum.Items, &sum.Bytes, &oldest); err != nil {
		return Summary{}, err
	}
	sum.Oldest = fromNano(oldest)
	return sum, nil
}

// MarkBelow marks as dirty everything below a directory that has an object, or all there is, and returns what it marked:
// its keys have changed with the directory's.
func (tx *Tx) MarkBelow(ino uint64, all bool, since time.Time) ([]uint64, error) {
	s, err := tx.c.stmt(below + "UPDATE inode SET dirty = CASE dirty WHEN 0 THEN ? ELSE dirty END WHERE ino IN below AND (? OR skey <> '') RETURNING ino")
	if err != nil {
		return nil, err
	}
	rows, err := s.Query(int64(ino), since.UnixNano(), all)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []uint64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		list = append(list, uint64(n))
	}
	return list, rows.Err()
}

// MarkUnstored marks as dirty every file and symlink that nothing is stored for: those that a path rule kept from the store
// may not be kept from it any more.
func (tx *Tx) MarkUnstored(since time.Time) error {
	return tx.exec(`UPDATE inode SET dirty = ? WHERE parent > 0 AND dirty = 0 AND skey = ''
		AND (stage > 0 OR mode & 61440 = 40960)`, since.UnixNano())
}

// LongestKeyBelow returns the length of the longest key that something below a directory is stored under; 0 when
// nothing is.
func (tx *Tx) LongestKeyBelow(ino uint64) (int, error) {
	s, err := tx.c.stmt(below + "SELECT coalesce(max(length(CAST(skey AS BLOB))), 0) FROM inode WHERE ino IN below")
	if err != nil {
		return 0, err
	}
	var n int
	err = s.QueryRow(int64(ino)).Scan(&n)
	return n, err
}

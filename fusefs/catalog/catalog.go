// Package catalog keeps what a mount knows about its store and what of it is still to be stored, in one SQLite file.
//
// A row of inode is one file, directory or symlink: its name, its desired content and attributes, and what is stored for
// it. A row of doomed is an object in the store that no file wants any more. Together they are the whole state of a
// mount: what has to be done to the store is derived from them (package commit), before and after a crash alike.
//
// Every Update is one transaction, exclusive and atomic: it survives a killed process when it has returned (write-ahead
// log, synchronous=NORMAL), and a power loss once Sync has returned. The catalog never touches the network or file
// contents. It is not a cache: what is in it is believed.
package catalog

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"

	"sharefs/fusefs/failpoint"
)

// Format is the version of the schema. An older one is migrated, a newer one refused.
const Format = 1

// ErrNotFound is returned for a row that does not exist.
var ErrNotFound = errors.New("catalog: no such row")

// Catalog is an open catalog. It is safe for concurrent use: Update and View exclude each other.
type Catalog struct {
	path string
	id   string
	log  *os.File // the write-ahead log, for syncer

	syncer    syncer
	committed atomic.Uint64 // transactions since it was opened, and one for what was there before
	seq       atomic.Uint64 // see Seq

	mu       sync.Mutex // held for every View and Update; nothing that waits for anything else happens under it
	db       *sql.DB
	conn     *sql.Conn
	stmts    map[string]*sql.Stmt
	nextIno  uint64
	nextID   uint64 // of contents and staged files
	inoLimit uint64 // reserved in the file up to here
	idLimit  uint64
	usage    Usage
	reserve  roomReserve
	err      error // a failed commit or rollback: the connection's state is unknown, nothing more is accepted
}

// Usage is what the catalog counts, of named files, symlinks and directories.
type Usage struct {
	Files, Dirs int64
	Bytes       int64 // of file contents, each at its length
}

// FirstIno is the lowest inode number but the root's: lower ones are left for offsets of "." and "..".
const FirstIno = 16

// reserve is how many numbers are reserved in the file at a time; a crash skips at most so many.
const reserve = 4096

const schema = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE inode (
	ino INTEGER PRIMARY KEY,
	parent INTEGER NOT NULL, -- 0: no name (the root, and what is unlinked but still in use)
	name BLOB NOT NULL,
	mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
	size INTEGER NOT NULL,
	atime INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, -- ns since 1970
	xattrs BLOB, target TEXT NOT NULL,
	known INTEGER NOT NULL, complete INTEGER NOT NULL,
	content INTEGER NOT NULL, stage INTEGER NOT NULL, stage_mtime INTEGER NOT NULL,
	synced INTEGER NOT NULL, -- the staged file is durable as it is
	meta INTEGER NOT NULL, dirty INTEGER NOT NULL,
	skey TEXT NOT NULL, sversion TEXT NOT NULL, srevision TEXT NOT NULL, ssize INTEGER NOT NULL,
	foreign_meta BLOB, content_type TEXT NOT NULL,
	put_key TEXT NOT NULL, put_tag TEXT NOT NULL
);
CREATE UNIQUE INDEX inode_name ON inode (parent, name) WHERE parent > 0;
CREATE INDEX inode_order ON inode (parent, ino) WHERE parent > 0;
CREATE INDEX inode_dirty ON inode (parent) WHERE dirty > 0;
CREATE INDEX inode_unknown ON inode (parent, ino) WHERE known = 0;
CREATE INDEX inode_skey ON inode (skey) WHERE skey <> '';
CREATE INDEX inode_put_key ON inode (put_key) WHERE put_key <> '';
CREATE TABLE doomed (key TEXT PRIMARY KEY, version TEXT NOT NULL, since INTEGER NOT NULL,
	sent INTEGER NOT NULL -- what may be under way for the key: see Sent
) WITHOUT ROWID;
CREATE TABLE upload (key TEXT NOT NULL, id TEXT NOT NULL, -- id '': not known yet
	PRIMARY KEY (key, id)) WITHOUT ROWID;
CREATE TABLE spill (stage INTEGER NOT NULL, off INTEGER NOT NULL, len INTEGER NOT NULL, key TEXT NOT NULL, version TEXT NOT NULL,
	PRIMARY KEY (stage, off)) WITHOUT ROWID;
`

// Open opens the catalog in dir (catalog.db), making it when it is missing.
func Open(ctx context.Context, dir string) (*Catalog, error) {
	c := &Catalog{path: filepath.Join(dir, "catalog.db"), stmts: map[string]*sql.Stmt{}}
	c.committed.Store(1) // a killed process may have left commits that are not durable
	if err := c.open(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("catalog %s: %w", c.path, err)
	}
	return c, nil
}

func (c *Catalog) open(ctx context.Context) error {
	var err error
	// Made here, so that it never is readable for others, not even for a moment.
	f, err := os.OpenFile(c.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	c.reserve.init(filepath.Dir(c.path))
	// Exclusive: the cache directory's lock keeps others out, and SQLite's own locks would cost system calls for
	// every statement.
	c.db, err = sql.Open("sqlite", "file:"+(&url.URL{Path: c.path}).EscapedPath()+
		"?_pragma=locking_mode(EXCLUSIVE)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=temp_store(MEMORY)&_pragma=cache_size(-16384)&_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	c.db.SetMaxOpenConns(1)
	if c.conn, err = c.db.Conn(ctx); err != nil {
		return err
	}
	var version int
	if err := c.conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch {
	case version == 0:
		if err := c.create(ctx); err != nil {
			return err
		}
	case version > Format:
		return fmt.Errorf("it has format %d and this sharefs knows %d: use a newer sharefs, or another cache directory", version, Format)
	}
	if err := c.load(ctx); err != nil {
		return err
	}
	return c.openLog()
}

// create writes the schema in one transaction.
func (c *Catalog) create(ctx context.Context) error {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	_, err := c.conn.ExecContext(ctx, fmt.Sprintf(`BEGIN;%s
		INSERT INTO meta VALUES ('id', '%s'), ('next_ino', %d), ('next_id', 1), ('next_put', 1);
		PRAGMA user_version = %d; COMMIT`, schema, hex.EncodeToString(id), FirstIno, Format))
	return err
}

func (c *Catalog) load(ctx context.Context) error {
	row := c.conn.QueryRowContext(ctx, `SELECT (SELECT value FROM meta WHERE name='id'),
		(SELECT value FROM meta WHERE name='next_ino'), (SELECT value FROM meta WHERE name='next_id'),
		coalesce((SELECT value FROM meta WHERE name='seq'), 0)`)
	var seq uint64
	if err := row.Scan(&c.id, &c.nextIno, &c.nextID, &seq); err != nil {
		return err
	}
	c.seq.Store(seq)
	c.inoLimit, c.idLimit = c.nextIno, c.nextID
	row = c.conn.QueryRowContext(ctx, `SELECT
		count(*) FILTER (WHERE mode & 61440 <> 16384), count(*) FILTER (WHERE mode & 61440 = 16384),
		coalesce(sum(size) FILTER (WHERE mode & 61440 = 32768), 0) FROM inode WHERE parent > 0`)
	return row.Scan(&c.usage.Files, &c.usage.Dirs, &c.usage.Bytes)
}

// ID returns the catalog's own random name.
func (c *Catalog) ID() string { return c.id }

// Usage returns what the catalog counts.
func (c *Catalog) Usage() Usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.usage
}

// Close closes the catalog.
func (c *Catalog) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = errors.New("catalog: closed")
	}
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	c.stmts = nil
	if c.conn != nil {
		errs = append(errs, c.conn.Close())
	}
	if c.db != nil {
		errs = append(errs, c.db.Close())
	}
	if c.log != nil {
		errs = append(errs, c.log.Close())
		c.log = nil
	}
	return errors.Join(errs...)
}

// View calls f with the catalog as it is; f must not change it.
func (c *Catalog) View(f func(*Tx) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	return f(&Tx{c: c})
}

// Update calls f in a transaction and commits it when f returns nil. What f added with Tx.After runs after the commit,
// before anybody else sees the catalog.
func (c *Catalog) Update(f func(*Tx) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if err := c.Broken(); err != nil {
		return fmt.Errorf("catalog %s: %w", c.path, err)
	}
	c.reserve.look()
	tx := &Tx{c: c, usage: c.usage, seq: c.seq.Load()}
	if err := tx.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := f(tx)
	if err == nil {
		err = tx.saveSeq()
	}
	if err != nil {
		c.rollback()
		return c.full(err)
	}
	failpoint.Hit("catalog.commit")
	if err := tx.exec("COMMIT"); err != nil {
		c.rollback()
		return c.full(fmt.Errorf("catalog %s: %w", c.path, err))
	}
	failpoint.Hit("catalog.committed")
	c.seq.Store(tx.seq) // before the transaction counts: what Sync covers is at least this
	c.committed.Add(1)
	c.usage = tx.usage
	for _, after := range tx.after {
		after()
	}
	return nil
}

// full makes ENOSPC of the error of a full disk, and gives up some of the reserve: the next transaction has room.
func (c *Catalog) full(err error) error {
	const sqliteFull = 13 // SQLITE_FULL
	var e *sqlite.Error
	if !errors.As(err, &e) || e.Code()&0xff != sqliteFull {
		return err
	}
	c.reserve.giveUp()
	return fmt.Errorf("the disk of the cache directory is full: %v: %w", err, unix.ENOSPC)
}

func (c *Catalog) rollback() {
	ctx := context.Background()
	_, err := c.conn.ExecContext(ctx, "ROLLBACK")
	if err == nil {
		return
	}
	// After some errors (a full disk) SQLite has rolled back by itself. Then a new transaction can begin.
	if _, again := c.conn.ExecContext(ctx, "BEGIN IMMEDIATE; ROLLBACK"); again != nil {
		c.err = fmt.Errorf("catalog %s: %w", c.path, err)
	}
}

// stmt returns the prepared statement of a text.
func (c *Catalog) stmt(text string) (*sql.Stmt, error) {
	if s, ok := c.stmts[text]; ok {
		return s, nil
	}
	s, err := c.conn.PrepareContext(context.Background(), text)
	if err != nil {
		return nil, err
	}
	c.stmts[text] = s
	return s, nil
}

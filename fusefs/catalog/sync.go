package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"sharefs/fusefs/failpoint"
)

// A commit is in the write-ahead log when it returns, and there for a killed process to leave behind; a power loss may
// take it. Sync makes the log durable, for everybody who waits for it at once.
//
// That is enough whatever SQLite does with the log meanwhile. A checkpoint fsyncs the log before it copies pages into the
// database, and the database before anything in the log is written over (sqlite.org/wal.html, synchronous=NORMAL). So a
// commit is in the log that is fsynced here, or it was moved to the database by a checkpoint that did the same for it. And
// because frames of the log are chained by checksums, what a power loss leaves is the state after some commit, with
// every commit before that one: what is durable is a prefix of the history.
//
// The log is one file for as long as the catalog is open, and is held open here, so that no error of writing it back
// goes to a descriptor that nobody looks at.

// syncer makes the catalog's file durable, one fsync for all who ask at the same time.
type syncer struct {
	fsync   func() error
	reached func() uint64 // Catalog.Seq

	turn sync.Mutex // held over an fsync

	mu    sync.Mutex
	next  *syncRun // guarded by mu: has not begun yet
	done  uint64   // guarded by mu: commits that are durable
	seq   uint64   // guarded by mu: Catalog.Seq that is durable
	runs  int64    // guarded by mu
	fatal error    // guarded by mu
}

// syncRun is one fsync and those who wait for it.
type syncRun struct {
	ended chan struct{} // closed at the end
	err   error         // valid then
}

// sync returns when the first upTo commits are durable. committed counts them; it is asked when the fsync begins.
func (s *syncer) sync(upTo uint64, committed func() uint64) error {
	s.mu.Lock()
	if s.fatal != nil || s.done >= upTo {
		defer s.mu.Unlock()
		return s.fatal
	}
	run := s.next
	first := run == nil
	if first {
		run = &syncRun{ended: make(chan struct{})}
		s.next = run
	}
	s.mu.Unlock()
	if first {
		s.run(run, committed)
	}
	<-run.ended
	return run.err
}

// run waits for the fsync under way, which may have begun before what this one is for, and makes the next.
func (s *syncer) run(run *syncRun, committed func() uint64) {
	defer close(run.ended)
	s.turn.Lock()
	defer s.turn.Unlock()
	seq, upTo := s.reached(), committed()
	s.mu.Lock()
	s.next = nil // who comes now may have committed after upTo, and waits for the next
	run.err = s.fatal
	s.mu.Unlock()
	if run.err != nil {
		return
	}
	err := s.fsync()
	failpoint.Hit("catalog.synced")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs++
	if err != nil {
		// The kernel may have dropped what it could not write and will not tell again: a later fsync that succeeds
		// would prove nothing.
		s.fatal = fmt.Errorf("the local disk does not keep changes: %w: mount again when that is mended", err)
		run.err = s.fatal
		return
	}
	s.done, s.seq = max(s.done, upTo), max(s.seq, seq)
}

// Sync returns when everything that was committed before the call is durable against a power loss. Callers share
// fsyncs, and Update and View go on meanwhile. After an error Sync and Update fail until the catalog is opened again.
func (c *Catalog) Sync() error {
	if err := c.syncer.sync(c.committed.Load(), c.committed.Load); err != nil {
		return fmt.Errorf("catalog %s: %w", c.path, err)
	}
	return nil
}

// Broken returns the error of the fsync that failed, if one has: from then on Update refuses.
func (c *Catalog) Broken() error {
	c.syncer.mu.Lock()
	defer c.syncer.mu.Unlock()
	return c.syncer.fatal
}

// Syncs returns how many fsyncs Sync has made.
func (c *Catalog) Syncs() int64 {
	c.syncer.mu.Lock()
	defer c.syncer.mu.Unlock()
	return c.syncer.runs
}

// openLog opens the write-ahead log, which is there once the database has been read, and makes its name, the
// database's and the directory's durable: fsync of a file promises nothing about those.
func (c *Catalog) openLog() error {
	log, err := os.OpenFile(c.path+"-wal", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	c.log, c.syncer.fsync, c.syncer.reached = log, log.Sync, c.seq.Load
	dir := filepath.Dir(c.path)
	err = syncDir(filepath.Dir(dir))
	if errors.Is(err, fs.ErrPermission) { // somebody else's, who has made ours long ago
		err = nil
	}
	return errors.Join(syncDir(dir), err)
}

// syncDir makes the entries of a directory durable. Filesystems that cannot are taken for those that need not.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	err = dir.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, dir.Close())
}

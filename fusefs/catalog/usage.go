package catalog

import "sync"

// Usage is what the catalog counts, of named files, symlinks and directories. What has no name takes no room in the store.
type Usage struct {
	Files, Dirs int64
	Bytes       int64 // of file contents, each at its length
	Unlisted    int64 // directories, the root among them, that may hold more than is counted
}

// counter keeps the usage. Its lock is held for moments only, so that asking never waits for the disk.
//
// The length of a file that is being changed grows faster than its row, which is written when the file is closed. Such
// a file is live: it is counted at the length that Grown was told, and its row's does not matter.
type counter struct {
	mu       sync.Mutex
	rows     Usage                // what the rows tell, the bytes of live files left out
	live     map[uint64]*liveFile // entries come and go under Catalog.mu as well
	bytes    int64                // of live files with names
	promised int64                // bytes by which changes under way may grow files
}

// liveFile is a file whose length is not its row's.
type liveFile struct {
	size  int64
	named bool
}

// usage returns what is counted.
func (u *counter) usage() Usage {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := u.rows
	all.Bytes += u.bytes
	return all
}

// commit takes over what a transaction has counted, and which live files have names now.
func (u *counter) commit(rows Usage, named map[uint64]bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.rows = rows
	for ino, now := range named {
		f := u.live[ino]
		if f.named != now {
			f.named = now
			u.bytes += signed(now, f.size)
		}
	}
}

// signed returns n, or -n for something that is taken away.
func signed(added bool, n int64) int64 {
	if added {
		return n
	}
	return -n
}

// Usage returns what the catalog counts. It never waits.
func (c *Catalog) Usage() Usage { return c.counter.usage() }

// Live says that from the commit on a file is counted at the length that Grown tells, in the beginning its row's, until Settled.
func (tx *Tx) Live(n *Inode) {
	tx.After(func() {
		u := &tx.c.counter
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.live[n.Ino] != nil {
			return
		}
		f := &liveFile{size: n.Size, named: n.Parent != 0}
		u.live[n.Ino] = f
		if f.named {
			u.rows.Bytes -= f.size
			u.bytes += f.size
		}
	})
}

// Settled says that a live file's row tells its length again.
func (tx *Tx) Settled(n *Inode) {
	tx.After(func() {
		u := &tx.c.counter
		u.mu.Lock()
		defer u.mu.Unlock()
		f := u.live[n.Ino]
		if f == nil {
			return
		}
		delete(u.live, n.Ino)
		if f.named {
			u.bytes -= f.size
			u.rows.Bytes += n.Size
		}
	})
}

// Promise reserves room for n more bytes of a live file, within limit bytes in all, until Grown gets what was reserved. When
// there is less room, it reserves nothing and returns what is left, and false. A file without a name takes no room.
func (c *Catalog) Promise(ino uint64, n, limit int64) (int64, bool) {
	u := &c.counter
	u.mu.Lock()
	defer u.mu.Unlock()
	if f := u.live[ino]; n <= 0 || f == nil || !f.named {
		return 0, true
	}
	if left := limit - u.rows.Bytes - u.bytes - u.promised; n > left {
		return max(left, 0), false
	}
	u.promised += n
	return n, true
}

// Grown counts a live file at its length, and ends a promise. size is asked under the counter's lock, so that of two who
// change the file at once the one that counts last sees what both have done.
func (c *Catalog) Grown(ino uint64, promised int64, size func() int64) {
	u := &c.counter
	u.mu.Lock()
	defer u.mu.Unlock()
	u.promised -= promised
	f := u.live[ino]
	if f == nil {
		return
	}
	now := size()
	if f.named {
		u.bytes += now - f.size
	}
	f.size = now
}

// count takes a row into the transaction's count, or out of it (by is -1).
func (tx *Tx) count(n *Inode, by int64) {
	switch {
	case n == nil || n.Parent == 0 && n.Ino != RootIno:
		return
	case n.IsDir() && !n.Complete:
		tx.usage.Unlisted += by
	}
	switch {
	case n.Ino == RootIno:
	case n.IsDir():
		tx.usage.Dirs += by
	default:
		tx.usage.Files += by
		if n.IsFile() && tx.c.counter.live[n.Ino] == nil {
			tx.usage.Bytes += by * n.Size
		}
	}
}

// countName notes whether a live file has a name from the commit on.
func (tx *Tx) countName(ino uint64, named bool) {
	if tx.c.counter.live[ino] == nil {
		return
	}
	if tx.named == nil {
		tx.named = map[uint64]bool{}
	}
	tx.named[ino] = named
}

// countRows counts what an earlier process has left.
const countRows = `SELECT
	count(*) FILTER (WHERE parent > 0 AND mode & 61440 <> 16384),
	count(*) FILTER (WHERE parent > 0 AND mode & 61440 = 16384),
	coalesce(sum(size) FILTER (WHERE parent > 0 AND mode & 61440 = 32768), 0),
	count(*) FILTER (WHERE mode & 61440 = 16384 AND complete = 0) FROM inode WHERE parent > 0 OR ino = 1`

// Package cache is the read cache of object contents: memory (ristretto) over local disk, below it the store.
//
// # What it keeps
//
// A content is named by an ID that its owner, the catalog, gives once and for ever; beside it stand key, version and
// size, so that what an earlier run left is trusted only if it is still the same (they are compared when a content is
// first used in a process). Any blocks of 64 KiB of a content can be there. On disk each content is one sparse file
// with the bytes at their own offsets, and a sidecar with a checksum for each block (package blockfile). A complete
// local file is given to the cache, and a cached one is taken from it, by rename.
//
// # What it promises
//
// No byte is served that does not come straight from the store or match its checksum: a damaged block is counted and
// fetched again. Concurrent readers of a range share one GET, which goes on as long as somebody wants it. Trouble of
// the local disk (full, broken) never fails a read: it is counted, logged, and the bytes pass through memory. Nothing
// here is worth a sync: after a crash or a power loss what does not match is fetched again.
//
// # Requests
//
// The first read at offset 0 fetches a block. A second read that goes on where the last one ended makes the reader
// sequential, and so does a first one that asks for more than a block: then the rest of an object of up to 4 MiB comes in
// one GET, and a larger object in ranged GETs, ahead of the reader, over a window that grows from 1 to 32 MiB. Other
// reads fetch the blocks that they touch, one GET for each run of missing ones. Read-ahead ends with its File, except
// for a reader that opens the content again for each step: a File whose first read goes on where the last one of another
// File ended takes over its window, and leaves its GETs to the next.
//
// # Eviction
//
// The bound on disk and the floor of free disk hold whenever room is reserved; blocks that get no room are served
// without being kept. What goes first is decided by S3-FIFO (package s3fifo): contents that were used once leave
// through a small queue, so that a scan of the store does not push out what is used again; it needs no more than a
// counter for each content, and finds its victim without walking. Several opens within a few seconds count as one
// use, for servers open a file again for each step. An open file is never a victim. A single unproven content takes
// at most a tenth of the cache from others.
//
// Heads and tails of objects that somebody asked for alone (the first block, and the blocks of the last 64 KiB) are
// accounted in a tier of their own, up to an eighth of the bound, which contents that are read whole cannot push out.
//
// # What it is not
//
// It knows no names, no directories and no FUSE; it never decides what is current: whoever opens a content says what it
// is. It never writes to the store.
package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"sharefs/cache/internal/blockfile"
	"sharefs/provider"
)

// ID names one immutable content (bytes) for ever. The catalog gives it; 0 is not an ID.
type ID uint64

// Object tells what a content is in the store.
type Object struct {
	ID      ID
	Key     string
	Version provider.Version
	Size    int64 // bytes
}

// Fetch reads [off, off+length) of an object from the store; length is at least 1 and the range inside the object. It
// is KindPrecondition when the object has changed. The context governs reading too. A Fetch may be called, and its
// readers read, after the File that it came with is closed, when others wait for the same bytes.
type Fetch func(ctx context.Context, off, length int64) (io.ReadCloser, error)

// Range is a range of bytes.
type Range struct{ Off, Len int64 }

// Options of Open. The zero value works.
type Options struct {
	Size     int64            // bytes on disk at most; 0: 10 GiB, negative: nothing is kept on disk
	KeepFree int64            // bytes of the disk that stay free; 0: 1 GiB, negative: no floor
	Memory   int64            // bytes in memory at most; 0: 64 MiB
	Parallel int              // GETs of read-ahead at a time, beside those that readers wait for; 0: 8
	Logger   *slog.Logger     // nil: slog.Default()
	Now      func() time.Time // nil: time.Now

	// Owner names the catalog that gives the IDs. What an earlier run left under another one is removed at Open: its
	// IDs mean nothing. Without an Owner, Retarget forgets what was not used in this process, for it cannot compare.
	Owner string

	fault func(op, path string) error // for tests: trouble of the disk
}

const (
	defaultSize     = 10 << 30
	defaultKeepFree = 1 << 30
	defaultMemory   = 64 << 20
	defaultParallel = 8
)

func (o Options) withDefaults() Options {
	if o.Size == 0 {
		o.Size = defaultSize
	}
	if o.KeepFree == 0 {
		o.KeepFree = defaultKeepFree
	}
	if o.Memory <= 0 {
		o.Memory = defaultMemory
	}
	if o.Parallel <= 0 {
		o.Parallel = defaultParallel
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Errors of the package.
var (
	ErrLocked = errors.New("the cache directory is in use by another process")
	ErrOpen   = errors.New("the content is open")
	ErrClosed = errors.New("the read cache is closed")
)

// Cache is a read cache. It is safe for concurrent use.
//
// Locks, in the order in which they are taken: File.mu, object.mu, room.evicting, object.io, Cache.mu. None is held
// over I/O to the store; room.evicting and object.io are over that to the disk.
type Cache struct {
	opts   Options
	dir    blockfile.Dir
	lock   *dirLock
	memory *memory
	stats  counters
	slots  chan struct{} // one for each GET of read-ahead under way

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	life life
	warm warm

	mu    sync.Mutex
	index map[ID]*object // guarded by mu
	room  room           // guarded by mu but for its own lock
}

// Open opens the cache in a directory, which is made if it does not exist and must be empty or a cache otherwise.
// ErrLocked when another process has it open.
func Open(dir string, o Options) (*Cache, error) {
	o = o.withDefaults()
	lock, err := openDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read cache: %w", err)
	}
	if err := lock.setOwner(o.Owner, o.Logger); err != nil {
		return nil, errors.Join(fmt.Errorf("read cache: %w", err), lock.close())
	}
	c := &Cache{opts: o, lock: lock, index: make(map[ID]*object), slots: make(chan struct{}, o.Parallel)}
	c.dir = blockfile.Dir{Path: lock.objects(), Fault: o.fault}
	c.room.init(max(o.Size, 0), o.KeepFree, lock.path)
	if c.memory, err = newMemory(o.Memory); err != nil {
		return nil, errors.Join(fmt.Errorf("read cache: %w", err), lock.close())
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	if err := c.restore(); err != nil {
		c.memory.close()
		return nil, errors.Join(fmt.Errorf("read cache in %s: %w", dir, err), lock.close())
	}
	return c, nil
}

// File opens a content. It does no I/O, and never fails: what is wrong shows in reading.
func (c *Cache) File(o Object, fetch Fetch) *File {
	return &File{o: c.hold(o), fetch: fetch}
}

// Close ends what is under way, and gives the directory free. Files that are still open fail with ErrClosed.
func (c *Cache) Close() error {
	if !c.life.end() {
		return nil
	}
	c.stop()
	c.life.wait()
	c.mu.Lock()
	objects := make([]*object, 0, len(c.index))
	for _, o := range c.index {
		objects = append(objects, o)
	}
	c.mu.Unlock()
	for _, o := range objects {
		o.closeFiles()
	}
	c.memory.close()
	return c.lock.close()
}

// Whole reports whether all bytes of a content are on disk, as far as known without reading them.
func (c *Cache) Whole(id ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.index[id]
	return o != nil && o.blocks > 0 && o.present == o.blocks
}

// Retarget says that the same bytes now live under another key and version. An ID that is not known is no error.
func (c *Cache) Retarget(id ID, key string, v provider.Version) error {
	if !c.life.begin() {
		return ErrClosed
	}
	defer c.life.done()
	o := c.holdKnown(id)
	if o == nil {
		return nil
	}
	defer o.release()
	o.retarget(key, v)
	return nil
}

// Drop forgets a content. Open Files go on, from the store.
func (c *Cache) Drop(id ID) {
	if !c.life.begin() {
		return
	}
	defer c.life.done()
	c.drop(id)
}

// Take renames the data file of a content out of the cache to the path to, on the same filesystem, and forgets the
// content; the file there has the object's full size. It returns the ranges that are there and match their checksums,
// in order; the rest of the file means nothing. It is false when nothing is cached, and ErrOpen when a File of the
// content is open.
func (c *Cache) Take(obj Object, to string) (present []Range, ok bool, err error) {
	if !c.life.begin() {
		return nil, false, ErrClosed
	}
	defer c.life.done()
	o, err := c.holdIdle(obj)
	if o == nil || err != nil {
		return nil, false, err
	}
	defer o.release()
	return o.take(to)
}

// Give renames a complete local file, the bytes of the object, into the cache. The file is gone afterwards, kept or
// not, unless the error is about the arguments.
func (c *Cache) Give(obj Object, from string) error {
	if !c.life.begin() {
		return ErrClosed
	}
	defer c.life.done()
	return c.give(obj, from)
}

// life counts what is under way, until the end.
type life struct {
	mu    sync.RWMutex
	ended bool // guarded by mu
	wg    sync.WaitGroup
}

// begin reports whether something may begin; done follows.
func (l *life) begin() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if !l.ended {
		l.wg.Add(1)
	}
	return !l.ended
}

func (l *life) done() { l.wg.Done() }

// end lets nothing more begin; it is false the second time.
func (l *life) end() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := !l.ended
	l.ended = true
	return first
}

func (l *life) wait() { l.wg.Wait() }

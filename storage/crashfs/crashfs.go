// Package crashfs is a file system in memory that loses power: at a chosen call, or later, and then has what was synced, and as
// much of the rest as a test wants. It is for tests of what a store keeps.
//
// A file's contents are durable when it was synced, a name when its directory was. Sectors of 512 bytes are written whole.
package crashfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sharefs/storage"
)

// ErrCrashed is the error of all calls after the loss of power.
var ErrCrashed = errors.New("the power is lost")

// space is how large the disk is.
const space = 1 << 30

// FS is the file system. All paths are taken from its root. Its methods may be called at once.
type FS struct {
	mu      sync.Mutex
	root    *node // guarded by mu
	calls   int   // that change something; guarded by mu
	crashAt int   // the number of the call that is cut off; 0: none; guarded by mu
	crashed bool  // guarded by mu
	failAt  int   // the number of the call that fails; 0: none; guarded by mu
	failure error // guarded by mu
}

var _ storage.FS = (*FS)(nil)

// node is a file or a directory.
type node struct {
	dir     bool
	data    []byte // of a file
	synced  []byte
	entries map[string]*node // of a directory
	durable map[string]*node
}

// New returns an empty file system.
func New() *FS { return &FS{root: newDir()} }

func newDir() *node {
	return &node{dir: true, entries: map[string]*node{}, durable: map[string]*node{}}
}

// Kept is what is left, beside what was synced.
type Kept struct {
	Names    bool // all changes of directories
	Contents bool // all writes, and of the one that was cut off the first half
}

// Worlds are all that may be left.
var Worlds = []Kept{{}, {Names: true}, {Contents: true}, {Names: true, Contents: true}}

// Calls returns how many calls have changed something.
func (f *FS) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// CrashAt lets the power be lost in the nth call from now that changes something, counted from 1.
func (f *FS) CrashAt(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashAt = f.calls + n
}

// FailAt lets the nth call from now that changes something fail, counted from 1, and change nothing. Those after it work.
func (f *FS) FailAt(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failAt, f.failure = f.calls+n, err
}

// SyncAll makes everything durable.
func (f *FS) SyncAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.root.syncAll()
}

func (n *node) syncAll() {
	n.synced = bytes.Clone(n.data)
	n.durable = maps.Clone(n.entries)
	for _, e := range n.entries {
		e.syncAll()
	}
}

// After returns the file system after a loss of power, now or before.
func (f *FS) After(kept Kept) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &FS{root: f.root.after(kept)}
}

func (n *node) after(kept Kept) *node {
	data, entries := n.synced, n.durable
	if kept.Contents {
		data = n.data
	}
	if kept.Names {
		entries = n.entries
	}
	if !n.dir {
		return &node{data: bytes.Clone(data), synced: bytes.Clone(data)}
	}
	d := newDir()
	for name, e := range entries {
		d.entries[name] = e.after(kept)
	}
	d.durable = maps.Clone(d.entries)
	return d
}

// change counts a call that changes something; cut reports that it is the one that is cut off.
func (f *FS) change() (cut bool, err error) {
	if f.crashed {
		return false, ErrCrashed
	}
	f.calls++
	if f.calls == f.crashAt {
		f.crashed = true
		return true, ErrCrashed
	}
	if f.calls == f.failAt {
		return false, f.failure
	}
	return false, nil
}

// find returns what has a path. The caller has mu.
func (f *FS) find(path string) (*node, error) {
	if f.crashed {
		return nil, ErrCrashed
	}
	n := f.root
	for part := range strings.SplitSeq(strings.Trim(filepath.Clean(path), "/"), "/") {
		if part == "" || part == "." {
			continue
		}
		if n = n.entries[part]; n == nil {
			return nil, fs.ErrNotExist
		}
	}
	return n, nil
}

// parent returns the directory that a path is in, and the name there. The caller has mu.
func (f *FS) parent(path string) (*node, string, error) {
	dir, name := filepath.Split(filepath.Clean(path))
	d, err := f.find(dir)
	if err == nil && !d.dir {
		err = errors.New("not a directory")
	}
	return d, name, err
}

// failed is the error of an operation; nil for none.
func failed(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// OpenFile opens a file.
func (f *FS) OpenFile(path string, flag int, _ fs.FileMode) (storage.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.openFile(path, flag)
	if err != nil {
		return nil, failed("open", path, err)
	}
	return &file{fs: f, node: n, path: path}, nil
}

func (f *FS) openFile(path string, flag int) (*node, error) {
	d, name, err := f.parent(path)
	if err != nil {
		return nil, err
	}
	n := d.entries[name]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, fs.ErrNotExist
	case n == nil:
		if _, err := f.change(); err != nil {
			return nil, err
		}
		n = &node{}
		d.entries[name] = n
	case flag&os.O_EXCL != 0:
		return nil, fs.ErrExist
	case n.dir:
		return nil, errors.New("is a directory")
	case flag&os.O_TRUNC != 0:
		if _, err := f.change(); err != nil {
			return nil, err
		}
		n.data = nil
	}
	return n, nil
}

// Mkdir makes a directory.
func (f *FS) Mkdir(path string, _ fs.FileMode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, name, err := f.parent(path)
	if err == nil && d.entries[name] != nil {
		err = fs.ErrExist
	}
	if err == nil {
		_, err = f.change()
	}
	if err == nil {
		d.entries[name] = newDir()
	}
	return failed("mkdir", path, err)
}

// Remove removes a file or an empty directory.
func (f *FS) Remove(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, name, err := f.parent(path)
	if err == nil && d.entries[name] == nil {
		err = fs.ErrNotExist
	}
	if err == nil && len(d.entries[name].entries) > 0 {
		err = errors.New("directory not empty")
	}
	if err == nil {
		_, err = f.change()
	}
	if err == nil {
		delete(d.entries, name)
	}
	return failed("remove", path, err)
}

// Rename gives a file another name.
func (f *FS) Rename(oldPath, newPath string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	from, oldName, err := f.parent(oldPath)
	if err == nil && from.entries[oldName] == nil {
		err = fs.ErrNotExist
	}
	to, newName, toErr := f.parent(newPath)
	if err == nil {
		err = toErr
	}
	if err == nil {
		_, err = f.change()
	}
	if err == nil {
		n := from.entries[oldName]
		delete(from.entries, oldName)
		to.entries[newName] = n
	}
	return failed("rename", oldPath, err)
}

// ReadDir returns what is in a directory.
func (f *FS) ReadDir(path string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, err := f.find(path)
	if err != nil {
		return nil, failed("readdir", path, err)
	}
	var entries []fs.DirEntry
	for _, name := range slices.Sorted(maps.Keys(d.entries)) {
		entries = append(entries, fs.FileInfoToDirEntry(info{name, d.entries[name].dir, int64(len(d.entries[name].data))}))
	}
	return entries, nil
}

// Stat describes a file or a directory.
func (f *FS) Stat(path string) (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find(path)
	if err != nil {
		return nil, failed("stat", path, err)
	}
	return info{filepath.Base(path), n.dir, int64(len(n.data))}, nil
}

// SyncDir makes the names in a directory durable.
func (f *FS) SyncDir(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, err := f.find(path)
	if err == nil {
		_, err = f.change()
	}
	if err == nil {
		d.durable = maps.Clone(d.entries)
	}
	return failed("fsync", path, err)
}

// Space returns a size that never changes.
func (f *FS) Space(string) (storage.Space, error) {
	return storage.Space{Total: space, Free: space, Available: space}, nil
}

// file is an open file.
type file struct {
	fs   *FS
	node *node
	path string
}

func (h *file) ReadAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.fs.crashed {
		return 0, failed("read", h.path, ErrCrashed)
	}
	if off >= int64(len(h.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *file) WriteAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	cut, err := h.fs.change()
	if cut {
		p = p[:len(p)/2/512*512]
	} else if err != nil {
		return 0, failed("write", h.path, err)
	}
	if end := off + int64(len(p)); end > int64(len(h.node.data)) && len(p) > 0 {
		h.node.data = append(h.node.data, make([]byte, end-int64(len(h.node.data)))...)
	}
	if len(p) > 0 {
		copy(h.node.data[off:], p)
	}
	return len(p), failed("write", h.path, err)
}

func (h *file) Truncate(size int64) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if _, err := h.fs.change(); err != nil {
		return failed("truncate", h.path, err)
	}
	if grow := size - int64(len(h.node.data)); grow > 0 {
		h.node.data = append(h.node.data, make([]byte, grow)...)
	}
	h.node.data = h.node.data[:size:size]
	return nil
}

func (h *file) Sync() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if _, err := h.fs.change(); err != nil {
		return failed("fsync", h.path, err)
	}
	h.node.synced = bytes.Clone(h.node.data)
	return nil
}

func (h *file) Stat() (fs.FileInfo, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return info{filepath.Base(h.path), false, int64(len(h.node.data))}, nil
}

func (h *file) Close() error { return nil }

// info describes a node.
type info struct {
	name string
	dir  bool
	size int64
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) IsDir() bool        { return i.dir }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) Sys() any           { return nil }

func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

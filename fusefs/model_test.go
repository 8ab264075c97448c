package fusefs

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"sharefs/fusefs/tree"
	"sharefs/provider"
)

// model is a tree.Namespace in memory: what POSIX says, nothing of a store. Some names behave as their names say, so that
// a test in another process can ask for it:
//
//	hang*      reading waits until the request ends, and fails with its error
//	broken*    reading fails with a store's KindUnavailable
//	vanished*  reading fails with a store's KindNotFound
//	unknown*   listed without attributes
type model struct {
	mu    sync.Mutex
	nodes map[uint64]*node
	last  uint64
	calls map[string]int // by method; read by the attribute user.model.calls of the root
}

type node struct {
	tree.Attr
	name     string // the first one
	data     []byte
	target   string
	parent   uint64
	entries  []entry
	sequence uint64 // of the last entry
	xattrs   map[string][]byte
	opens    int
}

type entry struct {
	name   string
	ino    uint64
	offset uint64
}

var _ tree.Namespace = (*model)(nil)

func newModel() *model {
	m := &model{nodes: make(map[uint64]*node), calls: make(map[string]int)}
	root := m.make(tree.Caller{}, syscall.S_IFDIR|0o755, "")
	root.parent = root.Ino
	return m
}

func (m *model) make(c tree.Caller, mode uint32, name string) *node {
	m.last++
	now := time.Now()
	n := &node{name: name, xattrs: make(map[string][]byte), Attr: tree.Attr{
		Ino: m.last, Mode: mode, Nlink: 1, UID: c.UID, GID: c.GID, Atime: now, Mtime: now, Ctime: now,
	}}
	if n.isDir() {
		n.Nlink = 2
	}
	m.nodes[n.Ino] = n
	return n
}

func (n *node) isDir() bool { return n.Mode&syscall.S_IFMT == syscall.S_IFDIR }

func (n *node) find(name string) int {
	return slices.IndexFunc(n.entries, func(e entry) bool { return e.name == name })
}

func (n *node) attr() tree.Attr {
	a := n.Attr
	switch a.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		a.Size = int64(len(n.data))
		a.Blocks = (a.Size + 511) / 512
	case syscall.S_IFLNK:
		a.Size = int64(len(n.target))
	}
	return a
}

// enter counts a call and locks; the caller unlocks.
func (m *model) enter(method string) {
	m.mu.Lock()
	m.calls[method]++
}

// node returns an inode that the kernel knows.
func (m *model) node(ino uint64) (*node, error) {
	if n := m.nodes[ino]; n != nil {
		return n, nil
	}
	return nil, syscall.ESTALE
}

func (m *model) child(parent uint64, name string) (dir, n *node, at int, err error) {
	if dir, err = m.node(parent); err != nil {
		return nil, nil, 0, err
	}
	if at = dir.find(name); at < 0 {
		return dir, nil, -1, syscall.ENOENT
	}
	return dir, m.nodes[dir.entries[at].ino], at, nil
}

func (m *model) insert(dir *node, name string, n *node) {
	dir.sequence++
	dir.entries = append(dir.entries, entry{name, n.Ino, dir.sequence})
	m.touch(dir)
	if n.isDir() {
		n.parent = dir.Ino
		dir.Nlink++
	}
}

func (m *model) remove(dir *node, at int) {
	n := m.nodes[dir.entries[at].ino]
	dir.entries = slices.Delete(dir.entries, at, at+1)
	m.touch(dir)
	if n.isDir() {
		dir.Nlink--
	}
}

func (m *model) drop(n *node) {
	n.Nlink = 0
	n.Ctime = time.Now()
}

func (m *model) touch(n *node) {
	n.Mtime = time.Now()
	n.Ctime = n.Mtime
}

func (m *model) Lookup(_ context.Context, parent uint64, name string) (tree.Attr, error) {
	m.enter("lookup")
	defer m.mu.Unlock()
	if name == ".." {
		dir, err := m.node(parent)
		if err != nil {
			return tree.Attr{}, err
		}
		return m.nodes[dir.parent].attr(), nil
	}
	_, n, _, err := m.child(parent, name)
	if err != nil {
		return tree.Attr{}, err
	}
	return n.attr(), nil
}

func (m *model) GetAttr(_ context.Context, ino uint64) (tree.Attr, error) {
	m.enter("getattr")
	defer m.mu.Unlock()
	n, err := m.node(ino)
	if err != nil {
		return tree.Attr{}, err
	}
	return n.attr(), nil
}

func (m *model) SetAttr(_ context.Context, ino uint64, set tree.SetAttr) (tree.Attr, error) {
	m.enter("setattr")
	defer m.mu.Unlock()
	n, err := m.node(ino)
	if err != nil {
		return tree.Attr{}, err
	}
	if set.Mode != nil {
		n.Mode = n.Mode&syscall.S_IFMT | *set.Mode
	}
	if set.UID != nil {
		n.UID = *set.UID
	}
	if set.GID != nil {
		n.GID = *set.GID
	}
	if set.Size != nil {
		n.resize(*set.Size)
		m.touch(n)
	}
	if set.Atime != nil {
		n.Atime = *set.Atime
	}
	if set.Mtime != nil {
		n.Mtime = *set.Mtime
	}
	n.Ctime = time.Now()
	return n.attr(), nil
}

func (n *node) resize(size int64) {
	if grow := size - int64(len(n.data)); grow > 0 {
		n.data = append(n.data, make([]byte, grow)...)
	}
	n.data = n.data[:size]
}

func (m *model) Readlink(_ context.Context, ino uint64) (string, error) {
	m.enter("readlink")
	defer m.mu.Unlock()
	n, err := m.node(ino)
	if err != nil {
		return "", err
	}
	return n.target, nil
}

func (m *model) create(c tree.Caller, parent uint64, name string, mode uint32) (*node, error) {
	dir, _, at, err := m.child(parent, name)
	if at >= 0 && err == nil {
		return nil, syscall.EEXIST
	}
	if dir == nil {
		return nil, err
	}
	if dir.Nlink == 0 {
		return nil, syscall.ENOENT
	}
	if len(name) > 255 {
		return nil, syscall.ENAMETOOLONG
	}
	n := m.make(c, mode, name)
	m.insert(dir, name, n)
	return n, nil
}

func (m *model) Mkdir(_ context.Context, c tree.Caller, parent uint64, name string, mode uint32) (tree.Attr, error) {
	m.enter("mkdir")
	defer m.mu.Unlock()
	n, err := m.create(c, parent, name, syscall.S_IFDIR|mode)
	if err != nil {
		return tree.Attr{}, err
	}
	return n.attr(), nil
}

func (m *model) Mknod(_ context.Context, c tree.Caller, parent uint64, name string, mode uint32) (tree.Attr, error) {
	m.enter("mknod")
	defer m.mu.Unlock()
	if mode&syscall.S_IFMT != syscall.S_IFREG {
		return tree.Attr{}, syscall.EPERM
	}
	n, err := m.create(c, parent, name, mode)
	if err != nil {
		return tree.Attr{}, err
	}
	return n.attr(), nil
}

func (m *model) Symlink(_ context.Context, c tree.Caller, parent uint64, name, target string) (tree.Attr, error) {
	m.enter("symlink")
	defer m.mu.Unlock()
	n, err := m.create(c, parent, name, syscall.S_IFLNK|0o777)
	if err != nil {
		return tree.Attr{}, err
	}
	n.target = target
	return n.attr(), nil
}

func (m *model) Unlink(_ context.Context, parent uint64, name string) error {
	m.enter("unlink")
	defer m.mu.Unlock()
	dir, n, at, err := m.child(parent, name)
	if err != nil {
		return err
	}
	if n.isDir() {
		return syscall.EISDIR
	}
	m.remove(dir, at)
	m.drop(n)
	return nil
}

func (m *model) Rmdir(_ context.Context, parent uint64, name string) error {
	m.enter("rmdir")
	defer m.mu.Unlock()
	dir, n, at, err := m.child(parent, name)
	switch {
	case err != nil:
		return err
	case !n.isDir():
		return syscall.ENOTDIR
	case len(n.entries) > 0:
		return syscall.ENOTEMPTY
	}
	m.remove(dir, at)
	m.drop(n)
	return nil
}

func (m *model) Rename(_ context.Context, oldParent uint64, oldName string, newParent uint64, newName string, flags uint32) error {
	m.enter("rename")
	defer m.mu.Unlock()
	if flags&^tree.RenameNoReplace != 0 {
		return syscall.EINVAL
	}
	oldDir, n, _, err := m.child(oldParent, oldName)
	if err != nil {
		return err
	}
	newDir, there, at, err := m.child(newParent, newName)
	switch {
	case newDir == nil:
		return err
	case err == nil && flags&tree.RenameNoReplace != 0:
		return syscall.EEXIST
	case err == nil && there == n:
		return nil
	case err == nil && there.isDir() && !n.isDir():
		return syscall.EISDIR
	case err == nil && !there.isDir() && n.isDir():
		return syscall.ENOTDIR
	case err == nil && len(there.entries) > 0:
		return syscall.ENOTEMPTY
	case err == nil:
		m.remove(newDir, at)
		m.drop(there)
	}
	m.remove(oldDir, oldDir.find(oldName))
	m.insert(newDir, newName, n)
	n.Ctime = time.Now()
	return nil
}

func (m *model) Create(_ context.Context, c tree.Caller, parent uint64, name string, mode, flags uint32) (tree.Attr, tree.Handle, error) {
	m.enter("create")
	defer m.mu.Unlock()
	n, err := m.create(c, parent, name, syscall.S_IFREG|mode)
	if err == syscall.EEXIST && flags&syscall.O_EXCL == 0 {
		_, n, _, err = m.child(parent, name)
	}
	if err != nil {
		return tree.Attr{}, nil, err
	}
	h := m.open(n, flags)
	return n.attr(), h, nil
}

func (m *model) Tmpfile(_ context.Context, c tree.Caller, parent uint64, mode, flags uint32) (tree.Attr, tree.Handle, error) {
	m.enter("tmpfile")
	defer m.mu.Unlock()
	if _, err := m.node(parent); err != nil {
		return tree.Attr{}, nil, err
	}
	n := m.make(c, syscall.S_IFREG|mode, "")
	n.Nlink = 0
	h := m.open(n, flags)
	return n.attr(), h, nil
}

func (m *model) Link(_ context.Context, ino, parent uint64, name string) (tree.Attr, error) {
	m.enter("link")
	defer m.mu.Unlock()
	n, err := m.node(ino)
	if err != nil {
		return tree.Attr{}, err
	}
	if n.Nlink > 0 {
		return tree.Attr{}, syscall.EPERM
	}
	dir, _, at, err := m.child(parent, name)
	switch {
	case dir == nil:
		return tree.Attr{}, err
	case at >= 0:
		return tree.Attr{}, syscall.EEXIST
	}
	n.Nlink = 1
	m.insert(dir, name, n)
	return n.attr(), nil
}

func (m *model) Open(_ context.Context, ino uint64, flags uint32) (tree.Handle, error) {
	m.enter("open")
	defer m.mu.Unlock()
	n, err := m.node(ino)
	if err != nil {
		return nil, err
	}
	return m.open(n, flags), nil
}

func (m *model) open(n *node, flags uint32) tree.Handle {
	if flags&syscall.O_TRUNC != 0 {
		n.data = nil
		m.touch(n)
	}
	n.opens++
	return &handle{m: m, n: n}
}

func (m *model) ReadDir(_ context.Context, ino, offset uint64, emit func(tree.DirEntry) bool) error {
	m.enter("readdir")
	defer m.mu.Unlock()
	dir, err := m.node(ino)
	if err != nil {
		return err
	}
	for _, e := range dir.entries {
		if e.offset <= offset {
			continue
		}
		attr := m.nodes[e.ino].attr()
		out := tree.DirEntry{Name: e.name, Ino: e.ino, Type: attr.Mode & syscall.S_IFMT, Attr: &attr, Offset: e.offset}
		if strings.HasPrefix(e.name, "unknown") {
			out.Type, out.Attr = 0, nil
		}
		if !emit(out) {
			return nil
		}
	}
	return nil
}

func (m *model) FsyncDir(_ context.Context, ino uint64) error {
	m.enter("fsyncdir")
	defer m.mu.Unlock()
	_, err := m.node(ino)
	return err
}

func (m *model) GetXattr(_ context.Context, ino uint64, name string) ([]byte, error) {
	m.enter("getxattr")
	defer m.mu.Unlock()
	n, err := m.node(ino)
	if err != nil {
		return nil, err
	}
	if ino == tree.Root && name == "user.model.calls" {
		var report strings.Builder
		for _, method := range slices.Sorted(maps.Keys(m.calls)) {
			fmt.Fprintf(&report, "%s=%d ", method, m.calls[method])
		}
		return []byte(report.String()), nil
	}
	value, found := n.xattrs[name]
	if !found {
		return nil, syscall.ENODATA
	}
	return value, nil
}

func (m *model) SetXattr(_ context.Context, ino uint64, name string, value []byte, flags uint32) error {
	m.enter("setxattr")
	defer m.mu.Unlock()
	n, err := m.node(ino)
	if err != nil {
		return err
	}
	_, found := n.xattrs[name]
	switch {
	case found && flags&tree.XattrCreate != 0:
		return syscall.EEXIST
	case !found && flags&tree.XattrReplace != 0:
		return syscall.ENODATA
	}
	n.xattrs[name] = value
	return nil
}

func (m *model) ListXattr(_ context.Context, ino uint64) ([]string, error) {
	m.enter("listxattr")
	defer m.mu.Unlock()
	n, err := m.node(ino)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(n.xattrs)), nil
}

func (m *model) RemoveXattr(_ context.Context, ino uint64, name string) error {
	m.enter("removexattr")
	defer m.mu.Unlock()
	n, err := m.node(ino)
	if err != nil {
		return err
	}
	if _, found := n.xattrs[name]; !found {
		return syscall.ENODATA
	}
	delete(n.xattrs, name)
	return nil
}

func (m *model) Statfs() tree.Statfs {
	m.enter("statfs")
	defer m.mu.Unlock()
	return tree.Statfs{BlockSize: 4096, Blocks: 1 << 20, BlocksFree: 1 << 19, Files: 1000, FilesFree: 900, MaxNameSize: 255}
}

// Forget drops inodes that are neither linked nor open.
func (m *model) Forget(ino uint64) {
	m.enter("forget")
	defer m.mu.Unlock()
	if n := m.nodes[ino]; n != nil && n.Nlink == 0 && n.opens == 0 {
		delete(m.nodes, ino)
	}
}

// handle is an open file of a model.
type handle struct {
	m *model
	n *node
}

func (h *handle) Ino() uint64 { return h.n.Ino }

func (h *handle) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	switch {
	case strings.HasPrefix(h.n.name, "hang"):
		<-ctx.Done()
		return 0, ctx.Err()
	case strings.HasPrefix(h.n.name, "broken"):
		return 0, &provider.Error{Op: "open", Key: h.n.name, Kind: provider.KindUnavailable}
	case strings.HasPrefix(h.n.name, "vanished"):
		return 0, &provider.Error{Op: "open", Key: h.n.name, Kind: provider.KindNotFound}
	}
	h.m.enter("read")
	defer h.m.mu.Unlock()
	if off >= int64(len(h.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) WriteAt(_ context.Context, p []byte, off int64) (int, error) {
	h.m.enter("write")
	defer h.m.mu.Unlock()
	if end := off + int64(len(p)); end > int64(len(h.n.data)) {
		h.n.resize(end)
	}
	h.m.touch(h.n)
	return copy(h.n.data[off:], p), nil
}

func (h *handle) Append(ctx context.Context, p []byte, off int64) (int, error) {
	return h.WriteAt(ctx, p, off)
}

func (h *handle) Allocate(_ context.Context, off, length int64, mode uint32) error {
	h.m.enter("allocate")
	defer h.m.mu.Unlock()
	const keepSize = 1
	if mode&^keepSize != 0 {
		return syscall.EOPNOTSUPP
	}
	if mode&keepSize == 0 && off+length > int64(len(h.n.data)) {
		h.n.resize(off + length)
	}
	return nil
}

func (h *handle) Seek(_ context.Context, off int64, whence uint32) (int64, error) {
	h.m.enter("seek")
	defer h.m.mu.Unlock()
	size := int64(len(h.n.data))
	if off >= size {
		return 0, syscall.ENXIO
	}
	if whence == tree.SeekHole {
		return size, nil
	}
	return off, nil
}

func (h *handle) Flush(context.Context) error {
	h.m.enter("flush")
	defer h.m.mu.Unlock()
	return nil
}

func (h *handle) Fsync(context.Context) error {
	h.m.enter("fsync")
	defer h.m.mu.Unlock()
	return nil
}

func (h *handle) Release() {
	h.m.enter("release")
	defer h.m.mu.Unlock()
	h.n.opens--
}

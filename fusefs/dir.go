package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"sharefs/fusefs/tree"
)

// Directories have no handles here: a directory is read by inode and offset.

// OpenDir under a mount that has its store for itself says "never ask again": the kernel then sends neither OPENDIR nor RELEASEDIR, and keeps
// what it has read of a directory until it changes the directory itself, as nobody else does. Under others
// a directory is read each time.
func (r *rawFS) OpenDir(_ <-chan struct{}, _ *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	if r.conf.others {
		return fuse.OK
	}
	return fuse.ENOSYS
}

// The offsets that the kernel sees: those of "." and "..", and the tree's behind them.
const (
	offsetDot    = 1
	offsetDotDot = 2
)

// ReadDir lists a directory.
func (r *rawFS) ReadDir(interrupt <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return r.readDir(interrupt, in, func(e fuse.DirEntry, _ *tree.Attr) bool { return out.AddDirEntry(e) })
}

// ReadDirPlus lists a directory with attributes. An entry without a node is one whose attributes the kernel has to ask
// for, if it needs them.
func (r *rawFS) ReadDirPlus(interrupt <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return r.readDir(interrupt, in, func(e fuse.DirEntry, attr *tree.Attr) bool {
		entry := out.AddDirLookupEntry(e)
		if entry != nil && attr != nil {
			r.entry(*attr, entry)
		}
		return entry != nil
	})
}

// readDir calls add for the entries after the offset until the answer is full.
func (r *rawFS) readDir(interrupt <-chan struct{}, in *fuse.ReadIn, add func(fuse.DirEntry, *tree.Attr) bool) fuse.Status {
	req := r.begin(opReadDir, interrupt, &in.InHeader)
	defer req.end()
	offset := in.Offset
	if offset < offsetDot {
		if !add(fuse.DirEntry{Name: ".", Ino: in.NodeId, Mode: fuse.S_IFDIR, Off: offsetDot}, nil) {
			return fuse.OK
		}
	}
	if offset < offsetDotDot {
		if !add(fuse.DirEntry{Name: "..", Ino: r.parent(req, in.NodeId), Mode: fuse.S_IFDIR, Off: offsetDotDot}, nil) {
			return fuse.OK
		}
		offset = offsetDotDot
	}
	added := false
	err := r.ns.ReadDir(req, in.NodeId, offset-offsetDotDot, func(e tree.DirEntry) bool {
		if !add(fuse.DirEntry{Name: e.Name, Ino: e.Ino, Mode: e.Type, Off: e.Offset + offsetDotDot}, e.Attr) {
			return false
		}
		added = true
		return true
	})
	if added {
		return fuse.OK // the error comes with the next request, which begins where it happened
	}
	return r.status(req, err)
}

// parent returns the inode number that ".." shows: for the root its own, and 0, which go-fuse shows as unknown, where the
// tree does not tell. The kernel itself never looks at it.
func (r *rawFS) parent(req *request, ino uint64) uint64 {
	if ino == tree.Root {
		return tree.Root
	}
	attr, err := r.ns.Lookup(req, ino, "..")
	if err != nil {
		return 0
	}
	return attr.Ino
}

// FsyncDir stores a directory's entries; of the root, everything.
func (r *rawFS) FsyncDir(interrupt <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	req := r.begin(opFsyncDir, interrupt, &in.InHeader)
	defer req.end()
	return r.status(req, r.ns.FsyncDir(req, in.NodeId))
}

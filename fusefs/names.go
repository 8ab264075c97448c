package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"sharefs/fusefs/tree"
)

// The umask is applied by the kernel before it sends a mode.

func caller(h *fuse.InHeader) tree.Caller { return tree.Caller{UID: h.Uid, GID: h.Gid} }

// made answers a request that made an entry.
func (r *rawFS) made(req *request, attr tree.Attr, err error, name string, out *fuse.EntryOut) fuse.Status {
	if err != nil {
		r.doubtEntry(err, req.ino, name)
		return r.status(req, err)
	}
	r.entry(attr, out)
	return fuse.OK
}

// Mknod makes a file without opening it. Which types there are is the tree's to say.
func (r *rawFS) Mknod(interrupt <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	req := r.begin(opMknod, interrupt, &in.InHeader)
	defer req.end()
	attr, err := r.ns.Mknod(req, caller(&in.InHeader), in.NodeId, name, in.Mode)
	return r.made(req, attr, err, name, out)
}

// Mkdir makes a directory.
func (r *rawFS) Mkdir(interrupt <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	req := r.begin(opMkdir, interrupt, &in.InHeader)
	defer req.end()
	attr, err := r.ns.Mkdir(req, caller(&in.InHeader), in.NodeId, name, in.Mode&0o7777)
	return r.made(req, attr, err, name, out)
}

// Symlink makes a symlink.
func (r *rawFS) Symlink(interrupt <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	req := r.begin(opSymlink, interrupt, h)
	defer req.end()
	attr, err := r.ns.Symlink(req, caller(h), h.NodeId, name, target)
	return r.made(req, attr, err, name, out)
}

// Link gives a file of Tmpfile its name. There are no hard links.
func (r *rawFS) Link(interrupt <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	req := r.begin(opLink, interrupt, &in.InHeader)
	defer req.end()
	attr, err := r.ns.Link(req, in.Oldnodeid, in.NodeId, name)
	if err == nil {
		r.entry(attr, out)
		return fuse.OK
	}
	r.doubtEntry(err, in.NodeId, name)
	return r.status(req, err)
}

// Unlink removes a file's name.
func (r *rawFS) Unlink(interrupt <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	req := r.begin(opUnlink, interrupt, h)
	defer req.end()
	err := r.ns.Unlink(req, h.NodeId, name)
	r.doubtEntry(err, h.NodeId, name)
	return r.status(req, err)
}

// Rmdir removes an empty directory.
func (r *rawFS) Rmdir(interrupt <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	req := r.begin(opRmdir, interrupt, h)
	defer req.end()
	err := r.ns.Rmdir(req, h.NodeId, name)
	r.doubtEntry(err, h.NodeId, name)
	return r.status(req, err)
}

// Rename moves an entry, with the flags of renameat2(2).
func (r *rawFS) Rename(interrupt <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	req := r.begin(opRename, interrupt, &in.InHeader)
	defer req.end()
	err := r.ns.Rename(req, in.NodeId, oldName, in.Newdir, newName, in.Flags)
	r.doubtEntry(err, in.NodeId, oldName)
	r.doubtEntry(err, in.Newdir, newName)
	return r.status(req, err)
}

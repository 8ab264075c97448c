package fusefs

import (
	"bytes"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// kept reports whether a tree keeps attributes of this name. Others are not stored, since they would not be enforced:
// EOPNOTSUPP. That costs no more than the answer: the kernel asks for security.capability by itself before it changes a
// file, and programs like ls, who ask for labels and access control lists, take it as the answer for the whole mount.
func kept(name string) fuse.Status {
	const user = "user."
	switch {
	case name == user:
		return fuse.EINVAL
	case !strings.HasPrefix(name, user):
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	return fuse.OK
}

// GetXAttr answers getxattr(2), with the size alone when dest is empty.
func (r *rawFS) GetXAttr(interrupt <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if status := kept(name); status != fuse.OK {
		return 0, status
	}
	req := r.begin(opGetXattr, interrupt, h)
	defer req.end()
	value, err := r.ns.GetXattr(req, h.NodeId, name)
	if err != nil {
		return 0, r.status(req, err)
	}
	return fit(value, dest)
}

// ListXAttr answers listxattr(2): the names, each with a NUL behind it.
func (r *rawFS) ListXAttr(interrupt <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	req := r.begin(opListXattr, interrupt, h)
	defer req.end()
	names, err := r.ns.ListXattr(req, h.NodeId)
	if err != nil {
		return 0, r.status(req, err)
	}
	var list []byte
	for _, name := range names {
		list = append(append(list, name...), 0)
	}
	return fit(list, dest)
}

// SetXAttr answers setxattr(2). The value is copied: the request's memory is used again.
func (r *rawFS) SetXAttr(interrupt <-chan struct{}, in *fuse.SetXAttrIn, name string, value []byte) fuse.Status {
	if status := kept(name); status != fuse.OK {
		return status
	}
	req := r.begin(opSetXattr, interrupt, &in.InHeader)
	defer req.end()
	return r.status(req, r.ns.SetXattr(req, in.NodeId, name, bytes.Clone(value), in.Flags))
}

// RemoveXAttr answers removexattr(2).
func (r *rawFS) RemoveXAttr(interrupt <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if status := kept(name); status != fuse.OK {
		return status
	}
	req := r.begin(opRemoveXattr, interrupt, h)
	defer req.end()
	return r.status(req, r.ns.RemoveXattr(req, h.NodeId, name))
}

// fit copies a value to dest. go-fuse makes the size of an empty dest's ERANGE the answer.
func fit(value, dest []byte) (uint32, fuse.Status) {
	if len(value) > len(dest) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}

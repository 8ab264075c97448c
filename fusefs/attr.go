package fusefs

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"sharefs/fusefs/tree"
)

// Lookup finds an entry. That there is none is an answer which the kernel keeps, too: an entry without a node.
func (r *rawFS) Lookup(interrupt <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	req := r.begin(opLookup, interrupt, h)
	defer req.end()
	attr, err := r.ns.Lookup(req, h.NodeId, name)
	if err == nil {
		r.entry(attr, out)
		return fuse.OK
	}
	if status := r.status(req, err); status != fuse.ENOENT {
		return status
	}
	*out = fuse.EntryOut{}
	out.SetEntryTimeout(r.trust(h.NodeId))
	return fuse.OK
}

// Forget says that the kernel takes back n of the answers that named the inode.
func (r *rawFS) Forget(ino, n uint64) {
	if r.lookups.forget(ino, n) {
		r.ns.Forget(ino)
	}
}

// GetAttr answers stat(2).
func (r *rawFS) GetAttr(interrupt <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	req := r.begin(opGetAttr, interrupt, &in.InHeader)
	defer req.end()
	attr, err := r.ns.GetAttr(req, in.NodeId)
	if err != nil {
		return r.status(req, err)
	}
	r.attributes(attr, out)
	return fuse.OK
}

// SetAttr answers chmod(2), chown(2), truncate(2) and utimensat(2).
func (r *rawFS) SetAttr(interrupt <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	req := r.begin(opSetAttr, interrupt, &in.InHeader)
	defer req.end()
	set := wantedAttributes(in)
	if dropsPrivileges(in) {
		attr, err := r.ns.GetAttr(req, in.NodeId)
		if err != nil {
			return r.status(req, err)
		}
		mode, differs := unprivileged(&in.InHeader, attr)
		if differs && (!asksNothing(in) || in.InHeader.Uid == 0 || in.InHeader.Uid == attr.UID) {
			set.Mode = &mode
		}
	}
	attr, err := r.setAttr(req, in.NodeId, set)
	if err != nil {
		r.doubtAttr(err, in.NodeId)
		return r.status(req, err)
	}
	r.attributes(attr, out)
	return fuse.OK
}

// setAttr changes what is to change, if anything: before a write by somebody without CAP_FSETID the kernel sends a SETATTR
// of nothing, which must not cost a change.
func (r *rawFS) setAttr(ctx context.Context, ino uint64, set tree.SetAttr) (tree.Attr, error) {
	if set == (tree.SetAttr{}) {
		return r.ns.GetAttr(ctx, ino)
	}
	return r.ns.SetAttr(ctx, ino, set)
}

// Readlink returns the target of a symlink.
func (r *rawFS) Readlink(interrupt <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	req := r.begin(opReadlink, interrupt, h)
	defer req.end()
	target, err := r.ns.Readlink(req, h.NodeId)
	if err != nil {
		return nil, r.status(req, err)
	}
	return []byte(target), fuse.OK
}

// wantedAttributes returns what a SETATTR asks for. The change time is not the caller's to set.
func wantedAttributes(in *fuse.SetAttrIn) tree.SetAttr {
	var set tree.SetAttr
	if mode, ok := in.GetMode(); ok {
		set.Mode = &mode
	}
	if uid, ok := in.GetUID(); ok {
		set.UID = &uid
	}
	if gid, ok := in.GetGID(); ok {
		set.GID = &gid
	}
	if size, ok := in.GetSize(); ok {
		n := int64(size)
		set.Size = &n
	}
	if t, ok := in.GetATime(); ok {
		set.Atime = &t
	}
	if t, ok := in.GetMTime(); ok {
		set.Mtime = &t
	}
	return set
}

// dropsPrivileges reports whether a SETATTR takes the set-user-id and set-group-id bits from a file, by
// FUSE_HANDLE_KILLPRIV_V2: a truncation by somebody without CAP_FSETID, of which the kernel tells, and every change of
// owner, one that changes neither too (asksNothing). A mode in the same request is what the caller wants.
func dropsPrivileges(in *fuse.SetAttrIn) bool {
	if in.Valid&fuse.FATTR_MODE != 0 {
		return false
	}
	return in.Valid&(fuse.FATTR_UID|fuse.FATTR_GID|fuse.FATTR_KILL_SUIDGID) != 0 || asksNothing(in)
}

// asksNothing reports whether a SETATTR names no attribute: chown(2) of neither owner nor group, by anybody, and the
// kernel's preparation of a write or fallocate(2) to a file with these bits, which says itself whether they go.
func asksNothing(in *fuse.SetAttrIn) bool { return in.Valid&^(fuse.FATTR_FH|fuse.FATTR_LOCKOWNER) == 0 }

// unprivileged returns the mode that a file has without set-user-id and set-group-id when the caller changes it, and
// whether it differs. Set-group-id of a file that its group may not execute stays for members of the group, as on Linux's
// own filesystems.
func unprivileged(caller *fuse.InHeader, attr tree.Attr) (uint32, bool) {
	if attr.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return attr.Mode, false
	}
	bits := uint32(syscall.S_ISUID)
	if attr.Mode&syscall.S_ISGID != 0 && (attr.Mode&syscall.S_IXGRP != 0 || !inGroup(caller, attr.GID)) {
		bits |= syscall.S_ISGID
	}
	return attr.Mode &^ bits & 0o7777, attr.Mode&bits != 0
}

// inGroup reports whether the caller is root or in the group. Of the caller's groups a request tells one.
func inGroup(caller *fuse.InHeader, gid uint32) bool {
	if caller.Uid == 0 || caller.Gid == gid {
		return true
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", caller.Pid))
	if err != nil {
		return false // it has gone
	}
	for line := range strings.Lines(string(status)) {
		if groups, ok := strings.CutPrefix(line, "Groups:"); ok {
			return slices.Contains(strings.Fields(groups), strconv.FormatUint(uint64(gid), 10))
		}
	}
	return false
}

// dropPrivileges takes them from a file that somebody without CAP_FSETID changes, and returns its attributes.
func (r *rawFS) dropPrivileges(ctx context.Context, caller *fuse.InHeader, ino uint64) (tree.Attr, error) {
	attr, err := r.ns.GetAttr(ctx, ino)
	if err != nil {
		return attr, err
	}
	mode, differs := unprivileged(caller, attr)
	if !differs {
		return attr, nil
	}
	if attr, err = r.ns.SetAttr(ctx, ino, tree.SetAttr{Mode: &mode}); err != nil {
		return attr, err
	}
	// The kernel does not expect that a write changes the mode. Telling it from within the request is safe as long as it
	// is of attributes only: that takes none of the locks that the request holds. ENOENT: it does not know the inode.
	r.server.InodeNotify(ino, -1, 0)
	return attr, nil
}

// entry answers with an entry, which the kernel then knows.
func (r *rawFS) entry(attr tree.Attr, out *fuse.EntryOut) {
	*out = fuse.EntryOut{NodeId: attr.Ino}
	out.SetEntryTimeout(r.trust(attr.Ino))
	out.SetAttrTimeout(r.trust(attr.Ino))
	fill(&out.Attr, attr)
	r.lookups.add(attr.Ino)
}

// attributes answers with attributes.
func (r *rawFS) attributes(attr tree.Attr, out *fuse.AttrOut) {
	out.SetTimeout(r.trust(attr.Ino))
	fill(&out.Attr, attr)
}

// trust is how long the kernel may keep what it knows of an inode, and of names in it.
func (r *rawFS) trust(ino uint64) time.Duration {
	if isOwn(ino) {
		return 0
	}
	return r.conf.trust
}

// fill translates attributes. The preferred size of reads and writes stays the kernel's page size: Python and stdio
// read as much as it says, even for the few bytes at a file's end.
func fill(out *fuse.Attr, attr tree.Attr) {
	*out = fuse.Attr{
		Ino:    attr.Ino,
		Size:   uint64(attr.Size),
		Blocks: uint64(attr.Blocks),
		Mode:   attr.Mode,
		Nlink:  attr.Nlink,
		Owner:  fuse.Owner{Uid: attr.UID, Gid: attr.GID},
	}
	out.SetTimes(since1970(attr.Atime), since1970(attr.Mtime), since1970(attr.Ctime))
}

// since1970 returns nil, which stands for 1970, for a time that is not known.
func since1970(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

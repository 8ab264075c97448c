// Package fusefs is the kernel side of a mount: it turns the requests of the Linux FUSE driver into calls on a
// tree.Namespace, and mounts one.
//
// It promises that every request is answered: an error of the tree becomes an errno by one table, a request whose
// caller was killed ends, and a request that waits for a store ends after a limit. Nothing is locked while a request
// waits, and within a request nothing is sent to the kernel that could wait for what the request holds.
//
// It holds no names, no attributes and no contents: node ids are the tree's inode numbers, which are never used twice
// (so every generation is the same), and the only state here is which files are open and how often the kernel was told
// of an inode. Permissions, umask and locks are the kernel's business. What a file means is the tree's.
//
// A process must not use the mount that it serves (https://github.com/hanwen/go-fuse, package fuse): it can deadlock.
package fusefs

import (
	"errors"
	"log/slog"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"sharefs/fusefs/tree"
)

// rawFS answers the kernel's requests. Requests that it does not define are answered with ENOSYS, which the kernel
// takes as "never ask again": COPY_FILE_RANGE becomes a copy by read and write there, STATX a GETATTR.
type rawFS struct {
	fuse.RawFileSystem

	ns       tree.Namespace
	conf     config
	server   *fuse.Server // set by Init
	handles  handles
	lookups  lookups
	failures failures
}

var _ fuse.RawFileSystem = (*rawFS)(nil)

// config is how requests are answered.
type config struct {
	readOnly  bool
	others    bool          // others may change the store: what the kernel has of a file is for one open
	trust     time.Duration // how long the kernel may keep names and attributes without asking
	ioTimeout time.Duration // a request that waits longer for the store fails with EIO
	log       *slog.Logger
}

func newRawFS(ns tree.Namespace, conf config) *rawFS {
	return &rawFS{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		ns:            ns,
		conf:          conf,
		handles:       newHandles(),
		lookups:       newLookups(),
		failures:      failures{log: conf.log},
	}
}

// String names the filesystem in go-fuse's messages.
func (r *rawFS) String() string { return fsName }

// Init is called before the first request.
func (r *rawFS) Init(server *fuse.Server) { r.server = server }

// OnUnmount is called when the kernel side is gone. The kernel drops the RELEASE and FORGET requests that were still
// queued, so what they would have said is done here.
func (r *rawFS) OnUnmount() {
	for _, h := range r.handles.takeAll() {
		h.Release()
	}
	for _, ino := range r.lookups.takeAll() {
		r.ns.Forget(ino)
	}
}

// doubtEntry makes the kernel forget what it believes of a name after a call that was done and reported as failed. It waits
// for the directory's lock, which the request holds until it is answered, and so in a goroutine of its own.
func (r *rawFS) doubtEntry(err error, parent uint64, name string) {
	var done *tree.NotStored
	if errors.As(err, &done) && r.server != nil {
		go func() { _ = r.server.EntryNotify(parent, name) }() // it may not know the name
	}
}

// doubtAttr is doubtEntry for attributes.
func (r *rawFS) doubtAttr(err error, ino uint64) {
	var done *tree.NotStored
	if errors.As(err, &done) && r.server != nil {
		go func() { _ = r.server.InodeNotify(ino, -1, 0) }()
	}
}

// StatFs answers statfs(2).
func (r *rawFS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	st := r.ns.Statfs()
	*out = fuse.StatfsOut{
		Blocks:  st.Blocks,
		Bfree:   st.BlocksFree,
		Bavail:  st.BlocksFree,
		Files:   st.Files,
		Ffree:   st.FilesFree,
		Bsize:   st.BlockSize,
		Frsize:  st.BlockSize,
		NameLen: st.MaxNameSize,
	}
	return fuse.OK
}

package fusefs

import (
	"errors"
	"io"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"sharefs/fusefs/tree"
)

// Create makes a file and opens it, or opens the one that is there.
func (r *rawFS) Create(interrupt <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	req := r.begin(opCreate, interrupt, &in.InHeader)
	defer req.end()
	truncates := in.OpenFlags&fuse.OPEN_KILL_SUIDGID != 0 // by somebody without CAP_FSETID, if the file is there
	flags := in.Flags
	if truncates {
		flags |= syscall.O_EXCL // a new file keeps the mode that it is made with
	}
	attr, h, err := r.ns.Create(req, caller(&in.InHeader), in.NodeId, name, in.Mode&0o7777, flags)
	existed := truncates && errors.Is(err, syscall.EEXIST)
	if existed {
		attr, h, err = r.ns.Create(req, caller(&in.InHeader), in.NodeId, name, in.Mode&0o7777, in.Flags)
	}
	if err != nil {
		return r.status(req, err)
	}
	if existed {
		if attr, err = r.dropPrivileges(req, &in.InHeader, attr.Ino); err != nil {
			h.Release()
			return r.status(req, err)
		}
	}
	r.entry(attr, &out.EntryOut)
	r.opened(h, in.Flags, &out.OpenOut)
	return fuse.OK
}

// Tmpfile makes a file without a name and opens it.
func (r *rawFS) Tmpfile(interrupt <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	req := r.begin(opTmpfile, interrupt, &in.InHeader)
	defer req.end()
	attr, h, err := r.ns.Tmpfile(req, caller(&in.InHeader), in.NodeId, in.Mode&0o7777, in.Flags)
	if err != nil {
		return r.status(req, err)
	}
	r.entry(attr, &out.EntryOut)
	r.opened(h, in.Flags, &out.OpenOut)
	return fuse.OK
}

// Open opens a file. O_TRUNC is part of it, one request instead of two.
func (r *rawFS) Open(interrupt <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	req := r.begin(opOpen, interrupt, &in.InHeader)
	defer req.end()
	h, err := r.ns.Open(req, in.NodeId, in.Flags)
	if err != nil {
		return r.status(req, err)
	}
	if in.Mode&fuse.OPEN_KILL_SUIDGID != 0 {
		if _, err := r.dropPrivileges(req, &in.InHeader, in.NodeId); err != nil {
			h.Release()
			return r.status(req, err)
		}
	}
	r.opened(h, in.Flags, out)
	return fuse.OK
}

// opened answers with a handle. Under a mount that has its store for itself nothing changes a file but the kernel itself, so the pages
// that it has stay right. A handle that cannot write has nothing to promise at close.
func (r *rawFS) opened(h tree.Handle, flags uint32, out *fuse.OpenOut) {
	*out = fuse.OpenOut{Fh: r.handles.add(h)}
	if !r.conf.others {
		out.OpenFlags |= fuse.FOPEN_KEEP_CACHE
	}
	if flags&syscall.O_ACCMODE == syscall.O_RDONLY {
		out.OpenFlags |= fuse.FOPEN_NOFLUSH
	}
}

// Read fills buf; fewer bytes are the file's end.
func (r *rawFS) Read(interrupt <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	req := r.begin(opRead, interrupt, &in.InHeader)
	defer req.end()
	h := r.handles.get(in.Fh)
	if h == nil {
		return nil, r.notOpen(req)
	}
	n, err := h.ReadAt(req, buf, int64(in.Offset))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, r.status(req, err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Write stores data. What was written before an error counts, as write(2) has it.
func (r *rawFS) Write(interrupt <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	req := r.begin(opWrite, interrupt, &in.InHeader)
	defer req.end()
	h := r.handles.get(in.Fh)
	if h == nil {
		return 0, r.notOpen(req)
	}
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		if _, err := r.dropPrivileges(req, &in.InHeader, in.NodeId); err != nil {
			return 0, r.status(req, err)
		}
	}
	write := h.WriteAt
	if in.Flags&syscall.O_APPEND != 0 {
		write = h.Append
	}
	n, err := write(req, data, int64(in.Offset))
	if err != nil && n == 0 {
		return 0, r.status(req, err)
	}
	return uint32(n), fuse.OK
}

// Fallocate answers fallocate(2).
func (r *rawFS) Fallocate(interrupt <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	req := r.begin(opAllocate, interrupt, &in.InHeader)
	defer req.end()
	h := r.handles.get(in.Fh)
	if h == nil {
		return r.notOpen(req)
	}
	if in.Uid != 0 { // the kernel does not say who has CAP_FSETID
		if _, err := r.dropPrivileges(req, &in.InHeader, in.NodeId); err != nil {
			return r.status(req, err)
		}
	}
	return r.status(req, h.Allocate(req, int64(in.Offset), int64(in.Length), in.Mode))
}

// Lseek answers SEEK_DATA and SEEK_HOLE; the rest of lseek(2) the kernel does itself.
func (r *rawFS) Lseek(interrupt <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	req := r.begin(opSeek, interrupt, &in.InHeader)
	defer req.end()
	h := r.handles.get(in.Fh)
	if h == nil {
		return r.notOpen(req)
	}
	off, err := h.Seek(req, int64(in.Offset), in.Whence)
	if err != nil {
		return r.status(req, err)
	}
	out.Offset = uint64(off)
	return fuse.OK
}

// Flush is close(2), which waits for the answer.
func (r *rawFS) Flush(interrupt <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	req := r.begin(opFlush, interrupt, &in.InHeader)
	defer req.end()
	h := r.handles.get(in.Fh)
	if h == nil {
		return r.notOpen(req)
	}
	return r.status(req, h.Flush(req))
}

// Fsync answers fsync(2) and fdatasync(2) alike.
func (r *rawFS) Fsync(interrupt <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	req := r.begin(opFsync, interrupt, &in.InHeader)
	defer req.end()
	h := r.handles.get(in.Fh)
	if h == nil {
		return r.notOpen(req)
	}
	return r.status(req, h.Fsync(req))
}

// Release ends a handle. Nobody waits for it.
func (r *rawFS) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	if h := r.handles.take(in.Fh); h != nil {
		h.Release()
	}
}

// Ioctl says that there are none.
func (r *rawFS) Ioctl(<-chan struct{}, *fuse.IoctlIn, []byte, *fuse.IoctlOut, []byte) fuse.Status {
	return fuse.Status(syscall.ENOTTY)
}

// notOpen answers a request for a handle that does not exist.
func (r *rawFS) notOpen(req *request) fuse.Status {
	return r.status(req, syscall.EBADF)
}

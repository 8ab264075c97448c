package fusefs

import (
	"context"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// operation is a type of request.
type operation struct {
	name    string
	byName  bool // it names an entry of a directory, not an inode
	patient bool // it may take as long as storing takes: the tree decides when to give up
}

var (
	opLookup      = operation{name: "lookup", byName: true}
	opGetAttr     = operation{name: "getattr"}
	opSetAttr     = operation{name: "setattr"}
	opReadlink    = operation{name: "readlink"}
	opMknod       = operation{name: "mknod", byName: true}
	opMkdir       = operation{name: "mkdir", byName: true}
	opSymlink     = operation{name: "symlink", byName: true}
	opUnlink      = operation{name: "unlink", byName: true}
	opRmdir       = operation{name: "rmdir", byName: true}
	opRename      = operation{name: "rename", byName: true}
	opLink        = operation{name: "link", byName: true}
	opCreate      = operation{name: "create", byName: true}
	opTmpfile     = operation{name: "tmpfile"}
	opOpen        = operation{name: "open"}
	opRead        = operation{name: "read"}
	opWrite       = operation{name: "write"}
	opAllocate    = operation{name: "fallocate"}
	opSeek        = operation{name: "lseek"}
	opFlush       = operation{name: "flush", patient: true}
	opFsync       = operation{name: "fsync", patient: true}
	opFsyncDir    = operation{name: "fsyncdir", patient: true}
	opReadDir     = operation{name: "readdir"}
	opGetXattr    = operation{name: "getxattr"}
	opSetXattr    = operation{name: "setxattr"}
	opListXattr   = operation{name: "listxattr"}
	opRemoveXattr = operation{name: "removexattr"}
)

// request is the context of one request. It ends when its caller is to be woken (see interrupt.go), or after the
// configured limit. Most requests wait for nothing, so timer and watcher are made only when somebody asks for Done.
type request struct {
	op        operation
	ino       uint64
	thread    uint32
	interrupt <-chan struct{}
	deadline  time.Time // zero: none

	mu    sync.Mutex
	armed context.Context // guarded by mu; nil until Done is asked for
	stop  context.CancelFunc
}

var _ context.Context = (*request)(nil)

// begin makes the context of a request. The caller ends it.
func (r *rawFS) begin(op operation, interrupt <-chan struct{}, h *fuse.InHeader) *request {
	req := &request{op: op, ino: h.NodeId, thread: h.Pid, interrupt: interrupt}
	if !op.patient && r.conf.ioTimeout > 0 {
		req.deadline = time.Now().Add(r.conf.ioTimeout)
	}
	return req
}

// end says that the answer is ready: nothing waits for the request any more.
func (req *request) end() {
	req.mu.Lock()
	defer req.mu.Unlock()
	if req.armed == nil {
		req.armed = ended
		return
	}
	req.stop()
}

// ended is what a request is after its end when nobody had asked for Done.
var ended = func() context.Context {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	return ctx
}()

// arm returns the context behind the request.
func (req *request) arm() context.Context {
	req.mu.Lock()
	defer req.mu.Unlock()
	if req.armed != nil {
		return req.armed
	}
	if req.deadline.IsZero() {
		req.armed, req.stop = context.WithCancel(context.Background())
	} else {
		req.armed, req.stop = context.WithDeadline(context.Background(), req.deadline)
	}
	go awaitInterrupt(req.armed, req.stop, req.interrupt, req.thread)
	return req.armed
}

// Deadline implements context.Context.
func (req *request) Deadline() (time.Time, bool) { return req.deadline, !req.deadline.IsZero() }

// Done implements context.Context.
func (req *request) Done() <-chan struct{} { return req.arm().Done() }

// Err implements context.Context.
func (req *request) Err() error {
	req.mu.Lock()
	defer req.mu.Unlock()
	if req.armed == nil {
		return nil
	}
	return req.armed.Err()
}

// Value implements context.Context. It leads contexts derived from the request to the one behind it, which spares them
// a goroutine each.
func (req *request) Value(key any) any { return req.arm().Value(key) }

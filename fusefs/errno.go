package fusefs

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"sharefs/provider"
)

// kindErrno is what each kind of a store's error is to the process that made the request.
var kindErrno = map[provider.Kind]syscall.Errno{
	provider.KindOther:        syscall.EIO,
	provider.KindNotFound:     syscall.ENOENT, // ESTALE where the request names an inode: see status
	provider.KindNoStore:      syscall.EIO,    // not ENOENT: a program would take it for "no such file" and create one
	provider.KindPrecondition: syscall.ESTALE,
	provider.KindUnsupported:  syscall.EOPNOTSUPP,
	provider.KindInvalid:      syscall.EINVAL,
	provider.KindNotEmpty:     syscall.ENOTEMPTY,
	provider.KindConflict:     syscall.EIO, // a foreign object in the way, which only its owner can mend
	provider.KindDenied:       syscall.EACCES,
	provider.KindAuth:         syscall.EACCES,
	provider.KindQuota:        syscall.EDQUOT,
	provider.KindReadOnly:     syscall.EROFS,
	provider.KindTooLarge:     syscall.EFBIG,
	provider.KindThrottled:    syscall.EIO,
	provider.KindUnavailable:  syscall.EIO,
	provider.KindCorrupt:      syscall.EIO,
}

// errnoOf returns the errno for an error of the tree. The outermost error that says something decides: a store's error
// keeps its kind whatever caused it.
func errnoOf(err error) syscall.Errno {
	for e := err; e != nil; e = errors.Unwrap(e) {
		switch e := e.(type) {
		case syscall.Errno:
			return answerable(e)
		case *provider.Error:
			if errno, known := kindErrno[e.Kind]; known {
				return errno
			}
			return syscall.EIO
		case *fs.PathError:
			return localErrno(e.Err)
		case *os.LinkError:
			return localErrno(e.Err)
		case *os.SyscallError:
			return localErrno(e.Err)
		}
		if e == context.Canceled {
			return syscall.EINTR
		}
	}
	return syscall.EIO
}

// answerable replaces the one errno that must not be sent: the kernel takes ENOSYS as "never ask again".
func answerable(errno syscall.Errno) syscall.Errno {
	if errno == syscall.ENOSYS {
		return syscall.EOPNOTSUPP
	}
	return errno
}

// localErrno is for errors of our own files in the cache directory. Only what lacks means the same for the caller: a
// missing or unreadable file of ours is not a missing file of theirs.
func localErrno(err error) syscall.Errno {
	for own, errno := range map[syscall.Errno]syscall.Errno{
		syscall.ENOSPC: syscall.ENOSPC, syscall.EDQUOT: syscall.ENOSPC,
		syscall.EMFILE: syscall.ENFILE, syscall.ENFILE: syscall.ENFILE, // their own descriptors have not run out
	} {
		if errors.Is(err, own) {
			return errno
		}
	}
	return syscall.EIO
}

// status answers a request with the outcome of the tree's call. Errors that a program cannot interpret are logged.
func (r *rawFS) status(req *request, err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	errno := errnoOf(err)
	switch {
	case errno == syscall.EINTR && req.Err() == nil:
		errno = syscall.EIO // given up for reasons of our own, such as the end of the mount
	case errno == syscall.ENOENT && !req.op.byName && provider.Is(err, provider.KindNotFound):
		errno = syscall.ESTALE // the object vanished behind the mount; the kernel looks the name up again
	}
	if _, plain := err.(syscall.Errno); !plain && trouble[errno] {
		r.failures.report(req, errno, err)
	}
	return fuse.Status(errno)
}

// trouble are the errnos that say of a mount or its store that something is wrong. They are logged, with the error that
// they stand for, unless the tree chose the errno itself.
var trouble = map[syscall.Errno]bool{
	syscall.EIO: true, syscall.EACCES: true, syscall.EDQUOT: true, syscall.ENOSPC: true, syscall.EROFS: true,
	syscall.EFBIG: true, syscall.ESTALE: true, syscall.ENFILE: true,
}

// failures logs failed requests, at most one line in failureInterval for a request type and errno: with an unreachable
// store every request fails.
type failures struct {
	log  *slog.Logger
	mu   sync.Mutex
	seen map[failure]*repeats // guarded by mu; bounded by request types and errnos
}

const failureInterval = 10 * time.Second

type failure struct {
	op    string
	errno syscall.Errno
}

type repeats struct {
	logged time.Time
	silent int // since then
}

func (f *failures) report(req *request, errno syscall.Errno, err error) {
	key := failure{req.op.name, errno}
	now := time.Now()
	f.mu.Lock()
	if f.seen == nil {
		f.seen = make(map[failure]*repeats)
	}
	r := f.seen[key]
	if r == nil {
		r = new(repeats)
		f.seen[key] = r
	}
	if now.Sub(r.logged) < failureInterval {
		r.silent++
		f.mu.Unlock()
		return
	}
	silent := r.silent
	*r = repeats{logged: now}
	f.mu.Unlock()
	f.log.Warn("request failed", "request", req.op.name, "inode", req.ino, "errno", errno, "error", err, "suppressed", silent)
}

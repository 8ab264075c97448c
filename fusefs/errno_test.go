package fusefs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"sharefs/provider"
)

func TestErrorsBecomeTheErrnoThatProgramsExpect(t *testing.T) {
	kind := func(k provider.Kind) error { return &provider.Error{Op: "put", Key: "k", Kind: k} }
	local := func(errno syscall.Errno) error { return &fs.PathError{Op: "open", Path: "/cache/x", Err: errno} }
	for _, tc := range []struct {
		name string
		err  error
		op   operation
		want syscall.Errno
	}{
		{"an errno passes", syscall.ENOTEMPTY, opRmdir, syscall.ENOTEMPTY},
		{"a wrapped errno passes", fmt.Errorf("rename: %w", syscall.EXDEV), opRename, syscall.EXDEV},
		{"never ENOSYS, which the kernel would remember", syscall.ENOSYS, opFlush, syscall.EOPNOTSUPP},
		{"no such object, by name", kind(provider.KindNotFound), opLookup, syscall.ENOENT},
		{"no such object, by inode", kind(provider.KindNotFound), opRead, syscall.ESTALE},
		{"no such bucket is no missing file", kind(provider.KindNoStore), opLookup, syscall.EIO},
		{"changed by somebody else", kind(provider.KindPrecondition), opRead, syscall.ESTALE},
		{"the store cannot do it", kind(provider.KindUnsupported), opRename, syscall.EOPNOTSUPP},
		{"a wrong request", kind(provider.KindInvalid), opMkdir, syscall.EINVAL},
		{"a directory with entries", kind(provider.KindNotEmpty), opRmdir, syscall.ENOTEMPTY},
		{"a foreign object in the way", kind(provider.KindConflict), opFsync, syscall.EIO},
		{"forbidden", kind(provider.KindDenied), opRead, syscall.EACCES},
		{"wrong credentials", kind(provider.KindAuth), opRead, syscall.EACCES},
		{"quota", kind(provider.KindQuota), opFsync, syscall.EDQUOT},
		{"read-only store", kind(provider.KindReadOnly), opFsync, syscall.EROFS},
		{"too large", kind(provider.KindTooLarge), opFsync, syscall.EFBIG},
		{"throttled", kind(provider.KindThrottled), opRead, syscall.EIO},
		{"unreachable", kind(provider.KindUnavailable), opRead, syscall.EIO},
		{"corrupt", kind(provider.KindCorrupt), opRead, syscall.EIO},
		{"a kind without a meaning", kind(provider.KindOther), opRead, syscall.EIO},
		{"a kind that is not known", kind(provider.Kind(200)), opRead, syscall.EIO},
		{"the kind counts, not its cause", &provider.Error{Kind: provider.KindDenied, Err: local(syscall.ENOENT)}, opRead, syscall.EACCES},
		{"the cache directory is full", local(syscall.ENOSPC), opWrite, syscall.ENOSPC},
		{"quota of the cache directory", local(syscall.EDQUOT), opWrite, syscall.ENOSPC},
		{"the daemon has too many files open", local(syscall.EMFILE), opOpen, syscall.ENFILE},
		{"a missing file of ours is not a missing file of theirs", local(syscall.ENOENT), opOpen, syscall.EIO},
		{"a failed call on a file of ours", os.NewSyscallError("fallocate", syscall.EINVAL), opWrite, syscall.EIO},
		{"a failed rename of a file of ours", &os.LinkError{Op: "rename", Err: syscall.ENOTDIR}, opWrite, syscall.EIO},
		{"the time is up", context.DeadlineExceeded, opRead, syscall.EIO},
		{"given up for reasons of our own", context.Canceled, opRead, syscall.EIO},
		{"anything else", errors.New("a bug"), opRead, syscall.EIO},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRawFS(newModel(), config{log: slog.New(slog.DiscardHandler)})
			req := r.begin(tc.op, nil, &fuse.InHeader{})
			if got := r.status(req, tc.err); got != fuse.Status(tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestEveryKindHasAnErrno(t *testing.T) {
	for k := provider.KindOther; k <= provider.KindCorrupt; k++ {
		if _, known := kindErrno[k]; !known {
			t.Errorf("kind %q has none", k)
		}
	}
}

func TestInterruptedRequestIsEINTR(t *testing.T) {
	r := newRawFS(newModel(), config{log: slog.New(slog.DiscardHandler)})
	interrupt := make(chan struct{})
	req := r.begin(opRead, interrupt, &fuse.InHeader{}) // thread 0, which cannot be looked at
	close(interrupt)
	<-req.Done()
	if got := r.status(req, fmt.Errorf("get: %w", req.Err())); got != fuse.EINTR {
		t.Errorf("got %v, want EINTR", got)
	}
}

func TestFailuresAreLoggedWithoutFlooding(t *testing.T) {
	var out bytes.Buffer
	r := newRawFS(newModel(), config{log: slog.New(slog.NewTextHandler(&out, nil))})
	broken := &provider.Error{Op: "open", Key: "dir/file", Kind: provider.KindUnavailable}
	for range 100 {
		r.status(r.begin(opRead, nil, &fuse.InHeader{NodeId: 7}), broken)
	}
	r.status(r.begin(opWrite, nil, &fuse.InHeader{NodeId: 7}), broken)
	r.status(r.begin(opLookup, nil, &fuse.InHeader{NodeId: 7}), syscall.ENOENT)
	got := out.String()
	if n := strings.Count(got, "\n"); n != 2 {
		t.Errorf("%d lines, want one for read and one for write:\n%s", n, got)
	}
	for _, want := range []string{"request=read", "request=write", "inode=7", "dir/file"} {
		if !strings.Contains(got, want) {
			t.Errorf("the log does not say %s:\n%s", want, got)
		}
	}
}

package file

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"sharefs/provider"
)

// errnoKinds says what an errno means to the callers of a provider. One that is not here is KindOther.
var errnoKinds = map[unix.Errno]provider.Kind{
	unix.ENOENT:       provider.KindNotFound,
	unix.ENOTDIR:      provider.KindConflict,
	unix.EISDIR:       provider.KindConflict,
	unix.ELOOP:        provider.KindConflict,
	unix.EEXIST:       provider.KindConflict,
	unix.EBUSY:        provider.KindConflict, // a mount point
	unix.ENOTEMPTY:    provider.KindNotEmpty,
	unix.EACCES:       provider.KindDenied,
	unix.EPERM:        provider.KindDenied,
	unix.EROFS:        provider.KindReadOnly,
	unix.ENOSPC:       provider.KindQuota,
	unix.EDQUOT:       provider.KindQuota,
	unix.ENAMETOOLONG: provider.KindInvalid,
	unix.EINVAL:       provider.KindInvalid,
	unix.EFBIG:        provider.KindTooLarge,
	unix.E2BIG:        provider.KindTooLarge,
	unix.EXDEV:        provider.KindUnsupported, // a mount point in between
	unix.ENOTSUP:      provider.KindUnsupported,
	unix.ENOSYS:       provider.KindUnsupported,
	unix.EIO:          provider.KindUnavailable,
	unix.ESTALE:       provider.KindUnavailable,
	unix.ETIMEDOUT:    provider.KindUnavailable,
	unix.EMFILE:       provider.KindUnavailable,
	unix.ENFILE:       provider.KindUnavailable,
	unix.ENOMEM:       provider.KindUnavailable,
}

// kindOf returns the kind of an *Error or of an errno.
func kindOf(err error) provider.Kind {
	var errno unix.Errno
	switch {
	case errors.Is(err, errMetadataSize):
		return provider.KindTooLarge
	case errors.As(err, &errno):
		return errnoKinds[errno]
	}
	return provider.KindOf(err)
}

// missing reports whether the errno of a lookup means that there is no such object. What is below a file or a symlink
// does not exist either.
func missing(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// fail makes the error of a method from what a system call returned.
func (s *Store) fail(ctx context.Context, op, key string, err error) error {
	kind := kindOf(err)
	switch {
	case kind == provider.KindNotFound && s.removed():
		kind, err = provider.KindNoStore, fmt.Errorf("the directory %s was removed", s.path)
	case errors.Is(err, unix.EXDEV):
		err = fmt.Errorf("another file system is mounted below %s: %w", s.path, err)
	}
	return provider.E(ctx, op, key, kind, err)
}

// failRead is fail for a method that looks an object up.
func (s *Store) failRead(ctx context.Context, op, key string, err error) error {
	if missing(err) {
		err = unix.ENOENT
	}
	return s.fail(ctx, op, key, err)
}

// refuse makes the error of a method that this package itself refuses.
func refuse(op, key string, kind provider.Kind, format string, args ...any) error {
	return &provider.Error{Op: op, Key: key, Kind: kind, Err: fmt.Errorf(format, args...)}
}

// removed reports whether the root was deleted under the store.
func (s *Store) removed() bool {
	var st unix.Stat_t
	return unix.Fstat(int(s.root), &st) == nil && st.Nlink == 0
}

// writable returns why the store cannot be changed, as the error of a method, or nil.
func (s *Store) writable(op, key string) error {
	if s.readOnly == nil {
		return nil
	}
	return &provider.Error{Op: op, Key: key, Kind: kindOf(s.readOnly), Err: s.readOnly}
}

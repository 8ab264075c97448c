package provider

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// Kind says what an error means to the caller, whatever store it came from.
type Kind uint8

// The kinds of errors.
const (
	KindOther        Kind = iota // none of the others: a bug here or there
	KindNotFound                 // no such object or upload
	KindNoStore                  // no such bucket, container or directory
	KindPrecondition             // a condition does not hold
	KindUnsupported              // the store cannot do this
	KindInvalid                  // the request is wrong: a key, a size, a part
	KindNotEmpty                 // a directory that has entries
	KindConflict                 // a key is in the way: an object where a directory is needed, or the reverse
	KindDenied                   // the credentials are good and may not do this
	KindAuth                     // the credentials are missing, wrong or expired
	KindQuota                    // the store may hold no more
	KindReadOnly                 // the store takes no changes
	KindTooLarge                 // beyond a size limit of the store
	KindThrottled                // too many requests; RetryAfter may tell when to come again
	KindUnavailable              // no answer, a broken one, or 5xx: it may have taken effect, and may work later
	KindCorrupt                  // the bytes do not match their checksum
)

var kindNames = [...]string{
	"error", "not found", "no such store", "precondition failed", "not supported by the store", "invalid",
	"directory not empty", "another object is in the way", "access denied", "not authenticated", "quota exceeded",
	"read-only", "too large", "throttled", "unavailable", "corrupt",
}

// String returns the kind in words.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Transient reports whether the same request may succeed later without anybody mending anything.
func (k Kind) Transient() bool { return k == KindThrottled || k == KindUnavailable || k == KindCorrupt }

// Error is the error of a Provider.
type Error struct {
	Op         string // the method in lower case: "stat", "put", "upload.complete"
	Key        string // the key, or the prefix of a List; may be empty
	Kind       Kind
	RetryAfter time.Duration // not before; 0 when the store did not say
	Unanswered bool          // with KindUnavailable: no answer came, and the request may yet take effect
	Err        error         // the cause; may be nil
}

// Error returns op, key, kind and cause in one line.
func (e *Error) Error() string {
	s := e.Op
	if e.Key != "" {
		s += fmt.Sprintf(" %q", e.Key)
	}
	s += ": " + e.Kind.String()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, fs.ErrNotExist) and fs.ErrPermission work.
func (e *Error) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Kind == KindNotFound || e.Kind == KindNoStore
	case fs.ErrPermission:
		return e.Kind == KindDenied || e.Kind == KindAuth
	}
	return false
}

// E makes the error of a method from a cause: the context's own error when ctx is done (so that drivers can pass
// whatever they got), the cause unchanged when it is an *Error already, else an *Error of the kind.
func E(ctx context.Context, op, key string, kind Kind, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var pe *Error
	if errors.As(err, &pe) {
		return err
	}
	return &Error{Op: op, Key: key, Kind: kind, Err: err}
}

// Invalid makes an *Error of KindInvalid.
func Invalid(op, key, format string, args ...any) error {
	return &Error{Op: op, Key: key, Kind: KindInvalid, Err: fmt.Errorf(format, args...)}
}

// Unsupported makes an *Error of KindUnsupported.
func Unsupported(op, key, why string) error {
	return &Error{Op: op, Key: key, Kind: KindUnsupported, Err: errors.New(why)}
}

// IsContext reports whether err is a context's error.
func IsContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// Unanswered reports whether err is that of a request that got no answer, and may yet take effect; of a Delete of several keys,
// for one of them at least.
func Unanswered(err error) bool {
	var d DeleteErrors
	if errors.As(err, &d) {
		return slices.ContainsFunc(d, func(e *Error) bool { return e.Unanswered })
	}
	var e *Error
	return errors.As(err, &e) && e.Unanswered
}

// KindOf returns the kind of the first *Error in err's chain, KindOther for any other error.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindOther
}

// Is reports whether err is an *Error of the kind.
func Is(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}

// DeleteErrors is the cause of the error of a Delete of several keys: one *Error for each key that failed.
type DeleteErrors []*Error

// Error counts the failures and shows the first.
func (d DeleteErrors) Error() string {
	if len(d) == 0 {
		return "no key failed"
	}
	return fmt.Sprintf("%d of the keys failed, the first: %v", len(d), d[0])
}

// NewDeleteError returns nil when nothing failed, else the error that Delete returns.
func NewDeleteError(failed DeleteErrors) error {
	switch len(failed) {
	case 0:
		return nil
	case 1:
		return failed[0]
	}
	return &Error{Op: "delete", Key: failed[0].Key, Kind: failed[0].Kind, RetryAfter: failed[0].RetryAfter, Err: failed}
}

// Failed returns the keys that an error of Delete names; for any other error nil: then every key may have failed.
func Failed(err error) DeleteErrors {
	var d DeleteErrors
	if errors.As(err, &d) {
		return d
	}
	var e *Error
	if errors.As(err, &e) && e.Op == "delete" && e.Key != "" {
		return DeleteErrors{e}
	}
	return nil
}

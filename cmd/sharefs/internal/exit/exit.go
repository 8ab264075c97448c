// Package exit names the exit codes of the command, so that scripts can tell apart what went wrong. An error that
// carries no code is Failed.
package exit

import (
	"errors"
	"fmt"
)

// Code is an exit code of the process.
type Code int

// The exit codes. They are documented by "sharefs help exit-codes" and do not change.
const (
	OK         Code = 0
	Failed     Code = 1 // anything that has no code of its own
	Usage      Code = 2 // a flag, an argument, the environment or the config file is wrong
	Store      Code = 3 // the store cannot be opened
	Mountpoint Code = 4 // the directory cannot be mounted on, or the machine does not permit it
	NotStored  Code = 5 // something is not in the store: umount, flush; status, when something is stuck
	Busy       Code = 6 // somebody uses the mount or its cache directory
	NoMount    Code = 7 // no mount there, or its daemon does not answer
	Findings   Code = 8 // probe, doctor and share have found something that is not as it should be
)

// Error is an error with the exit code that it causes.
type Error struct {
	Code Code
	Err  error
}

// Error returns the message of the cause.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of a format, as fmt.Errorf does.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// With gives an error a code, unless it has one already. Nil stays nil.
func With(code Code, err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return &Error{Code: code, Err: err}
}

// CodeOf returns the code that an error causes.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &e):
		return e.Code
	}
	return Failed
}

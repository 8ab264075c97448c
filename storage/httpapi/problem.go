package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"syscall"

	"sharefs/storage"
	"sharefs/storage/container"
)

// statusError is an answer that is not a success. Its text goes to the client, and has nothing secret.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return e.text }

// problem makes the error of an answer.
func problem(code int, format string, args ...any) error {
	return &statusError{code, fmt.Sprintf(format, args...)}
}

// answerOf returns the code and the text that an error becomes. What only the operator should see, such as the name of a file, is not in it.
func answerOf(err error) (int, string) {
	var status *statusError
	if errors.As(err, &status) {
		return status.code, status.text
	}
	for _, a := range answers {
		if errors.Is(err, a.err) {
			return a.code, a.text
		}
	}
	return http.StatusInternalServerError, "the server cannot do this; its operator finds why in its log"
}

// answers are those of the store's errors.
var answers = []struct {
	err  error
	code int
	text string
}{
	{fs.ErrNotExist, http.StatusNotFound, "there is no such share or upload"},
	{storage.ErrUploadEnded, http.StatusNotFound, "the upload has ended"},
	{storage.ErrConflict, http.StatusConflict, "other bytes were written here before"},
	{storage.ErrWriteEnabler, http.StatusUnauthorized, "the write enabler is not that of this slot"},
	{storage.ErrTooBig, http.StatusRequestEntityTooLarge, "the share would be too large"},
	{storage.ErrNoSpace, http.StatusInsufficientStorage, "there is no room"},
	{syscall.ENOSPC, http.StatusInsufficientStorage, "there is no room"},
	{syscall.EDQUOT, http.StatusInsufficientStorage, "there is no room"},
	{container.ErrDamaged, http.StatusInternalServerError, "the share is damaged"},
	{container.ErrUnknown, http.StatusInternalServerError, "the share is of an unknown kind, or not of the one that was asked for"},
	{context.Canceled, http.StatusServiceUnavailable, "the request was cancelled"},
}

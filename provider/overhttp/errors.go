package overhttp

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"sharefs/provider"
)

// Refused reports whether a request never left: nobody listens.
func Refused(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial"
}

// Cause is the text of a request that got no answer, without what its URL may tell.
func Cause(err error) error {
	var broken *url.Error
	if !errors.As(err, &broken) {
		return HideContext(err)
	}
	host := broken.URL
	if u, parseErr := url.Parse(broken.URL); parseErr == nil {
		host = u.Host
	}
	return HideContext(fmt.Errorf("no answer from %s: %w", host, broken.Err))
}

// HideContext hides an error that claims to be a context's, where the caller's context is not done: the time limits of a
// connection make such.
func HideContext(err error) error {
	if provider.IsContext(err) {
		return Opaque(err.Error())
	}
	return err
}

// Opaque is an error that is nothing but its text.
type Opaque string

func (e Opaque) Error() string { return string(e) }

// NoAnswer makes the error of a request that was sent, or was to be sent, and got no answer.
func NoAnswer(op, key string, err error) error {
	return &provider.Error{Op: op, Key: key, Kind: provider.KindUnavailable, Unanswered: !Refused(err), Err: Cause(err)}
}

// KindOf returns what a status that is no success means by HTTP alone. What a store means by it otherwise, and what is not
// found, is its driver's to say.
func KindOf(status int) provider.Kind {
	switch status {
	case http.StatusBadRequest, http.StatusRequestedRangeNotSatisfiable:
		return provider.KindInvalid
	case http.StatusUnauthorized:
		return provider.KindAuth
	case http.StatusForbidden:
		return provider.KindDenied
	case http.StatusNotFound:
		return provider.KindNotFound
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return provider.KindUnsupported
	case http.StatusPreconditionFailed:
		return provider.KindPrecondition
	case http.StatusRequestEntityTooLarge:
		return provider.KindTooLarge
	case http.StatusTooManyRequests:
		return provider.KindThrottled
	case http.StatusInsufficientStorage:
		return provider.KindQuota
	}
	if status >= 500 {
		return provider.KindUnavailable
	}
	return provider.KindOther
}

// OfGateway reports whether a status is that of somebody before the store, to whom the store gave no answer: it may yet carry the
// request out.
func OfGateway(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusGatewayTimeout
}

// Said is the text of an answer that refuses: what the store said, the status, and the id, which may be empty, by which its
// operator finds the request.
func Said(text string, status int, id string) string {
	if id != "" {
		return fmt.Sprintf("%s (HTTP %d, request %s)", text, status, id)
	}
	return fmt.Sprintf("%s (HTTP %d)", text, status)
}

// IfDeleted says what to do about a bucket or a container that is not there.
const IfDeleted = "if it was deleted, restore it, or make a new one: what is staged here is stored then"

// RetryAfter reads the header of that name: seconds, or a date. 0 means that there is none.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

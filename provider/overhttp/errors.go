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

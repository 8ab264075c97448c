package swift

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"sharefs/provider"
	"sharefs/provider/overhttp"
)

// refusal is an answer that is not 2xx.
type refusal struct {
	status int
	text   string // what the cluster said, in one line; may be empty
	id     string // by which the cluster's operator finds the request
	header http.Header
}

// statusRateLimited is what Swift's ratelimit middleware answers.
const statusRateLimited = 498

// statusClientDisconnected is what Swift says of a body that ended early.
const statusClientDisconnected = 499

var tags = regexp.MustCompile(`<[^>]*>`)

// readRefusal reads what an answer says, and closes it.
func readRefusal(res *http.Response) *refusal {
	text, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10)) // what can be read of it
	_ = res.Body.Close()
	plain := html.UnescapeString(tags.ReplaceAllString(string(text), " "))
	return &refusal{status: res.StatusCode, text: strings.Join(strings.Fields(plain), " "), id: res.Header.Get("X-Trans-Id"), header: res.Header}
}

// Error says what the cluster said.
func (r *refusal) Error() string {
	text := r.text
	if text == "" {
		text = "the cluster gave no reason"
	}
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	return overhttp.Said(text, r.status, r.id)
}

// refusalOf returns what the cluster said when it refused; the zero refusal when it did not.
func refusalOf(err error) refusal {
	var r *refusal
	if errors.As(err, &r) {
		return *r
	}
	return refusal{}
}

// kindOf returns what a status means. That of 404 is the caller's to tell apart.
func kindOf(status int) provider.Kind {
	switch status {
	case http.StatusLengthRequired, http.StatusRequestURITooLong:
		return provider.KindInvalid
	case http.StatusUnprocessableEntity:
		return provider.KindCorrupt
	case statusRateLimited,
		http.StatusConflict: // something newer is there, by the clock of another proxy: nothing was done, and later it can be
		return provider.KindThrottled
	case http.StatusRequestTimeout, statusClientDisconnected:
		return provider.KindUnavailable
	}
	return overhttp.KindOf(status)
}

// refused makes the error of a request from what the cluster said.
func (s *store) refused(ctx context.Context, r request, said *refusal) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	kind := kindOf(said.status)
	var why error = said
	switch {
	case kind == provider.KindNotFound && r.object == "" && !r.info,
		kind == provider.KindNotFound && r.method == http.MethodPut && r.header.Get("X-Copy-From") == "":
		kind = provider.KindNoStore
		why = fmt.Errorf("there is no container %s: %w", r.container, said)
		if r.container == s.cfg.Container {
			s.seen.Store(false)
			why = fmt.Errorf("%w; %s", why, overhttp.IfDeleted)
		}
	case kind == provider.KindTooLarge && r.size <= s.caps.MaxPutSize && !r.copiesAll():
		kind = provider.KindQuota // Swift has one status for both, and one that is passed refuses even what is empty
	case kind == provider.KindAuth:
		why = fmt.Errorf("the token and one that was asked for anew are refused: %w", said)
	}
	return &provider.Error{Op: r.op, Key: r.key, Kind: kind, RetryAfter: overhttp.RetryAfter(said.header, time.Now()), Err: why,
		Unanswered: overhttp.OfGateway(said.status)}
}

// missing asks whether there is a container when an object was not found and nothing yet said that there is one.
func (s *store) missing(ctx context.Context, op, key string, err error) error {
	if !provider.Is(err, provider.KindNotFound) || s.seen.Load() {
		return err
	}
	_, failed := s.headContainer(ctx, op, s.cfg.Container)
	var pe *provider.Error
	if !errors.As(failed, &pe) {
		return orErr(failed, err)
	}
	if pe.Kind == provider.KindDenied {
		return err // one who may not ask for the container can only be told of the object
	}
	named := *pe
	named.Key = key
	return &named
}

func orErr(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

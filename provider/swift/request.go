package swift

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"sharefs/provider"
	"sharefs/provider/overhttp"
)

// request is one request of Swift's protocol (https://docs.openstack.org/api-ref/object-store/).
type request struct {
	op, key   string // of the method that it is for; the key is in errors only
	method    string
	container string // empty: the account
	object    string // empty: the container
	query     url.Values
	header    http.Header
	body      io.ReadSeeker // stands where it is to be sent from; nil: none
	size      int64         // of the body
	slow      bool          // the cluster may work on it for minutes before it answers
	info      bool          // the cluster's own description, for which neither container nor token counts
}

// copiesAll reports whether the cluster is asked to copy an object of any size: not a range, which fits into a segment, nor a manifest.
func (r request) copiesAll() bool {
	return r.header.Get("X-Copy-From") != "" && r.header.Get("Range") == "" && !r.query.Has(paramManifest)
}

// answer is an answer of 2xx.
type answer struct {
	*http.Response
	token string // that it was asked with
}

// close reads what little is left, so that the connection can be used again, and closes the answer.
func (a *answer) close() {
	_, _ = io.CopyN(io.Discard, a.Body, 64<<10) // the answer has been used already
	_ = a.Body.Close()
}

// do sends a request. A token that is refused is exchanged once. Any answer but 2xx is an error, whose cause is a *refusal.
func (s *store) do(ctx context.Context, r request) (*answer, error) {
	used := ""
	for attempt := 1; ; attempt++ {
		grant, err := s.session.token(ctx, used)
		if err != nil {
			return nil, loginFailedFor(ctx, r, err)
		}
		res, err := s.send(ctx, r, grant)
		if err != nil {
			return nil, s.unanswered(ctx, r, err)
		}
		if res.StatusCode/100 == 2 {
			return &answer{res, grant.token}, nil
		}
		said := readRefusal(res)
		if res.StatusCode != http.StatusUnauthorized || attempt > 1 || grant.fixed {
			return nil, s.refused(ctx, r, said)
		}
		used = grant.token
		if r.body != nil {
			if _, err := r.body.Seek(0, io.SeekStart); err != nil {
				return nil, provider.E(ctx, r.op, r.key, provider.KindOther, err)
			}
		}
	}
}

func (s *store) send(ctx context.Context, r request, g grant) (*http.Response, error) {
	to, err := r.url(g.storage)
	if err != nil {
		return nil, err
	}
	var body io.Reader
	if r.body != nil && r.size > 0 {
		body = r.body
	}
	req, err := http.NewRequestWithContext(ctx, r.method, to, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = r.size
	for name, values := range r.header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "sharefs")
	if !r.info {
		req.Header.Set("X-Auth-Token", g.token)
	}
	client := s.http.For(r.size)
	if r.slow {
		client = s.http.Slow
	}
	return client.Do(req)
}

// url returns where a request goes. Swift decodes a path once, and nothing of a name has a meaning in it.
func (r request) url(storage string) (string, error) {
	if r.info {
		return infoURL(storage)
	}
	var to strings.Builder
	to.WriteString(strings.TrimSuffix(storage, "/"))
	if r.container != "" {
		to.WriteString("/" + escape(r.container))
	}
	if r.object != "" {
		to.WriteString("/" + escape(r.object))
	}
	if len(r.query) > 0 {
		to.WriteString("?" + r.query.Encode())
	}
	return to.String(), nil
}

// escape percent-encodes a name for a path or a header.
func escape(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
		if part == "." || part == ".." { // no client may take them for directories
			parts[i] = strings.ReplaceAll(part, ".", "%2E")
		}
	}
	return strings.Join(parts, "/")
}

// unanswered makes the error of a request that got no answer.
func (s *store) unanswered(ctx context.Context, r request, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var pe *provider.Error
	if errors.As(err, &pe) { // of a body, or of a gate
		return err
	}
	var unsent *url.Error
	if !errors.As(err, &unsent) {
		return &provider.Error{Op: r.op, Key: r.key, Kind: provider.KindOther, Err: overhttp.HideContext(err)}
	}
	return overhttp.NoAnswer(r.op, r.key, err)
}

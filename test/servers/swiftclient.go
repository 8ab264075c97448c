package servers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// SwiftRequest is a plain request of Swift's own protocol, to check from outside what sharefs did.
type SwiftRequest struct {
	Method    string
	Container string // empty: the account
	Key       string // empty: the container
	Query     url.Values
	Header    http.Header
	Body      []byte
}

// SwiftStatus is an answer that is not 2xx.
type SwiftStatus struct {
	Status int
	Text   string
}

func (e *SwiftStatus) Error() string { return fmt.Sprintf("HTTP %d: %s", e.Status, e.Text) }

// Do sends a request. The caller closes the answer's body. An answer that is not 2xx is a *SwiftStatus.
func (s *SwiftServer) Do(ctx context.Context, r SwiftRequest) (*http.Response, error) {
	return s.client.do(ctx, r)
}

// SwiftListed is an object, or a directory, in a listing.
type SwiftListed struct {
	Name   string `json:"name"`
	Subdir string `json:"subdir"`
	Bytes  int64  `json:"bytes"`
	Hash   string `json:"hash"`
	Type   string `json:"content_type"`
}

// List returns all that a container lists below a prefix, and one level of it if there is a delimiter.
func (s *SwiftServer) List(ctx context.Context, container, prefix, delimiter string) ([]SwiftListed, error) {
	var all []SwiftListed
	query := url.Values{"format": {"json"}, "prefix": {prefix}, "delimiter": {delimiter}}
	for {
		res, err := s.Do(ctx, SwiftRequest{Method: "GET", Container: container, Query: query})
		if err != nil {
			return nil, err
		}
		var page []SwiftListed
		err = errors.Join(json.NewDecoder(res.Body).Decode(&page), res.Body.Close())
		if err != nil || len(page) == 0 {
			return all, err
		}
		all = append(all, page...)
		last := page[len(page)-1]
		query.Set("marker", last.Name+last.Subdir)
	}
}

// SetQuota limits the bytes of the whole account, as its operator; a negative number lifts the limit.
func (s *SwiftServer) SetQuota(ctx context.Context, bytes int64) error {
	operator := newSwiftClient(s.Auth, "operator:operator", s.operatorKey)
	defer operator.http.CloseIdleConnections()
	if err := operator.login(ctx); err != nil {
		return err
	}
	if err := s.client.login(ctx); err != nil {
		return err
	}
	operator.storage = s.client.storage
	value := ""
	if bytes >= 0 {
		value = strconv.FormatInt(bytes, 10)
	}
	res, err := operator.send(ctx, SwiftRequest{Method: "POST", Header: http.Header{"X-Account-Meta-Quota-Bytes": {value}}})
	if err != nil {
		return err
	}
	return res.Body.Close()
}

type swiftClient struct {
	auth, user, key string
	transport       *http.Transport
	http            *http.Client

	mu             sync.Mutex
	token, storage string // empty: not logged in
}

func newSwiftClient(auth, user, key string) *swiftClient {
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	return &swiftClient{auth: auth, user: user, key: key, transport: transport, http: &http.Client{Transport: transport}}
}

// login gets a token.
func (c *swiftClient) login(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.auth, nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-Auth-User", c.user)
	req.Header.Set("X-Auth-Key", c.key)
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	if err := refused(res); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token, c.storage = res.Header.Get("X-Auth-Token"), res.Header.Get("X-Storage-Url")
	return res.Body.Close()
}

// do sends a request, with another token if the one it has is worth nothing any more.
func (c *swiftClient) do(ctx context.Context, r SwiftRequest) (*http.Response, error) {
	c.mu.Lock()
	known := c.token != ""
	c.mu.Unlock()
	if !known {
		if err := c.login(ctx); err != nil {
			return nil, err
		}
	}
	res, err := c.send(ctx, r)
	var status *SwiftStatus
	if !errors.As(err, &status) || status.Status != http.StatusUnauthorized {
		return res, err
	}
	if err := c.login(ctx); err != nil {
		return nil, err
	}
	return c.send(ctx, r)
}

func (c *swiftClient) send(ctx context.Context, r SwiftRequest) (*http.Response, error) {
	c.mu.Lock()
	token, to := c.token, c.storage
	c.mu.Unlock()
	if r.Container != "" {
		to += "/" + url.PathEscape(r.Container)
		if r.Key != "" {
			to += "/" + (&url.URL{Path: r.Key}).EscapedPath()
		}
	}
	if len(r.Query) > 0 {
		to += "?" + r.Query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, to, strings.NewReader(string(r.Body)))
	if err != nil {
		return nil, err
	}
	for name, values := range r.Header {
		req.Header[name] = values
	}
	req.Header.Set("X-Auth-Token", token)
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	return res, refused(res)
}

// refused returns the error of an answer that is not 2xx, and closes its body.
func refused(res *http.Response) error {
	if res.StatusCode/100 == 2 {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, 1000))
	return errors.Join(&SwiftStatus{res.StatusCode, string(text)}, err, res.Body.Close())
}

// try stores an object and removes it, which takes every server.
func (c *swiftClient) try(ctx context.Context) error {
	if err := c.login(ctx); err != nil {
		return err
	}
	for _, r := range []SwiftRequest{
		{Method: "PUT", Container: "starting"}, {Method: "PUT", Container: "starting", Key: "k"}, {Method: "GET", Container: "starting"},
		{Method: "DELETE", Container: "starting", Key: "k"},
	} {
		res, err := c.send(ctx, r)
		if err != nil {
			return err
		}
		if err := res.Body.Close(); err != nil {
			return err
		}
	}
	return nil
}

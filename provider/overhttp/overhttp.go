// Package overhttp is what the drivers of stores that speak HTTP share: clients that know how long a store may be silent,
// bodies that are exactly as long as was promised, what to make of an answer that is none or does not come, and how the URLs
// of stores are read.
//
// It knows no protocol of a store, repeats no request, and follows no redirect.
package overhttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"sharefs/provider"
)

// Options are the options of NewClients.
type Options struct {
	// Timeout is how long the store may be silent: no answer to a request, no byte of a body taken. It does not limit how
	// long a body may take. 0 means one minute.
	Timeout time.Duration

	Proxy func(*http.Request) (*url.URL, error) // nil: that of HTTPS_PROXY, HTTP_PROXY and NO_PROXY
	Roots *x509.CertPool                        // the certificates to trust; nil: the system's
}

// Clients are the connections to a store, with time limits for each phase that can hang, and none for a whole request: a
// large body may take as long as it moves. Slow is for requests that a server may work on for minutes before it answers: it
// has ten times as long for the answer.
type Clients struct {
	Usual, Slow *Client
	Timeout     time.Duration // that of the Options, or what it is by default
}

// NewClients makes the clients. The caller closes them.
func NewClients(opts Options) *Clients {
	if opts.Timeout <= 0 {
		opts.Timeout = time.Minute
	}
	if opts.Proxy == nil {
		opts.Proxy = http.ProxyFromEnvironment
	}
	return &Clients{
		Usual: newClient(opts, opts.Timeout), Slow: newClient(opts, 10*opts.Timeout), Timeout: opts.Timeout,
	}
}

// largeBody is the size from which on a server may still have work to do when it has all of a body.
const largeBody = 64 << 20

// For returns the client for a request with a body of so many bytes.
func (c *Clients) For(size int64) *Client {
	if size >= largeBody {
		return c.Slow
	}
	return c.Usual
}

// Close ends idle connections.
func (c *Clients) Close() {
	c.Usual.CloseIdleConnections()
	c.Slow.CloseIdleConnections()
}

// Client sends requests. It hides from net/http that a body can write itself: where a body ends when the answer begins,
// net/http, which may then still look whether it goes on behind its announced length, takes the io.EOF of an ended
// WriteTo for a broken request and closes the connection under the answer.
type Client struct{ *http.Client }

// Do sends the request, if it still may be sent.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	if err := provider.Pass(req.Context()); err != nil {
		return nil, err
	}
	if req.Body != nil && req.Body != http.NoBody {
		body := req.Body
		req = req.WithContext(req.Context()) // a copy
		req.Body = struct{ io.ReadCloser }{body}
	}
	return c.Client.Do(req)
}

// newClient returns a client that waits so long for an answer to begin. Redirects are answers: following one would break a
// signature, or give a token away.
func newClient(opts Options, answer time.Duration) *Client {
	connect := min(10*time.Second, opts.Timeout)
	dialer := &net.Dialer{Timeout: connect, KeepAlive: 30 * time.Second}
	return &Client{&http.Client{
		Transport: &http.Transport{
			Proxy: opts.Proxy,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := dialer.DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return &impatientConn{Conn: conn, stall: opts.Timeout}, nil
			},
			TLSHandshakeTimeout:   connect,
			TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: opts.Roots},
			ResponseHeaderTimeout: answer,
			ExpectContinueTimeout: time.Second,
			IdleConnTimeout:       90 * time.Second,
			MaxIdleConnsPerHost:   100, // as many as there are requests at a time; the limit decorator bounds those
			DisableCompression:    true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// impatientConn gives up on a peer that takes nothing for too long.
type impatientConn struct {
	net.Conn
	stall time.Duration
}

func (c *impatientConn) Write(b []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// RootsWith returns the system's certificates and those of a file in PEM.
func RootsWith(name string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a system without certificates
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %w", name, errors.New("it holds no certificate in PEM"))
	}
	return pool, nil
}

package s3

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"sharefs/provider"
)

const defaultRegion = "us-east-1"

// connect finds region and credentials, unless it was given those, in the SDK's own chain and makes the client. Without credentials nothing could
// work, so their absence is an error here.
func (s *store) connect(ctx context.Context) error {
	found, err := s.cfg.load(ctx)
	if err != nil {
		return err
	}
	s.region = found.Region
	if s.region == "" {
		if s.cfg.endpoint(found) == "" {
			return invalid("open", "", "no region: add ?region=NAME to the URL, or set AWS_REGION")
		}
		s.region = defaultRegion
	}
	creds := s.source(found.Credentials)
	if _, err := creds.Retrieve(ctx); err != nil {
		return s.fail(ctx, "open", "", err)
	}
	s.client = awss3.NewFromConfig(found, func(o *awss3.Options) {
		o.Region = s.region
		o.UsePathStyle = s.cfg.PathStyle
		if s.cfg.Endpoint != "" {
			o.BaseEndpoint = &s.cfg.Endpoint
		}
		o.Credentials = aws.NewCredentialsCache(creds)
		o.HTTPClient = s.http.usual
		o.HTTPSignerV4 = &freshSigner{}
		// Checksums are the driver's own: the SDK's would be sent behind the body, in a framing that many servers refuse.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.Retryer = aws.NopRetryer{}
		o.Logger = logging.Nop{} // what goes wrong is returned
	})
	return nil
}

func (c Config) loadOptions() []func(*config.LoadOptions) error {
	opts := []func(*config.LoadOptions) error{
		config.WithAppID("sharefs"),
		config.WithLogger(logging.Nop{}),
	}
	if c.Region != "" {
		opts = append(opts, config.WithRegion(c.Region))
	}
	if c.Profile != "" {
		opts = append(opts, config.WithSharedConfigProfile(c.Profile))
	}
	return opts
}

// credentials marks the errors of finding credentials, so that they can be told from those of a request.
type credentials struct{ inner aws.CredentialsProvider }

type credentialsError struct{ err error }

func (e *credentialsError) Error() string {
	return fmt.Sprintf("no usable credentials: %v; %s", e.err, whereSecretsGo)
}
func (e *credentialsError) Unwrap() error { return e.err }

// Retrieve returns the credentials of the chain.
func (c *credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	found, err := c.inner.Retrieve(ctx)
	if err != nil {
		return found, &credentialsError{err}
	}
	return found, nil
}

// transports are the connections to the store, with time limits for each phase that can hang, and none for a
// whole request: a large body may take as long as it moves.
type transports struct {
	usual, slow *client
}

func newTransports(timeout time.Duration) *transports {
	return &transports{usual: newClient(timeout, timeout), slow: newClient(timeout, 10*timeout)}
}

// client hides from net/http that a body can write itself. The SDK ends a body when the answer begins; net/http, which
// may then still look whether a body goes on behind its announced length, takes the io.EOF of an ended WriteTo for
// a broken request and closes the connection under the answer.
type client struct{ *http.Client }

// Do sends the request, if it still may be sent.
func (c *client) Do(req *http.Request) (*http.Response, error) {
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

// newClient returns a client that waits so long for a body's next byte to be taken, and for an answer to begin.
// Redirects are answers: following one would break the signature.
func newClient(stall, answer time.Duration) *client {
	connect := min(10*time.Second, stall)
	dialer := &net.Dialer{Timeout: connect, KeepAlive: 30 * time.Second}
	return &client{&http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := dialer.DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return &impatientConn{Conn: conn, stall: stall}, nil
			},
			TLSHandshakeTimeout:   connect,
			TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
			ResponseHeaderTimeout: answer,
			ExpectContinueTimeout: time.Second,
			IdleConnTimeout:       90 * time.Second,
			MaxIdleConnsPerHost:   100, // as many as there are requests at a time; the limit decorator bounds those
			DisableCompression:    true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (t *transports) close() {
	t.usual.CloseIdleConnections()
	t.slow.CloseIdleConnections()
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

// Package servers starts real servers for tests: MinIO and versitygw, at pinned versions, built once into the user's
// cache directory, and OpenStack Swift from Debian's packages. Each listens on a free port of 127.0.0.1 with random credentials and a data directory of its own,
// and is gone when the test ends or the test program dies. Proxy puts a reverse proxy before one, which counts requests and misbehaves on demand.
//
// A server that cannot be built or started fails the test: a test that is skipped proves nothing.
package servers

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	// buildTimeout covers the build of a server on a slow machine with an empty module cache.
	buildTimeout = 30 * time.Minute
	startTimeout = time.Minute
)

// Server is a running S3 server.
type Server struct {
	Name      string // "minio" or "versitygw"
	Endpoint  string // http://127.0.0.1:PORT, the same after a Restart; https with a CAFile
	CAFile    string // of MinIOTLS: the certificate to trust
	Region    string
	AccessKey string
	SecretKey string
	DataDir   string // what it stores; versitygw's posix backend keeps an object as DataDir/bucket/key

	sealing   string // 32 bytes: what MinIO's key service has
	software  software
	binary    string
	dir       string // holds DataDir and the log
	addr      string
	transport *http.Transport
	client    *s3.Client

	mu      sync.Mutex
	process *process // nil: not started
}

// MinIO starts MinIO and ends it with the test.
func MinIO(tb testing.TB) *Server {
	tb.Helper()
	return forTest(tb, StartMinIO)
}

// MinIOTLS starts MinIO behind TLS, with a certificate that signs itself, and ends it with the test.
func MinIOTLS(tb testing.TB) *Server {
	tb.Helper()
	return forTest(tb, func(ctx context.Context) (*Server, error) {
		sw := minio()
		sw.tls = true
		return start(ctx, sw)
	})
}

// VersityGW starts versitygw with its posix backend and ends it with the test.
func VersityGW(tb testing.TB) *Server {
	tb.Helper()
	return forTest(tb, StartVersityGW)
}

// StartMinIO starts MinIO for a program that is not a test. The caller closes it.
func StartMinIO(ctx context.Context) (*Server, error) { return start(ctx, minio()) }

// StartVersityGW starts versitygw for a program that is not a test. The caller closes it.
func StartVersityGW(ctx context.Context) (*Server, error) { return start(ctx, versitygw()) }

func forTest(tb testing.TB, start func(context.Context) (*Server, error)) *Server {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	s, err := start(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the last lines of %s:\n%s", s.Name, s.log())
		}
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func start(ctx context.Context, sw software) (*Server, error) {
	binary, err := sw.binary(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "sharefs-"+sw.name+"-")
	if err != nil {
		return nil, err
	}
	s := &Server{
		Name: sw.name, Region: "us-east-1", AccessKey: "test" + rand.Text()[:12], SecretKey: rand.Text() + rand.Text(),
		DataDir: filepath.Join(dir, "data"), sealing: (rand.Text() + rand.Text())[:32], software: sw, binary: binary, dir: dir,
		transport: &http.Transport{MaxIdleConnsPerHost: 16, TLSClientConfig: &tls.Config{}},
	}
	err = os.Mkdir(s.DataDir, 0o755)
	if err == nil && sw.tls {
		err = s.makeCertificate()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	// Between the choice of a free port and the server's bind another program may take it: choose again.
	for range 3 {
		if err = s.listenOn(FreePort()); err != nil {
			break
		}
		if err = s.launch(ctx); err == nil {
			return s, nil
		}
		if !s.portTaken() {
			break
		}
	}
	return nil, errors.Join(fmt.Errorf("starting %s: %w", sw.name, err), s.Close())
}

func (s *Server) listenOn(addr string, err error) error {
	if err != nil {
		return err
	}
	s.addr, s.Endpoint = addr, "http://"+addr
	if s.CAFile != "" {
		s.Endpoint = "https://" + addr
	}
	s.client = s.ClientAt(s.Endpoint)
	return nil
}

// launch starts the process and waits until it answers a request signed with our credentials, which only our own
// server can.
func (s *Server) launch(ctx context.Context) error {
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	args, env := s.software.command(s)
	env = append(env, "PATH="+os.Getenv("PATH"), "HOME="+s.dir, "TMPDIR="+s.dir)
	p, err := startProcess(s.binary, args, env, log)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.process = p
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := s.waitReady(ctx, p); err != nil {
		return errors.Join(fmt.Errorf("%w; its last lines:\n%s", err, s.log()), p.kill())
	}
	return nil
}

func (s *Server) waitReady(ctx context.Context, p *process) error {
	return await(ctx, p, func() error {
		_, err := s.client.ListBuckets(ctx, &s3.ListBucketsInput{})
		return err
	})
}

// await tries until it succeeds, the process ends or the context does.
func await(ctx context.Context, p *process, try func() error) error {
	again := time.NewTicker(25 * time.Millisecond)
	defer again.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-p.done:
			return fmt.Errorf("the process ended: %v", p.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w, last answer: %w", ctx.Err(), err)
		}
	}
}

func (s *Server) logPath() string { return filepath.Join(s.dir, "log") }

func (s *Server) log() []byte {
	b, err := os.ReadFile(s.logPath())
	if err != nil {
		return []byte(err.Error())
	}
	return tail(b, 4000)
}

func (s *Server) portTaken() bool {
	return strings.Contains(string(s.log()), "in use")
}

// Kill ends the server with SIGKILL, as a crash would. Connections are refused until Restart.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil
	}
	return s.process.kill()
}

// Pause stops the server with SIGSTOP: connections are accepted by the kernel and nothing is answered until Resume. It
// returns when the last of the server's threads has stopped.
func (s *Server) Pause() error {
	p, err := s.signal(syscall.SIGSTOP)
	if err != nil {
		return err
	}
	return p.awaitStop()
}

// Resume lets a paused server go on.
func (s *Server) Resume() error {
	_, err := s.signal(syscall.SIGCONT)
	return err
}

func (s *Server) signal(sig syscall.Signal) (*process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil || s.process.ended() {
		return nil, fmt.Errorf("%s is not running", s.Name)
	}
	return s.process, s.process.cmd.Process.Signal(sig)
}

// Restart ends the server if it runs and starts it on the same port with the same data and credentials.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Kill(); err != nil {
		return err
	}
	if err := s.launch(ctx); err != nil {
		return fmt.Errorf("restarting %s: %w", s.Name, err)
	}
	return nil
}

// Close ends the server, sees that it is gone, and removes its data.
func (s *Server) Close() error {
	s.transport.CloseIdleConnections()
	err := s.Kill()
	return errors.Join(err, os.RemoveAll(s.dir))
}

// Pid returns the process id of the server, 0 when it does not run.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil || s.process.ended() {
		return 0
	}
	return s.process.cmd.Process.Pid
}

// Client returns a plain SDK client of the server, to check from outside what sharefs did.
func (s *Server) Client() *s3.Client { return s.client }

// ClientAt returns a plain SDK client that reaches the server under another address, such as a Proxy's.
func (s *Server) ClientAt(endpoint string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(endpoint),
		Region:       s.Region,
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
		HTTPClient:   &client{&http.Client{Transport: s.transport}},
		Retryer:      aws.NopRetryer{},
	})
}

// client keeps net/http from writing a body by its WriteTo: the SDK ends the body when the answer begins, which net/http
// may take for a broken request and close the connection under the answer.
type client struct{ *http.Client }

// Do sends the request.
func (c *client) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.Body != http.NoBody {
		body := req.Body
		req = req.WithContext(req.Context()) // a copy
		req.Body = struct{ io.ReadCloser }{body}
	}
	return c.Client.Do(req)
}

// CreateBucket makes the bucket.
func (s *Server) CreateBucket(ctx context.Context, bucket string) error {
	_, err := s.client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket})
	if err != nil {
		return fmt.Errorf("creating bucket %s on %s: %w", bucket, s.Name, err)
	}
	return nil
}

// Bucket makes a bucket with a name that is not taken and returns the name.
func (s *Server) Bucket(tb testing.TB) string {
	tb.Helper()
	bucket := "test-" + strings.ToLower(rand.Text()[:16])
	if err := s.CreateBucket(tb.Context(), bucket); err != nil {
		tb.Fatal(err)
	}
	return bucket
}

// URL returns the sharefs URL of a prefix (which may be empty) in a bucket.
func (s *Server) URL(bucket, prefix string) string { return s.URLAt(s.Endpoint, bucket, prefix) }

// URLAt returns the sharefs URL of a prefix in a bucket that reaches the server under another address, such as a Proxy's.
func (s *Server) URLAt(endpoint, bucket, prefix string) string {
	query := url.Values{"endpoint": {endpoint}, "path_style": {"true"}, "region": {s.Region}}
	if s.CAFile != "" {
		query.Set("ca_file", s.CAFile)
	}
	u := url.URL{Scheme: "s3", Host: bucket, Path: "/" + prefix, RawQuery: query.Encode()}
	return u.String()
}

// Env returns the environment that gives a program the server's credentials, and keeps it from looking for others.
func (s *Server) Env() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + s.AccessKey,
		"AWS_SECRET_ACCESS_KEY=" + s.SecretKey,
		"AWS_SESSION_TOKEN=",
		"AWS_REGION=" + s.Region,
		"AWS_PROFILE=",
		"AWS_CONFIG_FILE=" + os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
		"AWS_EC2_METADATA_DISABLED=true",
	}
}

// SetEnv sets Env for the duration of the test. Like tb.Setenv it cannot be used in parallel tests.
func (s *Server) SetEnv(tb testing.TB) {
	tb.Helper()
	setEnv(tb, s.Env())
}

func setEnv(tb testing.TB, env []string) {
	tb.Helper()
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		tb.Setenv(name, value)
	}
}

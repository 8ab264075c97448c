package servers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// SwiftOptions are what tests want of a Swift. The zero value is Swift's own.
type SwiftOptions struct {
	MaxFileSize int64         // bytes of an object; 0: 5 GiB
	TokenLife   time.Duration // of a token, in whole seconds; 0: a day

	// LateListings lets listings lag when the server is busy, as Swift does by itself. Else what is stored is listed.
	LateListings bool
}

// SwiftServer is a running OpenStack Swift: proxy, account, container and object server, with one replica, updaters, and a
// memcached of its own. It knows TempAuth (auth version 1) and speaks S3, too.
type SwiftServer struct {
	Endpoint string // http://127.0.0.1:PORT, the same after a Restart
	Auth     string // the URL that gives out tokens
	User     string // ACCOUNT:NAME
	Key      string

	opts        SwiftOptions
	operatorKey string
	salt        string
	dir         string // holds the configuration, the data and the log
	addr        map[string]string
	client      *swiftClient

	mu        sync.Mutex
	swift     *process // nil: not started
	memcached *process
}

// The servers that a Swift consists of, as Pause and Resume name them.
const (
	SwiftProxy     = "proxy"
	SwiftAccount   = "account"
	SwiftContainer = "container"
	SwiftObject    = "object"

	swiftMemcached = "memcached"
)

// Swift starts OpenStack Swift and ends it with the test.
func Swift(tb testing.TB, opts SwiftOptions) *SwiftServer {
	tb.Helper()
	s, err := StartSwift(tb.Context(), opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the last lines of Swift:\n%s", s.log())
		}
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// StartSwift starts OpenStack Swift for a program that is not a test. The caller closes it. It needs the Debian packages
// python3-swift and memcached, and no rights.
func StartSwift(ctx context.Context, opts SwiftOptions) (*SwiftServer, error) {
	dir, err := os.MkdirTemp("", "sharefs-swift-")
	if err != nil {
		return nil, err
	}
	s := &SwiftServer{
		opts: opts, dir: dir, salt: rand.Text(), Key: rand.Text() + rand.Text(), operatorKey: rand.Text(),
		User: "test" + strings.ToLower(rand.Text()[:8]) + ":tester", addr: map[string]string{},
	}
	err = os.MkdirAll(filepath.Join(s.devices(), "d1"), 0o755)
	// Between the choice of the free ports and the servers' binds another program may take one: choose again.
	for range 3 {
		if err != nil {
			break
		}
		if err = s.choosePorts(); err != nil {
			break
		}
		if err = s.launch(ctx); err == nil {
			return s, nil
		}
		if !strings.Contains(string(s.log()), "in use") {
			break
		}
		err = errors.Join(err, s.Kill(), os.Remove(s.logPath()))
	}
	return nil, errors.Join(fmt.Errorf("starting Swift: %w", err), s.Close())
}

func (s *SwiftServer) choosePorts() error {
	for _, name := range []string{SwiftProxy, SwiftAccount, SwiftContainer, SwiftObject, swiftMemcached} {
		addr, err := FreePort()
		if err != nil {
			return err
		}
		s.addr[name] = addr
	}
	s.Endpoint = "http://" + s.addr[SwiftProxy]
	s.Auth = s.Endpoint + swiftAuthPath
	s.client = newSwiftClient(s.Auth, s.User, s.Key)
	return nil
}

// swiftAuthPath is where TempAuth gives out tokens.
const swiftAuthPath = "/auth/v1.0"

func (s *SwiftServer) devices() string { return filepath.Join(s.dir, "devices") }
func (s *SwiftServer) logPath() string { return filepath.Join(s.dir, "log") }

func (s *SwiftServer) log() []byte {
	b, err := os.ReadFile(s.logPath())
	if err != nil {
		return []byte(err.Error())
	}
	return tail(b, 4000)
}

// Kill ends all of it with SIGKILL, as a crash would. Connections are refused until Restart.
func (s *SwiftServer) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed []error
	if s.swift != nil {
		failed = append(failed, s.swift.terminate())
	}
	if s.memcached != nil {
		failed = append(failed, s.memcached.kill())
	}
	return errors.Join(failed...)
}

// Restart ends what runs and starts it on the same ports with the same data and credentials.
func (s *SwiftServer) Restart(ctx context.Context) error {
	if err := s.Kill(); err != nil {
		return err
	}
	if err := s.launch(ctx); err != nil {
		return fmt.Errorf("restarting Swift: %w", err)
	}
	return nil
}

// ForgetTokens makes all tokens that were given out worth nothing.
func (s *SwiftServer) ForgetTokens(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr[swiftMemcached])
	if err != nil {
		return err
	}
	if err := errors.Join(conn.SetDeadline(time.Now().Add(startTimeout)), flushMemcached(conn)); err != nil {
		return errors.Join(err, conn.Close())
	}
	return conn.Close()
}

func flushMemcached(conn io.ReadWriter) error {
	if _, err := io.WriteString(conn, "flush_all\r\n"); err != nil {
		return err
	}
	answer := make([]byte, len("OK\r\n"))
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "OK\r\n" {
		return fmt.Errorf("memcached says %q: %w", answer, err)
	}
	return nil
}

// RestartMemcached restarts what keeps the tokens: all that were given out are worth nothing then, and for some requests
// Swift has no way to give out others.
func (s *SwiftServer) RestartMemcached(ctx context.Context) error {
	s.mu.Lock()
	err := s.memcached.kill()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.startMemcached(ctx)
}

// Pause stops one of the servers: connections are accepted by the kernel and nothing is answered until Resume.
func (s *SwiftServer) Pause(server string) error { return s.pause(server) }

// Resume lets a paused server go on.
func (s *SwiftServer) Resume(server string) error { return s.resume(server) }

// Close ends all of it, sees that it is gone, and removes its data.
func (s *SwiftServer) Close() error {
	if s.client != nil {
		s.client.http.CloseIdleConnections()
	}
	return errors.Join(s.Kill(), os.RemoveAll(s.dir))
}

// CreateContainer makes the container.
func (s *SwiftServer) CreateContainer(ctx context.Context, name string) error {
	res, err := s.Do(ctx, SwiftRequest{Method: "PUT", Container: name})
	if err != nil {
		return fmt.Errorf("creating container %s: %w", name, err)
	}
	return res.Body.Close()
}

// Container makes a container with a name that is not taken and returns the name.
func (s *SwiftServer) Container(tb testing.TB) string {
	tb.Helper()
	name := "test-" + strings.ToLower(rand.Text()[:16])
	if err := s.CreateContainer(tb.Context(), name); err != nil {
		tb.Fatal(err)
	}
	return name
}

// URL returns the sharefs URL of a prefix (which may be empty) in a container.
func (s *SwiftServer) URL(container, prefix string) string {
	return s.URLAt(s.Endpoint, container, prefix)
}

// URLAt returns the sharefs URL of a prefix in a container that reaches the server under another address, such as a
// Proxy's. Swift gives out a storage URL at the address that it was asked for a token at.
func (s *SwiftServer) URLAt(endpoint, container, prefix string) string {
	query := url.Values{"auth": {endpoint + swiftAuthPath}, "auth_version": {"1"}}
	u := url.URL{Scheme: "swift", Host: container, Path: "/" + prefix, RawQuery: query.Encode()}
	return u.String()
}

// Env returns the environment that gives a program the server's credentials, and keeps it from looking for others.
func (s *SwiftServer) Env() []string {
	env := []string{"ST_USER=" + s.User, "ST_KEY=" + s.Key, "ST_AUTH=" + s.Auth}
	for _, name := range []string{"OS_CLOUD", "OS_CLIENT_CONFIG_FILE", "OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD", "OS_STORAGE_URL", "OS_AUTH_TOKEN"} {
		env = append(env, name+"=")
	}
	return env
}

// SetEnv sets Env for the duration of the test. Like tb.Setenv it cannot be used in parallel tests.
func (s *SwiftServer) SetEnv(tb testing.TB) {
	tb.Helper()
	setEnv(tb, s.Env())
}

// S3 returns the S3 side of the server, whose buckets are the containers. It ends with the server; its Kill, Pause,
// Restart and Close are not for use.
func (s *SwiftServer) S3() *Server {
	face := &Server{Name: "swift-s3api", Region: swiftRegion, AccessKey: s.User, SecretKey: s.Key, transport: s.client.transport}
	face.addr, face.Endpoint = s.addr[SwiftProxy], s.Endpoint
	face.client = face.ClientAt(face.Endpoint)
	return face
}

package httpapi

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a network without buffers whose clock is that of a bubble.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error {
	close(p)
	return nil
}

func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// served is the server's end of a connection.
type served struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (s *served) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

func (p pipes) dial() (net.Conn, *served) {
	ours, theirs := net.Pipe()
	s := &served{Conn: theirs, closed: make(chan struct{})}
	p <- s
	return ours, s
}

// drip writes a byte every ten seconds for as long as somebody takes them.
func drip(w io.Writer, text string) {
	for i := range len(text) {
		if _, err := io.WriteString(w, text[i:i+1]); err != nil {
			return
		}
		time.Sleep(10 * time.Second)
	}
}

// TestSlowClientsLoseTheirConnection: it is closed when what a client has for its next step is over.
func TestSlowClientsLoseTheirConnection(t *testing.T) {
	const size = 1 << 20
	authorization := "Host: x\r\nAuthorization: " + credentials(swissnum) + "\r\n"
	chunkHead := "PATCH /storage/v1/immutable/" + other + "/1 HTTP/1.1\r\n" + authorization + authorizationHeader + ": " + chunk[0] +
		"\r\nContent-Range: bytes 0-99/100\r\nContent-Length: 100\r\n\r\n"
	say := func(text string) func(io.Writer) {
		return func(conn io.Writer) { _, _ = io.WriteString(conn, text) } // the server may have gone
	}
	for name, tc := range map[string]struct {
		send   func(conn io.Writer) // inside TLS; nil: no handshake
		unread bool                 // nobody takes the answer
		want   string               // what it begins with
		after  time.Duration
	}{
		"says nothing":  {after: patience},
		"asks nothing":  {send: say(""), after: patience},
		"drips headers": {send: func(conn io.Writer) { drip(conn, "GET /storage/v1/version HTTP/1.1\r\n") }, want: "HTTP/1.1 400", after: patience},
		"drips a body": {send: func(conn io.Writer) {
			say(chunkHead)(conn)
			drip(conn, strings.Repeat("x", 100))
		}, want: "HTTP/1.1 408", after: patience},
		"asks nothing more": {send: say("GET /storage/v1/version HTTP/1.1\r\n" + authorization + "\r\n"), want: "HTTP/1.1 200", after: idle},
		"does not take a share": {send: say("GET /storage/v1/immutable/" + index + "/1 HTTP/1.1\r\n" + authorization + "\r\n"),
			unread: true, after: allowance(size)},
		"does not take an error": {send: say("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), unread: true, after: patience},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := make(pipes)
				s := serveOn(t, Options{}, network)
				s.stored(strings.Repeat("x", size))
				toOther := s.allocation(100, 1)
				toOther.path = "immutable/" + other
				s.want(http.StatusOK, toOther)
				conn, server := network.dial()
				defer conn.Close()
				began := time.Now()
				answer := make(chan string, 1)
				go func() { answer <- slowly(conn, tc.send, tc.unread) }()
				<-server.closed
				if took := time.Since(began); took < tc.after || took > tc.after+10*time.Second {
					t.Errorf("the connection is closed after %v, want %v", took, tc.after)
				}
				conn.Close()
				if got := <-answer; !strings.HasPrefix(got, tc.want) || tc.want == "" && got != "" {
					t.Errorf("the answer is %.100q, want %q", got, tc.want)
				}
			})
		})
	}
}

// slowly is a client, until its connection is closed.
func slowly(conn net.Conn, send func(io.Writer), unread bool) string {
	if send == nil {
		got, _ := io.ReadAll(conn) // until it is closed
		return string(got)
	}
	client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	if err := client.Handshake(); err != nil {
		return err.Error()
	}
	if unread {
		send(client)
		return ""
	}
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() { send(client) })
	got, _ := io.ReadAll(client)
	return string(got)
}

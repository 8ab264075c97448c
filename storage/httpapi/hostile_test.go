package httpapi

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sharefs/storage"
	"sharefs/test/soak"
)

// dial connects as somebody who speaks TLS, and what he wants inside it.
func (s *serving) dial() *tls.Conn {
	s.t.Helper()
	conn, err := tls.Dial("tcp", s.address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(eventually)); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// says sends text and returns all that comes back until the server closes.
func (s *serving) says(text string) string {
	s.t.Helper()
	conn := s.dial()
	_, _ = io.WriteString(conn, text) // the server may have heard enough
	if err := conn.CloseWrite(); err != nil && !errors.Is(err, net.ErrClosed) {
		s.t.Logf("closing: %v", err)
	}
	answer, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Errorf("the server does not end %.40q", text)
	}
	return string(answer)
}

// TestHostileClients sends what no client sends. The server answers with an error or closes, and goes on.
func TestHostileClients(t *testing.T) {
	s := serve(t, Options{MaxMessage: 4 << 20})
	known := "Authorization: " + credentials(swissnum) + "\r\n"
	slotHead := "POST /storage/v1/mutable/" + index + "/read-test-write HTTP/1.1\r\nHost: x\r\n" + known +
		authorizationHeader + ": " + strings.Join(slots, "\r\n"+authorizationHeader+": ") + "\r\n"
	patchHead := "PATCH /storage/v1/immutable/" + index + "/1 HTTP/1.1\r\nHost: x\r\n" + known + authorizationHeader + ": " + chunk[0] + "\r\n"
	s.get(http.StatusOK, s.allocation(100, 1))
	for name, tc := range map[string]struct{ says, want string }{
		"nothing":                           {"", ""},
		"no HTTP":                           {"\x00\x01\x02\x03\r\n\r\n", "400"},
		"Foolscap":                          {"GET /id/abc HTTP/1.1\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\n\r\n", "400"},
		"no Host":                           {"GET /storage/v1/version HTTP/1.1\r\n" + known + "\r\n", "400"},
		"too many headers":                  {"GET /storage/v1/version HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: "+strings.Repeat("x", 1000)+"\r\n", 30) + "\r\n", "431"},
		"two lengths":                       {patchHead + "Content-Range: bytes 0-9/100\r\nContent-Length: 10\r\nContent-Length: 11\r\n\r\n0123456789x", "400"},
		"length and chunks":                 {patchHead + "Content-Range: bytes 0-9/100\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		"a body that ends":                  {patchHead + "Content-Range: bytes 0-99/100\r\nContent-Length: 100\r\n\r\n01234", "400"},
		"chunks that end":                   {patchHead + "Content-Range: bytes 0-9/100\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n", "400"},
		"chunks too many":                   {patchHead + "Content-Range: bytes 0-4/100\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n0\r\n\r\n", "400"},
		"chunks that are wrong":             {patchHead + "Content-Range: bytes 0-4/100\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
		"a path of 64 KiB":                  {"GET /storage/v1/" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\nHost: x\r\n" + known + "\r\n", "431"},
		"headers that end":                  {"GET /storage/v1/version HTTP/1.1\r\nHost: x\r\n" + known[:20], "400"},
		"no swissnum":                       {"GET /storage/v1/version HTTP/1.1\r\nHost: x\r\n\r\n", "401"},
		"another swissnum":                  {"GET /storage/v1/version HTTP/1.1\r\nHost: x\r\nAuthorization: " + credentials(swissnum+"x") + "\r\n\r\n", "401"},
		"another upload secret":             {strings.Replace(patchHead, chunk[0], intruder[0], 1) + "Content-Range: bytes 0-4/100\r\nContent-Length: 5\r\n\r\n01234", "401"},
		"a body that is said to have 5 MiB": {slotHead + "Content-Length: 5242880\r\n\r\n", "413"},
		"a body of more than 4 MiB":         {slotHead + "Transfer-Encoding: chunked\r\n\r\n400001\r\n" + strings.Repeat("x", 4<<20+1) + "\r\n0\r\n\r\n", "413"},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			answer := s.says(tc.says)
			if tc.want == "" && answer != "" || !strings.HasPrefix(answer, "HTTP/1.1 "+tc.want) && tc.want != "" {
				t.Errorf("the answer is %.200q, want %s", answer, tc.want)
			}
		})
	}
	s.t = t
	plain, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(plain, "GET /id/abc HTTP/1.1\r\n\r\n") // Foolscap's first words, without TLS
	if answer, _ := io.ReadAll(plain); !strings.Contains(string(answer), "400") {
		t.Errorf("plain text is answered with %.100q", answer)
	}
	plain.Close()
	s.get(http.StatusCreated, patch("bytes 0-99/100", strings.Repeat("01234", 20)))
}

// TestAMessageThatIsCutChangesNothing cuts it after each byte.
func TestAMessageThatIsCutChangesNothing(t *testing.T) {
	w := newWorld(t, storage.Options{}, Options{})
	for _, whole := range []ask{w.allocation(10, 1), w.slot(change(0, written(0, "abcdef")))} {
		for size := range len(whole.body) {
			cut := whole
			cut.body = whole.body[:size]
			w.want(http.StatusBadRequest, cut)
		}
	}
	w.want(http.StatusNotFound, patch("bytes 0-9/10", "0123456789"))
	w.want(http.StatusNotFound, ask{method: "GET", path: "mutable/" + index + "/0"})
}

// TestCallsInTheWrongOrder: a share is what its chunks made, whatever is asked for before, between and after them.
func TestCallsInTheWrongOrder(t *testing.T) {
	w := newWorld(t, storage.Options{}, Options{})
	share := "immutable/" + index + "/1"
	read := ask{method: "GET", path: share}
	lease := ask{method: "PUT", path: "lease/" + index, secrets: leases}
	abort := ask{method: "PUT", path: share + "/abort", secrets: chunk}
	report := ask{method: "POST", path: share + "/corrupt", body: inCBOR(t, fields{"reason": "rotten"})}
	first, last := patch("bytes 0-4/10", "01234"), patch("bytes 5-9/10", "56789")
	for n, step := range []struct {
		ask  ask
		want int
	}{
		// Before there is anything.
		{first, 404}, {abort, 404}, {read, 404}, {lease, 404}, {report, 404},
		{ask{method: "GET", path: "mutable/" + index + "/1"}, 404},
		// An upload that is ended, and what comes too late.
		{w.allocation(10, 1), 200}, {first, 200}, {abort, 200}, {abort, 404}, {last, 404}, {read, 404},
		// The chunks from the end, and between them what needs a share.
		{w.allocation(10, 1), 200}, {read, 404}, {lease, 404}, {report, 404},
		{last, 200}, {w.allocation(10, 1), 200}, {last, 200}, {read, 404}, {first, 201},
		// After the last chunk.
		{abort, 405}, {first, 201}, {patch("bytes 0-4/10", "xxxxx"), 409}, {w.allocation(20, 1), 200}, {lease, 204}, {report, 200},
	} {
		if got := w.ask(step.ask); got.code != step.want {
			t.Errorf("step %d: %s %s: %d %s, want %d", n, step.ask.method, step.ask.path, got.code, got.body, step.want)
		}
	}
	if got := w.want(http.StatusOK, read); string(got.body) != "0123456789" {
		t.Errorf("the share is %q", got.body)
	}
}

// hold opens connections that do nothing, half of them in the middle of a request.
func (s *serving) hold(n int) {
	s.t.Helper()
	for i := range n {
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { conn.Close() })
		if i%2 == 0 {
			continue
		}
		fmt.Fprint(conn, "\x16\x03\x01") // the beginning of a handshake
	}
}

// TestSoakWhoHoldsConnectionsKeepsNobodyOut lets clients work while others hold more connections than there may be.
func TestSoakWhoHoldsConnectionsKeepsNobodyOut(t *testing.T) {
	held, clients := soak.Count(200, 5000), soak.Count(8, 64)
	s := serve(t, Options{MaxConnections: 64})
	before := runtime.NumGoroutine()
	s.hold(held)
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() {
			a := ask{method: "GET", path: "version"}
			for try := 0; ; try++ {
				res, err := s.send(a)
				if err == nil {
					res.Body.Close()
					return
				}
				// Its connection may have been taken for one that only waits.
				if try == 100 {
					t.Errorf("client %d gets no answer: %v", i, err)
					return
				}
			}
		})
	}
	group.Wait()
	if n := runtime.NumGoroutine() - before; n > 64*5+clients*4+50 {
		t.Errorf("%d goroutines more", n)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	now := time.Now()
	c := newConnections(2, func() time.Time { return now })
	conns := make([]*heldConn, 4)
	for i := range conns {
		conns[i] = &heldConn{}
	}
	c.note(conns[0], http.StateNew)
	c.note(conns[0], http.StateActive)
	now = now.Add(time.Second)
	c.note(conns[1], http.StateNew)
	now = now.Add(time.Second)
	c.note(conns[2], http.StateNew) // takes the place of 1, which waits
	c.note(conns[2], http.StateActive)
	c.note(conns[3], http.StateNew) // all work
	for i, want := range []bool{false, true, false, true} {
		if conns[i].closed != want {
			t.Errorf("connection %d: closed %v", i, conns[i].closed)
		}
	}
	c.note(conns[1], http.StateClosed)
	c.note(conns[2], http.StateIdle)
	c.note(conns[2], http.StateClosed)
	if len(c.open) != 1 {
		t.Errorf("%d are open", len(c.open))
	}
}

type heldConn struct {
	net.Conn
	closed bool
}

func (c *heldConn) Close() error { c.closed = true; return nil }

// TestSlowClientsAreCutOff with a clock of the network that has moved on.
func TestSlowClientsAreCutOff(t *testing.T) {
	w := newWorld(t, storage.Options{}, Options{})
	w.want(http.StatusOK, w.allocation(100, 1))
	r := patch("bytes 0-99/100", "").request()
	r.ContentLength = 100
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader("01234"), errorReader{os.ErrDeadlineExceeded}))
	rec := &recorder{header: http.Header{}}
	w.server.ServeHTTP(rec, r)
	if rec.code != http.StatusRequestTimeout {
		t.Errorf("a body that is too slow: %d", rec.code)
	}
	slot := w.slot(change(0, written(0, "x")))
	r = slot.request()
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(slot.body[:5]), errorReader{os.ErrDeadlineExceeded}))
	w.server.ServeHTTP(rec, r)
	if rec.code != http.StatusRequestTimeout {
		t.Errorf("a message that is too slow: %d", rec.code)
	}
	for size, want := range map[int64]time.Duration{0: time.Minute, 1 << 20: 124 * time.Second} {
		if got := allowance(size); got != want {
			t.Errorf("%d bytes may take %v, want %v", size, got, want)
		}
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

package servers

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// echo is a server that answers with the length of what it was sent, and counts the requests that came whole.
func echo(t *testing.T) (endpoint string, applied *atomic.Int64) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	applied = &atomic.Int64{}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return
		}
		applied.Add(1)
		fmt.Fprintf(w, "%010d", n)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return "http://" + l.Addr().String(), applied
}

func TestProxySpoilsRequestsAsTheFaultSays(t *testing.T) {
	endpoint, applied := echo(t)
	p := Proxy(t, endpoint)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	ask := func(copies bool) (status int, body string, err error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, p.Endpoint+"/bucket/key", strings.NewReader("0123456789"))
		if err != nil {
			t.Fatal(err)
		}
		if copies {
			req.Header.Set("X-Amz-Copy-Source", "bucket/other")
		}
		res, err := transport.RoundTrip(req)
		if err != nil {
			return 0, "", err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return res.StatusCode, string(b), err
	}
	for _, tc := range []struct {
		effect  Effect
		status  int
		body    string // that the answer has in it
		applied int64
		broken  bool // the connection ends before the answer does
	}{
		{Answer500, 500, "InternalError", 0, false},
		{Answer503, 503, "ServiceUnavailable", 0, false},
		{SlowDown, 503, "SlowDown", 0, false},
		{ResetBefore, 0, "", 0, true},
		{StallFor, 200, "0000000010", 1, false},
		{CutRequest, 0, "", 0, true},
		{CutAnswer, 200, "00000", 1, true},
		{ApplyThen500, 500, "InternalError", 1, false},
		{ApplyThenReset, 0, "", 1, true},
		{ErrorIn200, 200, "InternalError", 0, false},
		{ApplyErrorIn200, 200, "InternalError", 1, false},
	} {
		t.Run(string(tc.effect), func(t *testing.T) {
			p.Break(1, Fault{Effects: []Effect{tc.effect}, Every: 1, Stall: 50 * time.Millisecond})
			defer p.Break(0)
			applied.Store(0)
			began := time.Now()
			status, body, err := ask(tc.effect.suits(Copy) && !tc.effect.suits(Put))
			if status != tc.status || !strings.Contains(body, tc.body) || (err != nil) != tc.broken || applied.Load() != tc.applied {
				t.Errorf("status %d, body %q, %v, applied %d times", status, body, err, applied.Load())
			}
			if tc.effect == ResetBefore && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, io.EOF) {
				t.Errorf("the connection ends with %v, want a reset", err)
			}
			if tc.effect == StallFor && time.Since(began) < 50*time.Millisecond {
				t.Errorf("it was answered after %v", time.Since(began))
			}
			if p.Broken()[tc.effect] != 1 {
				t.Errorf("it counts %v", p.Broken())
			}
		})
	}
	t.Run("only every third", func(t *testing.T) {
		p.Break(1, Fault{Effects: []Effect{Answer500, Answer503}, Every: 3})
		defer p.Break(0)
		var got []int
		for range 6 {
			status, _, err := ask(false)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, status)
		}
		if want := "[200 200 500 200 200 503]"; fmt.Sprint(got) != want {
			t.Errorf("answers %v, want %s", got, want)
		}
	})
}

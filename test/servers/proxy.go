package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Traffic is what a proxy has seen of one kind of request. Bytes are those of bodies.
type Traffic struct {
	Requests int
	Sent     int64 // from client to server
	Received int64 // from server to client
}

// Counts is what a proxy has seen since it started or was Reset.
type Counts map[Request]Traffic

// Total adds all kinds up.
func (c Counts) Total() Traffic {
	var t Traffic
	for _, one := range c {
		t.Requests += one.Requests
		t.Sent += one.Sent
		t.Received += one.Received
	}
	return t
}

// ReverseProxy stands before a server on loopback, counts what passes, and misbehaves on demand. Requests pass
// unchanged, with the Host header that the client signed.
type ReverseProxy struct {
	Endpoint string // http://127.0.0.1:PORT, the same after GoAway and ComeBack

	target    *url.URL
	addr      string
	transport *http.Transport
	handler   http.Handler

	mu      sync.Mutex
	server  *http.Server  // nil: gone away
	ended   chan struct{} // closed when server's accept loop has returned
	counts  Counts
	own     Counts // of the claim and the checkpoint
	faults  faults
	stalled chan struct{} // not nil: nothing passes until it is closed
	seen    int           // requests, for faults.every
	denied  *Refusal      // see errors.go; nil: nothing is
	broken  *breaker      // see faults.go; nil: nothing is
}

// faults is what goes wrong on purpose.
type faults struct {
	latency    time.Duration
	every      int // answer every n-th request with 503; 0: none
	retryAfter string
	cutAfter   int64 // cut response bodies of GETs off behind so many bytes; negative: do not
}

// Proxy starts a reverse proxy before the target, an endpoint such as Server.Endpoint, and ends it with the test.
func Proxy(tb testing.TB, target string) *ReverseProxy {
	tb.Helper()
	p, err := StartProxy(target)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p
}

// StartProxy starts a reverse proxy for a program that is not a test. The caller closes it.
func StartProxy(target string) (*ReverseProxy, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	p := &ReverseProxy{
		target:    u,
		transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		counts:    Counts{},
		own:       Counts{},
		faults:    faults{cutAfter: -1},
	}
	p.handler = &httputil.ReverseProxy{
		Rewrite:        p.rewrite,
		Transport:      p.transport,
		ModifyResponse: p.response,
		ErrorHandler:   p.fail,
		ErrorLog:       log.New(io.Discard, "", 0), // what goes wrong here, the client sees
		FlushInterval:  -1,
	}
	addr, err := FreePort()
	if err != nil {
		return nil, err
	}
	p.addr, p.Endpoint = addr, "http://"+addr
	return p, p.ComeBack()
}

// GoAway refuses connections and cuts those that are open, until ComeBack.
func (p *ReverseProxy) GoAway() error {
	p.mu.Lock()
	server, ended := p.server, p.ended
	p.server = nil
	p.mu.Unlock()
	if server == nil {
		return nil
	}
	err := server.Close()
	<-ended
	return err
}

// ComeBack listens again on the same port.
func (p *ReverseProxy) ComeBack() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		return nil
	}
	l, err := listenAgain(p.addr)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	server, ended := &http.Server{Handler: http.HandlerFunc(p.serve)}, make(chan struct{})
	p.server, p.ended = server, ended
	go func() {
		defer close(ended)
		_ = server.Serve(l) // always ErrServerClosed
	}()
	return nil
}

// Close ends the proxy.
func (p *ReverseProxy) Close() error {
	p.Resume()
	err := p.GoAway()
	p.transport.CloseIdleConnections()
	return err
}

// Delay makes every request wait before it is passed on.
func (p *ReverseProxy) Delay(d time.Duration) { p.set(func(f *faults) { f.latency = d }) }

// Refuse answers every n-th request with 503 SlowDown and, if not empty, a Retry-After header. 0 stops it.
func (p *ReverseProxy) Refuse(n int, retryAfter string) {
	p.set(func(f *faults) { f.every, f.retryAfter = n, retryAfter })
}

// CutBodies cuts the connection behind so many bytes of the body of a GET's answer. A negative number stops it.
func (p *ReverseProxy) CutBodies(after int64) { p.set(func(f *faults) { f.cutAfter = after }) }

func (p *ReverseProxy) set(change func(*faults)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.faults)
}

// Stall lets nothing pass, requests and bodies under way included, until Resume. Connections are accepted.
func (p *ReverseProxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled == nil {
		p.stalled = make(chan struct{})
	}
}

// Resume ends Stall.
func (p *ReverseProxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}

// Counts returns what was seen since the start or the last Reset. Refused requests count, too; those that keep a mount's claim
// and checkpoint do not.
func (p *ReverseProxy) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.counts)
}

// Own returns what Counts leaves out.
func (p *ReverseProxy) Own() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.own)
}

// Reset sets all counts to zero.
func (p *ReverseProxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts, p.own = Counts{}, Counts{}
}

func (p *ReverseProxy) count(r *http.Request, add Traffic) {
	kind, own := classify(r), own(r)
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := p.counts
	if own {
		counts = p.own
	}
	t := counts[kind]
	t.Requests += add.Requests
	t.Sent += add.Sent
	t.Received += add.Received
	counts[kind] = t
}

// admit counts a request and says what shall go wrong with it.
func (p *ReverseProxy) admit(r *http.Request) (f faults, refuse bool) {
	p.count(r, Traffic{Requests: 1})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen++
	return p.faults, p.faults.every > 0 && p.seen%p.faults.every == 0
}

func (p *ReverseProxy) serve(w http.ResponseWriter, r *http.Request) {
	kind := classify(r)
	f, refuse := p.admit(r)
	if f.latency > 0 {
		wait := time.NewTimer(f.latency)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-r.Context().Done():
			return
		}
	}
	if p.pass(r.Context()) != nil {
		return
	}
	if refuse {
		if f.retryAfter != "" {
			w.Header().Set("Retry-After", f.retryAfter)
		}
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "<Error><Code>SlowDown</Code><Message>on purpose</Message></Error>")
		return
	}
	if p.deny(w, r, kind) {
		return
	}
	r.Body = &countedBody{p: p, req: r, sent: true, cut: -1, ReadCloser: r.Body}
	if effect, stall := p.misfortune(kind); effect != "" {
		p.spoil(w, r, kind, effect, stall)
		return
	}
	p.handler.ServeHTTP(w, r)
}

// pass waits while the proxy is stalled.
func (p *ReverseProxy) pass(ctx context.Context) error {
	p.mu.Lock()
	stalled := p.stalled
	p.mu.Unlock()
	if stalled == nil {
		return ctx.Err()
	}
	select {
	case <-stalled:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rewrite changes where the request goes and nothing else: path, query and Host are signed.
func (p *ReverseProxy) rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.Scheme, r.Out.URL.Host = p.target.Scheme, p.target.Host
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	r.Out.Host = r.In.Host
}

func (p *ReverseProxy) response(res *http.Response) error {
	kind := classify(res.Request)
	cut := cutOf(res)
	if kind == Get && cut < 0 {
		p.mu.Lock()
		cut = p.faults.cutAfter
		p.mu.Unlock()
	}
	res.Body = &countedBody{p: p, req: res.Request, cut: cut, ReadCloser: res.Body}
	return p.pass(res.Request.Context())
}

// fail cuts the connection where the server behind did: that is what a client without a proxy would see.
func (p *ReverseProxy) fail(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }

// errCut ends a body early on purpose.
var errCut = errors.New("cut on purpose")

// countedBody counts what is read from a body, and stalls or cuts it.
type countedBody struct {
	p    *ReverseProxy
	req  *http.Request
	sent bool  // a request's body
	cut  int64 // bytes left until it is cut off; negative: never
	io.ReadCloser
}

func (b *countedBody) Read(buf []byte) (int, error) {
	if err := b.p.pass(b.req.Context()); err != nil {
		return 0, err
	}
	if b.cut == 0 {
		return 0, errCut
	}
	if b.cut > 0 && int64(len(buf)) > b.cut {
		buf = buf[:b.cut]
	}
	n, err := b.ReadCloser.Read(buf)
	if b.cut > 0 {
		b.cut -= int64(n)
	}
	switch {
	case n <= 0: // the end: nothing to count, and a Reset may have come since
	case b.sent:
		b.p.count(b.req, Traffic{Sent: int64(n)})
	default:
		b.p.count(b.req, Traffic{Received: int64(n)})
	}
	return n, err
}

package observe

import (
	"errors"
	"io"
	"sync"
	"time"
)

// request is one call of the driver that is under way.
type request struct {
	p        *Provider
	op, key  string
	requests int
	start    time.Time
}

func (p *Provider) begin(op, key string) *request {
	p.stats.begin()
	return &request{p: p, op: op, key: key, requests: 1, start: time.Now()}
}

// end counts the request and returns err.
func (r *request) end(err error) error {
	r.finish(r.event(err))
	return err
}

// sent ends a request with a body of size bytes.
func (r *request) sent(size int64, err error) {
	e := r.event(err)
	if err == nil {
		e.BytesOut = size
	}
	r.finish(e)
}

func (r *request) event(err error) Event {
	return Event{Op: r.op, Key: r.key, Requests: r.requests, Start: r.start, Duration: time.Since(r.start), Err: err}
}

func (r *request) finish(e Event) {
	r.p.stats.answered(e)
	r.p.stats.ended(e)
	r.call(e)
}

func (r *request) call(e Event) {
	if r.p.hook != nil {
		r.p.hook(e)
	}
}

// body counts the bytes of an Open. Its request is under way until Close.
type body struct {
	io.ReadCloser
	request *request
	event   Event // complete but for bytes and error

	close sync.Once
	mu    sync.Mutex // guards bytes and err: Close may come while a Read is blocked
	bytes int64
	err   error
}

func (p *Provider) newBody(b io.ReadCloser, r *request) *body {
	e := r.event(nil)
	p.stats.answered(e)
	return &body{ReadCloser: b, request: r, event: e}
}

// Read counts bytes as they come, so that a Snapshot shows a long download.
func (b *body) Read(to []byte) (int, error) {
	n, err := b.ReadCloser.Read(to)
	b.request.p.stats.received(b.request.op, int64(n))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes += int64(n)
	if err != nil && !errors.Is(err, io.EOF) && b.err == nil {
		b.err = err
	}
	return n, err
}

// Close ends the request. An error that reading met, or else closing, is the request's.
func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.close.Do(func() {
		b.mu.Lock()
		b.event.BytesIn, b.event.Err = b.bytes, b.err
		b.mu.Unlock()
		if b.event.Err == nil {
			b.event.Err = err
		}
		b.request.p.stats.ended(b.event)
		b.request.call(b.event)
	})
	return err
}

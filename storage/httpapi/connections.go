package httpapi

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// connections bounds how many there are. Who comes when all places are taken gets that of the connection that has been without a
// request for longest: somebody who only holds connections open keeps nobody out. When all are at work the newcomer is closed.
type connections struct {
	limit int
	now   func() time.Time

	mu   sync.Mutex
	open map[net.Conn]*standing
}

// standing is what a connection does, and since when.
type standing struct {
	waits bool // for a request: it can be closed without harm
	since time.Time
}

func newConnections(limit int, now func() time.Time) *connections {
	return &connections{limit: limit, now: now, open: map[net.Conn]*standing{}}
}

// note follows the state of a connection: http.Server calls it.
func (c *connections) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		if len(c.open) >= c.limit && !c.makeRoom() {
			conn.Close()
			return
		}
		c.open[conn] = &standing{waits: true, since: c.now()}
	case http.StateActive, http.StateIdle:
		if s, ok := c.open[conn]; ok {
			s.waits, s.since = state == http.StateIdle, c.now()
		}
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
}

// makeRoom closes the connection that has waited for longest, and returns whether there was one.
func (c *connections) makeRoom() bool {
	var oldest net.Conn
	for conn, s := range c.open {
		if s.waits && (oldest == nil || s.since.Before(c.open[oldest].since)) {
			oldest = conn
		}
	}
	if oldest == nil {
		return false
	}
	delete(c.open, oldest)
	// Not Close of the TLS connection: that says goodbye first, and may wait for the other side to take it.
	if inner, ok := oldest.(interface{ NetConn() net.Conn }); ok {
		inner.NetConn().Close()
	} else {
		oldest.Close()
	}
	return true
}

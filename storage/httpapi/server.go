// Package httpapi serves a share store to Tahoe-LAFS clients: the storage node protocol over HTTP, "Great Black Swamp", version 1.
//
// What it does is said by Tahoe-LAFS 1.20: docs/specifications/http-storage-node-protocol.rst ("the specification" in this package), and
// where that is silent or its own server differs, by what real clients get from src/allmydata/storage/http_server.py. Where
// the two differ this package says so at the place.
//
// A Server is an http.Handler over a storage.Store; Serve adds TLS, and bounds what clients can take: the time of a request,
// the size of headers and bodies, connections, and memory. It knows clients by the swissnum alone, as Tahoe-LAFS does. It logs no
// secret: neither the swissnum nor a header nor a path that it does not know.
package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"sharefs/storage"
)

// Options are how a Server serves. The zero value works.
type Options struct {
	// Logger gets a line at level debug for each request, and errors of the store at level error. The default drops them.
	Logger *slog.Logger
	// Now is the clock, time.Now by default.
	Now func() time.Time
	// TempDir is where large messages are kept while they are read; by default the system's.
	TempDir string
	// MaxConnections is how many connections there may be, 1024 by default. Another one takes the place of one that waits.
	MaxConnections int
	// Memory is how many bytes messages, and what is read for their answers, may have in memory: 64 MiB by default, 8 MiB at
	// least. Requests wait for room.
	Memory int64
	// MaxMessage is how many bytes the change of a mutable slot may have, 1 GiB by default. Its data is in TempDir meanwhile.
	MaxMessage int64
	// Version is what clients are told as the server's version; by default "sharefs".
	Version string
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.TempDir == "" {
		o.TempDir = os.TempDir()
	}
	if o.MaxConnections == 0 {
		o.MaxConnections = 1024
	}
	if o.Memory == 0 {
		o.Memory = 64 << 20
	}
	o.Memory = max(o.Memory, 8<<20)
	if o.MaxMessage == 0 {
		o.MaxMessage = 1 << 30
	}
	if o.Version == "" {
		o.Version = "sharefs"
	}
	return o
}

// Server answers the requests of clients.
type Server struct {
	store       *storage.Store
	credentials digest // of the Authorization that clients must have
	options     Options
	mux         *http.ServeMux
	finished    *finished
	bodies      *bodies
	answers     *semaphore.Weighted // bytes; apart from those of bodies, since who waits for these has one
	changes     *semaphore.Weighted // of slots, which are in memory meanwhile
	chunks      sync.Pool           // buffers of chunkSize, as *[]byte
}

// chunkSize is how much of a share is in memory for each request that reads or writes one.
const chunkSize = 128 << 10

// maxChanges is how many slots are changed at once. The store has a share of up to 8 MiB in memory for each.
const maxChanges = 16

// New returns a server of a store to clients that know the swissnum.
func New(store *storage.Store, swissnum string, o Options) *Server {
	o = o.withDefaults()
	s := &Server{
		store:       store,
		credentials: digestOf([]byte(credentials(swissnum))),
		options:     o,
		mux:         http.NewServeMux(),
		finished:    newFinished(o.Now),
		changes:     semaphore.NewWeighted(maxChanges),
		bodies:      newBodies(o.Memory/2, 2*o.MaxMessage, o.TempDir),
		answers:     semaphore.NewWeighted(o.Memory / 2),
	}
	s.chunks.New = func() any { return new([chunkSize]byte) }
	for _, r := range routes {
		s.mux.HandleFunc(r.pattern, func(w http.ResponseWriter, req *http.Request) { s.handle(r, w, req) })
	}
	return s
}

// maxHeaders is how many bytes a request's headers may have. Real ones have a few hundred.
const maxHeaders = 16 << 10

// idle is how long a connection may wait for its next request. Tahoe-LAFS's client closes its own after four minutes.
const idle = 5 * time.Minute

// Serve answers what comes to a listener, over TLS, until ctx is done. It then takes no new requests, and gives those under way until
// grace has passed. It closes the listener.
func (s *Server) Serve(ctx context.Context, listener net.Listener, identity Identity, grace time.Duration) error {
	open := newConnections(s.options.MaxConnections, s.options.Now)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	server := &http.Server{
		Handler:           s,
		TLSConfig:         identity.TLS(),
		Protocols:         protocols,
		ReadHeaderTimeout: patience,
		IdleTimeout:       idle,
		MaxHeaderBytes:    maxHeaders,
		ConnState:         open.note,
		ErrorLog:          slog.NewLogLogger(s.options.Logger.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := server.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close() // what is still under way is cut off
	}
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// ServeHTTP answers a request. Who does not know the swissnum is told nothing, not even what there is.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // that of the last request on this connection
	if !s.authorized(r) {
		s.refuse(w, problem(http.StatusUnauthorized, "the Authorization is not that of this server"))
		return
	}
	if path.Clean(r.URL.Path) != r.URL.Path { // to which the mux would answer with a redirection
		s.refuse(w, problem(http.StatusNotFound, "there is nothing here"))
		return
	}
	s.mux.ServeHTTP(w, r)
}

// refuse answers with an error.
func (s *Server) refuse(w http.ResponseWriter, err error) {
	code, text := answerOf(err)
	replying(w, int64(len(text)))
	if h := w.Header(); h.Get("Content-Type") == "" {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	w.WriteHeader(code)
	fmt.Fprintln(w, text)
}

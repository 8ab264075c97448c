package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Handler is the daemon behind a Server. Its methods are called concurrently. Calls of progress do not overlap, and end
// before the method returns.
type Handler interface {
	Status() Status
	Flush(ctx context.Context, progress func(Pending)) Outcome
	Umount(ctx context.Context, noWait bool, progress func(Pending)) Outcome
	Reconcile(ctx context.Context, progress func(objects int64)) Reconciled
}

// Server answers commands on the socket of a registration.
type Server struct {
	http *http.Server
	done chan struct{}
}

// Serve starts a server for the registration.
func (r *Registration) Serve(h Handler, log *slog.Logger) (*Server, error) {
	l, err := listen(r.base + ".sock")
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	s := &Server{
		http: &http.Server{Handler: routes(h), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)},
		done: make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(&peerListener{l, os.Geteuid(), log}); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the control socket is closed: commands cannot reach this daemon any more", "error", err)
		}
	}()
	return s, nil
}

// Close ends the server when its answers are sent, at the latest when ctx is done.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.done
	return err
}

// listen makes the socket, which only its owner and root can connect to.
func listen(name string) (*net.UnixListener, error) {
	address, release, err := socketAddress(name)
	if err != nil {
		return nil, err
	}
	defer release()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the registration removes it, before it gives up its lock
	if err := os.Chmod(name, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// maxSocketName is the length of sun_path in unix(7), less its final NUL.
const maxSocketName = 107

// socketAddress returns a name for a unix socket that the kernel takes, until release is called: the socket's own, or
// when that is too long, one through an open descriptor of its directory.
func socketAddress(name string) (address string, release func(), err error) {
	if len(name) <= maxSocketName {
		return name, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(name)), func() { dir.Close() }, nil
}

// peerListener accepts connections of processes of the same user and of root only.
type peerListener struct {
	*net.UnixListener
	uid int
	log *slog.Logger
}

func (l *peerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		peer, err := peerOf(c)
		if err == nil && mayTalk(peer.Uid, l.uid) {
			return c, nil
		}
		if err == nil {
			l.log.Warn("refused a connection to the control socket", "uid", peer.Uid, "pid", peer.Pid)
		}
		c.Close()
	}
}

// mayTalk reports whether a user's process may command the daemon of user own.
func mayTalk(peer uint32, own int) bool { return peer == 0 || int(peer) == own }

// peerOf returns who is at the other end of a unix socket.
func peerOf(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return cred, credErr
}

func routes(h Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(h.Status()) // a client that has gone away
	})
	mux.HandleFunc("POST /v1/flush", stream(func(r *http.Request, send func(Event)) {
		out := h.Flush(r.Context(), func(p Pending) { send(Event{Progress: &p}) })
		send(Event{Done: &out})
	}))
	mux.HandleFunc("POST /v1/umount", stream(func(r *http.Request, send func(Event)) {
		out := h.Umount(r.Context(), r.URL.Query().Get("no_wait") == "true", func(p Pending) { send(Event{Progress: &p}) })
		send(Event{Done: &out})
	}))
	mux.HandleFunc("POST /v1/reconcile", stream(func(r *http.Request, send func(Event)) {
		out := h.Reconcile(r.Context(), func(objects int64) { send(Event{Objects: objects}) })
		send(Event{Reconciled: &out})
	}))
	return mux
}

// stream answers with events as work sends them.
func stream(work func(*http.Request, func(Event))) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		enc, flush := json.NewEncoder(w), http.NewResponseController(w)
		w.WriteHeader(http.StatusOK)
		_ = flush.Flush() // the client learns at once that somebody is here
		work(r, func(e Event) {
			if enc.Encode(e) == nil {
				_ = flush.Flush() // a client that has gone away: the request's context ends
			}
		})
	}
}

package httpapi

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"sharefs/storage"
)

// route is an endpoint of the protocol: who may use it, and what it does.
type route struct {
	pattern string // of net/http, with the parts {index} and {share}
	needs   []kind
	answers bool // with a message
	do      func(*Server, *call) error
}

// routes are all endpoints of version 1.
var routes = []route{
	{"GET /storage/v1/version", nil, true, (*Server).version},
	{"PUT /storage/v1/lease/{index}", []kind{leaseRenew, leaseCancel}, false, (*Server).addLease},

	{"POST /storage/v1/immutable/{index}", []kind{leaseRenew, leaseCancel, upload}, true, (*Server).allocate},
	{"PATCH /storage/v1/immutable/{index}/{share}", []kind{upload}, true, (*Server).writeChunk},
	{"PUT /storage/v1/immutable/{index}/{share}/abort", []kind{upload}, false, (*Server).abort},
	{"GET /storage/v1/immutable/{index}/shares", nil, true, (*Server).listImmutable},
	{"GET /storage/v1/immutable/{index}/{share}", nil, false, (*Server).readImmutable},
	{"POST /storage/v1/immutable/{index}/{share}/corrupt", nil, false, (*Server).adviseImmutable},

	{"POST /storage/v1/mutable/{index}/read-test-write", []kind{leaseRenew, leaseCancel, writeEnabler}, true, (*Server).changeSlot},
	{"GET /storage/v1/mutable/{index}/shares", nil, true, (*Server).listMutable},
	{"GET /storage/v1/mutable/{index}/{share}", nil, false, (*Server).readMutable},
	{"POST /storage/v1/mutable/{index}/{share}/corrupt", nil, false, (*Server).adviseMutable},
}

// call is one request of an endpoint.
type call struct {
	w       *answer
	r       *http.Request
	index   storage.Index
	share   int
	secrets secrets
	format  format // of the answer, where that is a message
}

func (c *call) ctx() context.Context { return c.r.Context() }

// handle checks what all endpoints have in common, in the order of Tahoe-LAFS's server: the path, the secrets, and then what is asked.
func (s *Server) handle(r route, w http.ResponseWriter, req *http.Request) {
	began := s.options.Now()
	// An error: the connection has no deadlines, as in tests of the handler.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(allowance(max(req.ContentLength, 0))))
	a := &answer{ResponseWriter: w}
	c, err := s.newCall(r, a, req)
	if err == nil {
		err = r.do(s, c)
	}
	log := s.options.Logger.With("request", r.pattern)
	cut := err != nil && a.code != 0
	if err != nil && !cut {
		s.refuse(a, err)
		_, _ = io.CopyN(io.Discard, req.Body, drained)
	}
	switch {
	case cut:
		log.Error("an answer was cut off", "code", a.code, "error", err)
	case a.code >= http.StatusInternalServerError:
		log.Error("a request failed", "code", a.code, "error", err)
	default:
		log.Debug("request", "code", a.code, "took", s.options.Now().Sub(began))
	}
	if cut {
		panic(http.ErrAbortHandler) // the client must not take the answer for whole
	}
}

// newCall reads the path and the secrets of a request.
func (s *Server) newCall(r route, w *answer, req *http.Request) (*call, error) {
	c := &call{w: w, r: req}
	var err error
	if text := req.PathValue("index"); text != "" {
		if c.index, err = storage.ParseIndex(text); err != nil {
			return nil, problem(http.StatusNotFound, "no storage index")
		}
	}
	if text := req.PathValue("share"); text != "" {
		number, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return nil, problem(http.StatusNotFound, "no share number")
		}
		c.share = int(number)
	}
	if c.secrets, err = parseSecrets(req.Header.Values(authorizationHeader), r.needs); err != nil {
		return nil, err
	}
	if r.answers {
		c.format, err = answerFormat(req.Header)
	}
	return c, err
}

// answer notes what was answered.
type answer struct {
	http.ResponseWriter
	code int // 0: nothing yet
}

func (a *answer) WriteHeader(code int) {
	if a.code == 0 {
		a.code = code
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.code == 0 {
		a.code = http.StatusOK
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// receive reads the body of a call as a message. What the message refers to is there until release is called.
func (s *Server) receive(c *call, limit int64, m message) (release func(), err error) {
	f, err := bodyFormat(c.r.Header)
	if err != nil {
		return nil, err
	}
	if f == formatJSON {
		limit = min(limit, smallBody)
	}
	b, err := s.bodies.read(c.ctx(), c.r, limit)
	if err != nil {
		return nil, err
	}
	received(c)
	if err := decode(b.bytes, f, m); err != nil {
		b.release()
		return nil, problem(http.StatusBadRequest, "the message is not of its schema: %v", err)
	}
	return b.release, nil
}

// received notes that the body is there: from now on the store may take its time, and after that the client.
func received(c *call) {
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{})
}

// send answers with a message in the format that the client wants.
func (s *Server) send(c *call, code int, v any) error {
	text, err := encode(c.format, v)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", string(c.format))
	h.Set("Content-Length", strconv.Itoa(len(text)))
	replying(c.w, int64(len(text)))
	c.w.WriteHeader(code)
	_, _ = c.w.Write(text) // the client is gone: it is not there to be told
	return nil
}

// replying gives the client time to take an answer.
func replying(w http.ResponseWriter, size int64) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(allowance(size)))
}

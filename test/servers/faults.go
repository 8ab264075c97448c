package servers

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Effect is what goes wrong with a request.
type Effect string

// The effects.
const (
	Answer500       Effect = "answers 500"
	Answer503       Effect = "answers 503"
	SlowDown        Effect = "answers 503 SlowDown"
	ResetBefore     Effect = "resets the connection"
	StallFor        Effect = "stalls"
	CutRequest      Effect = "cuts the request's body short"
	CutAnswer       Effect = "cuts the answer's body short"
	ApplyThen500    Effect = "applies and answers 500"
	ApplyThenReset  Effect = "applies and resets"
	ErrorIn200      Effect = "answers 200 with an error in it"
	ApplyErrorIn200 Effect = "applies and answers 200 with an error in it"
)

// Effects are all of them.
func Effects() []Effect {
	return []Effect{Answer500, Answer503, SlowDown, ResetBefore, StallFor, CutRequest, CutAnswer, ApplyThen500, ApplyThenReset,
		ErrorIn200, ApplyErrorIn200}
}

// Fault says which requests an effect hits.
type Fault struct {
	Effects []Effect  // each hits one of them, in turn
	Kinds   []Request // empty: all. Errors in an answer of 200 only hit requests that S3 answers so: copies, completed uploads, batches of deletes
	Every   int       // of the requests of these kinds the n-th, 2n-th, ...
	Chance  float64   // or each with this probability, from 0 to 1
	Stall   time.Duration
}

// breaker chooses what goes wrong. It is guarded by ReverseProxy.mu.
type breaker struct {
	faults []Fault
	seen   []int // by fault: requests of its kinds
	hit    []int // by fault: those that it hit
	r      *rand.Rand
	counts map[Effect]int
}

// Break lets requests fail from now on, as the faults say; the first that hits a request counts. Without faults all is well
// again. The same seed and the same requests make the same failures.
func (p *ReverseProxy) Break(seed uint64, faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = &breaker{faults: faults, seen: make([]int, len(faults)), hit: make([]int, len(faults)), r: rand.New(rand.NewPCG(seed, 1)),
		counts: map[Effect]int{}}
}

// Broken returns how many requests have failed, by effect, since Break.
func (p *ReverseProxy) Broken() map[Effect]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == nil {
		return nil
	}
	return maps.Clone(p.broken.counts)
}

// misfortune says what is to go wrong with a request; empty: nothing.
func (p *ReverseProxy) misfortune(kind Request) (Effect, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == nil {
		return "", 0
	}
	return p.broken.next(kind)
}

func (b *breaker) next(kind Request) (Effect, time.Duration) {
	for i, f := range b.faults {
		if len(f.Kinds) > 0 && !slices.Contains(f.Kinds, kind) {
			continue
		}
		b.seen[i]++
		if (f.Every <= 0 || b.seen[i]%f.Every != 0) && b.r.Float64() >= f.Chance {
			continue
		}
		effects := slices.DeleteFunc(slices.Clone(f.Effects), func(e Effect) bool { return !e.suits(kind) })
		if len(effects) == 0 {
			continue
		}
		e := effects[b.hit[i]%len(effects)]
		b.hit[i]++
		b.counts[e]++
		return e, f.Stall
	}
	return "", 0
}

func (e Effect) suits(kind Request) bool {
	if e == ErrorIn200 || e == ApplyErrorIn200 {
		return kind == Copy || kind == CompleteUpload || kind == DeleteBatch
	}
	return true
}

// effectKey is the context's key for what is to happen to an answer.
type effectKey struct{}

// spoil lets something go wrong with a request.
func (p *ReverseProxy) spoil(w http.ResponseWriter, r *http.Request, kind Request, e Effect, stall time.Duration) {
	switch e {
	case Answer500:
		answerError(w, http.StatusInternalServerError, "InternalError")
	case Answer503:
		answerError(w, http.StatusServiceUnavailable, "ServiceUnavailable")
	case SlowDown:
		answerError(w, http.StatusServiceUnavailable, "SlowDown")
	case ResetBefore:
		reset(w)
	case StallFor:
		select {
		case <-time.After(stall):
			p.handler.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	case CutRequest:
		if r.ContentLength <= 0 {
			reset(w)
			return
		}
		r.Body.(*countedBody).cut = r.ContentLength / 2
		p.handler.ServeHTTP(w, r)
	case CutAnswer:
		p.handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), effectKey{}, e)))
	case ApplyThen500:
		p.handler.ServeHTTP(&discard{}, r)
		answerError(w, http.StatusInternalServerError, "InternalError")
	case ApplyThenReset:
		p.handler.ServeHTTP(&discard{}, r)
		reset(w)
	case ErrorIn200, ApplyErrorIn200:
		p.errorIn200(w, r, kind, e == ApplyErrorIn200)
	}
}

// errorIn200 answers as S3 does when an error comes after the headers have left, or for each key of a batch.
func (p *ReverseProxy) errorIn200(w http.ResponseWriter, r *http.Request, kind Request, apply bool) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if apply {
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		p.handler.ServeHTTP(&discard{}, r)
	}
	switch _, swift := classifySwift(r); {
	case swift && kind == DeleteBatch:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"Number Deleted": 0, "Number Not Found": 0, "Response Status": "500 Internal Error", "Response Body": "on purpose", "Errors": []}`)
		return
	case swift: // which answers others by the status
		answerError(w, http.StatusInternalServerError, "InternalError")
		return
	case kind != DeleteBatch:
		answerError(w, http.StatusOK, "InternalError")
		return
	}
	var batch struct {
		Object []struct{ Key string }
	}
	if err := xml.Unmarshal(body, &batch); err != nil {
		panic(err) // the SDK sends XML
	}
	var answer strings.Builder
	answer.WriteString(`<?xml version="1.0" encoding="UTF-8"?><DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`)
	for _, o := range batch.Object {
		answer.WriteString("<Error><Key>")
		_ = xml.EscapeText(&answer, []byte(o.Key)) // never fails
		answer.WriteString("</Key><Code>InternalError</Code><Message>on purpose</Message></Error>")
	}
	answer.WriteString("</DeleteResult>")
	w.Header().Set("Content-Type", "application/xml")
	_, _ = io.WriteString(w, answer.String())
}

func answerError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>on purpose</Message></Error>`, code)
}

// reset ends the connection so that the client's next system call fails.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it is closed either way
	}
	_ = conn.Close()
}

// cutOf returns where an answer's body is to be cut; negative: nowhere.
func cutOf(res *http.Response) int64 {
	if res.Request.Context().Value(effectKey{}) != CutAnswer {
		return -1
	}
	return max(res.ContentLength, 0) / 2
}

// discard is an answer that nobody gets.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header {
	if d.header == nil {
		d.header = http.Header{}
	}
	return d.header
}
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

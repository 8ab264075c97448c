package retry

import (
	"errors"
	"io"
	"sync"

	"sharefs/provider"
)

// lender lends a request's body to one attempt after the other, each time from where it stood at first.
type lender struct {
	op, key string
	body    io.ReadSeeker
	start   int64
}

func newLender(op, key string, body io.ReadSeeker) (*lender, error) {
	l := &lender{op: op, key: key, body: body}
	start, err := body.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, l.broken(err)
	}
	l.start = start
	return l, nil
}

// lend returns the body, rewound. The last one that was lent has been taken back.
func (l *lender) lend(dog *watchdog) (*lent, error) {
	if _, err := l.body.Seek(l.start, io.SeekStart); err != nil {
		return nil, l.broken(err)
	}
	return &lent{body: l.body, dog: dog}, nil
}

func (l *lender) broken(err error) error {
	return &provider.Error{Op: l.op, Key: l.key, Kind: provider.KindInvalid, Err: err}
}

// lent is the body in the hands of one attempt. net/http may still read a request's body when the answer, or an
// error, is there already; after takeBack that finds nothing, and cannot move the body under the next attempt or
// under the caller.
type lent struct {
	dog *watchdog

	mu   sync.Mutex
	body io.ReadSeeker // nil once it is taken back
}

var errTakenBack = errors.New("the attempt that was to send this body is over")

func (l *lent) Read(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.body == nil {
		return 0, errTakenBack
	}
	l.dog.alive()
	return l.body.Read(b)
}

func (l *lent) Seek(offset int64, whence int) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.body == nil {
		return 0, errTakenBack
	}
	return l.body.Seek(offset, whence)
}

func (l *lent) takeBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.body = nil
}

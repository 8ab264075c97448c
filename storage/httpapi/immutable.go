package httpapi

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math"
	"net/http"
	"slices"

	"sharefs/storage"
	"sharefs/storage/container"
)

// maxAllocate is how many bytes an allocation may have, maxAdvice how many the report of a corrupt share: those of Tahoe-LAFS's server.
const (
	maxAllocate = 8 << 10
	maxAdvice   = 32 << 10
)

// allocated is { already-have: #6.258([0*256 uint])  allocated: #6.258([0*256 uint]) }.
type allocated struct {
	Have      shareSet `cbor:"already-have" json:"already-have"`
	Allocated shareSet `cbor:"allocated" json:"allocated"`
}

// allocate starts uploads: POST immutable/INDEX. A repeated call, by its upload secret, gets the same answer and changes nothing,
// as the specification says; Tahoe-LAFS's server leaves uploads in progress out of it. A share that is in neither set is not taken: another
// client uploads it, or there is no room. That is no error.
func (s *Server) allocate(c *call) error {
	var m allocateMessage
	release, err := s.receive(c, maxAllocate, &m)
	if err != nil {
		return err
	}
	defer release()
	numbers, err := shareNumbers(m.Numbers.numbers)
	if err != nil {
		return err
	}
	size := int64(math.MaxInt64) // more than there is room for, as all that is larger
	if m.Size.value < math.MaxInt64 {
		size = int64(m.Size.value)
	}
	got, err := s.store.Allocate(c.index, storage.Allocation{
		Shares: numbers, Size: size, Lease: c.lease(), Secret: c.secrets[upload],
	})
	if err != nil {
		return err
	}
	reply := allocated{Have: setOf(got.Have)}
	for number := range got.Uploads {
		reply.Allocated.numbers = append(reply.Allocated.numbers, uint64(number))
	}
	slices.Sort(reply.Allocated.numbers)
	return s.send(c, http.StatusOK, reply)
}

// lease returns the lease secrets of a call.
func (c *call) lease() storage.LeaseSecrets {
	return storage.LeaseSecrets{Renew: c.secrets.fixed(leaseRenew), Cancel: c.secrets.fixed(leaseCancel)}
}

// shareNumbers returns share numbers as the store has them.
func shareNumbers(numbers []uint64) ([]int, error) {
	found := make([]int, len(numbers))
	for i, n := range numbers {
		if n > math.MaxInt32 {
			return nil, problem(http.StatusBadRequest, "the share number %d is too large", n)
		}
		found[i] = int(n)
	}
	return found, nil
}

func setOf(numbers []int) shareSet {
	set := shareSet{numbers: make([]uint64, len(numbers))}
	for i, n := range numbers {
		set.numbers[i] = uint64(n)
	}
	return set
}

// progress is { required: [0* {begin: uint, end: uint}] }.
type progress struct {
	Required []missing `cbor:"required" json:"required"`
}

type missing struct {
	Begin int64 `cbor:"begin" json:"begin"`
	End   int64 `cbor:"end" json:"end"` // not part of it
}

// writeChunk writes a part of a share: PATCH immutable/INDEX/SHARE. The part goes into the store as it comes, so that of a body that was
// cut off the beginning is there; the client may send it again.
func (s *Server) writeChunk(c *call) error {
	part, err := parseContentRange(c.r.Header)
	if err != nil {
		return err
	}
	if n := c.r.ContentLength; n >= 0 && n != part.size() {
		return problem(http.StatusBadRequest, "the body has %d bytes, and Content-Range %d", n, part.size())
	}
	u, err := s.uploadOf(c)
	if errors.Is(err, fs.ErrNotExist) && s.finished.has(c) {
		return s.repeat(c, part)
	}
	if err != nil {
		return err
	}
	if part.end > u.Size() {
		return unsatisfiable("the chunk ends at byte %d, and the share has %d", part.end, u.Size())
	}
	complete := false
	err = s.eachChunk(c.r.Body, part, func(offset int64, data []byte) error {
		var err error
		complete, err = u.Write(offset, data)
		return err
	})
	if err != nil {
		return err
	}
	received(c)
	if !complete {
		return s.send(c, http.StatusOK, progressOf(u))
	}
	s.finished.note(c) // before it is one: the client may ask again meanwhile
	if err := u.Close(); err != nil && !errors.Is(err, storage.ErrUploadEnded) {
		s.finished.forget(c)
		return err
	}
	return s.send(c, http.StatusCreated, progress{Required: []missing{}})
}

// uploadOf returns the upload that a call is for: 404 when there is none, 401 when it is not this client's.
func (s *Server) uploadOf(c *call) (*storage.Upload, error) {
	u, err := s.store.Upload(c.index, c.share)
	if err != nil {
		return nil, err
	}
	if !u.Authorized(c.secrets[upload]) {
		return nil, problem(http.StatusUnauthorized, "the upload secret is not that of this upload")
	}
	return u, nil
}

func progressOf(u *storage.Upload) progress {
	p := progress{Required: []missing{}}
	for _, r := range u.Missing() {
		p.Required = append(p.Required, missing{r.Offset, r.End()})
	}
	return p
}

// eachChunk reads a body that has as many bytes as a range, piece by piece.
func (s *Server) eachChunk(body io.Reader, part span, f func(offset int64, data []byte) error) error {
	buffer := s.chunks.Get().(*[chunkSize]byte)
	defer s.chunks.Put(buffer)
	for at := part.begin; at < part.end; {
		piece := buffer[:min(chunkSize, part.end-at)]
		if _, err := io.ReadFull(body, piece); err != nil {
			return incomplete(err)
		}
		if err := f(at, piece); err != nil {
			return err
		}
		at += int64(len(piece))
	}
	if n, err := io.ReadFull(body, buffer[:1]); n > 0 {
		return problem(http.StatusBadRequest, "the body has more bytes than Content-Range says")
	} else if !errors.Is(err, io.EOF) {
		return incomplete(err)
	}
	return nil
}

// repeat answers to a chunk of a share that this client has completed: the answer to the last chunk was lost. The same bytes are as
// good as before, others a conflict.
func (s *Server) repeat(c *call, part span) error {
	share, err := s.store.OpenShare(c.index, c.share)
	if err != nil {
		return err
	}
	defer share.Close()
	if part.end > share.Size() {
		return unsatisfiable("the chunk ends at byte %d, and the share has %d", part.end, share.Size())
	}
	stored := s.chunks.Get().(*[chunkSize]byte)
	defer s.chunks.Put(stored)
	err = s.eachChunk(c.r.Body, part, func(offset int64, data []byte) error {
		there := stored[:len(data)]
		if _, err := share.ReadAt(there, offset); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if !bytes.Equal(there, data) {
			return storage.ErrConflict
		}
		return nil
	})
	if err != nil {
		return err
	}
	received(c)
	return s.send(c, http.StatusCreated, progress{Required: []missing{}})
}

// abort cancels an upload: PUT immutable/INDEX/SHARE/abort. Without an upload it is 404, or 405 when the share is complete, as in
// Tahoe-LAFS's server and its tests; the specification has 405 for both, and for a wrong secret.
func (s *Server) abort(c *call) error {
	u, err := s.uploadOf(c)
	if errors.Is(err, fs.ErrNotExist) {
		if numbers, err := s.store.Shares(c.index); err != nil {
			return err
		} else if slices.Contains(numbers, c.share) {
			return problem(http.StatusMethodNotAllowed, "the share is complete")
		}
	}
	if err != nil {
		return err
	}
	if err := u.Abort(); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// listImmutable tells which shares there are: GET immutable/INDEX/shares.
func (s *Server) listImmutable(c *call) error { return s.list(c) }

// readImmutable reads a share: GET immutable/INDEX/SHARE.
func (s *Server) readImmutable(c *call) error { return s.read(c, container.Immutable) }

// adviseImmutable takes a report that a share is corrupt: POST immutable/INDEX/SHARE/corrupt.
func (s *Server) adviseImmutable(c *call) error { return s.advise(c, container.Immutable) }

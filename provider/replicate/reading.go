package replicate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"sharefs/provider"
)

// reading is one version of an object of the source while it is copied. Its bytes are read once, in pieces that are held in
// memory while they are sent.
type reading struct {
	c     *Copier
	o     provider.Object // with its metadata, from begin on
	whole []byte          // all bytes, when they came with the metadata

	mu   sync.Mutex
	sent []sent // guarded by mu
}

// sent is a piece that was handed out to be sent.
type sent struct {
	off, n int64
	sum    [sha256.Size]byte // with VerifyRead
}

// begin learns the metadata. A listing of most stores does not tell them: then the bytes of a small object come in the same
// request.
func (r *reading) begin(ctx context.Context) (err error) {
	listed := r.o
	switch {
	case listed.Metadata != nil:
		return nil
	case listed.Size == 0 || listed.Size > 2*r.c.o.PartSize:
		r.o, err = r.c.src.Stat(ctx, listed.Key)
		return asSource(err)
	}
	r.whole, r.o, err = r.c.read(ctx, listed.Key, 0, listed.Size, "")
	if err == nil && r.o.Size != listed.Size {
		err = errChanged
	}
	return err
}

// end lets go of what is in memory.
func (r *reading) end() {
	r.c.free(r.whole)
	for _, s := range r.sent {
		r.c.moving(-s.n)
	}
}

// fetch is the transfer.Fetch of the object.
func (r *reading) fetch(ctx context.Context, off, n int64) (io.ReadSeeker, func(), error) {
	var data, own []byte
	switch {
	case r.whole != nil:
		data = r.whole[off : off+n]
	case n > 0:
		var o provider.Object
		var err error
		if own, o, err = r.c.read(ctx, r.o.Key, off, n, r.o.Version); err == nil && o.Revision != r.o.Revision {
			err = errChanged
		}
		if err != nil {
			r.c.free(own)
			return nil, nil, err
		}
		data = own
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	piece := sent{off: off, n: n}
	if r.c.o.VerifyRead {
		piece.sum = sha256.Sum256(data)
	}
	r.sent = append(r.sent, piece)
	r.c.moving(n)
	return bytes.NewReader(data), func() { r.c.free(own) }, nil
}

// compare reads the copy back.
func (r *reading) compare(ctx context.Context, copied provider.Object) error {
	for _, s := range r.sent {
		body, o, err := r.c.dst.Open(ctx, copied.Key, provider.OpenOptions{Offset: s.off, Length: s.n, IfVersion: copied.Version})
		if err != nil {
			return fmt.Errorf("reading the copy: %w", err)
		}
		sum := sha256.New()
		_, err = io.Copy(sum, io.LimitReader(body, s.n))
		if err = errors.Join(err, body.Close()); err != nil {
			return fmt.Errorf("reading the copy: %w", err)
		}
		if o.Size != r.o.Size || !bytes.Equal(sum.Sum(nil), s.sum[:]) {
			return &provider.Error{Op: "open", Key: copied.Key, Kind: provider.KindCorrupt, Err: errors.New("what the destination has is not what was sent")}
		}
	}
	return nil
}

// read reads a piece of an object, all of one version, into memory that must be freed.
func (c *Copier) read(ctx context.Context, key string, off, n int64, version provider.Version) (data []byte, o provider.Object, err error) {
	if err := c.memory.Acquire(ctx, c.weight(n)); err != nil {
		return nil, o, err
	}
	data = make([]byte, n)
	defer func() {
		if err != nil {
			c.free(data)
			data, err = nil, asSource(err)
		}
	}()
	body, o, err := c.src.Open(ctx, key, provider.OpenOptions{Offset: off, Length: n, IfVersion: version})
	if err != nil {
		return data, o, err
	}
	_, err = io.ReadFull(body, data)
	if closeErr := body.Close(); err == nil {
		err = closeErr
	}
	if c.src.Capabilities().Directories && ctx.Err() == nil { // a real file may be changed in place while it is read
		if now, statErr := c.src.Stat(ctx, key); statErr == nil && now.Revision != o.Revision {
			err = errChanged
		} else if err == nil {
			err = statErr
		}
	}
	return data, o, err
}

// asSource names the side that an error comes from. errChanged for what only says that the object is another one now.
func asSource(err error) error {
	switch {
	case err == nil || provider.IsContext(err):
		return err
	case provider.Is(err, provider.KindNotFound), provider.Is(err, provider.KindPrecondition), err == io.EOF, err == io.ErrUnexpectedEOF:
		return errChanged
	}
	return fmt.Errorf("reading the source: %w", err)
}

// weight is what n bytes count in memory: one part that is larger than all of it is alone there.
func (c *Copier) weight(n int64) int64 { return min(n, c.o.Memory) }

func (c *Copier) free(data []byte) {
	if data != nil {
		c.memory.Release(c.weight(int64(len(data))))
	}
}

func (c *Copier) moving(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.progress.Moving += n
}

package tree

import (
	"context"
	"io"
	"sync/atomic"

	"sharefs/fusefs/stage"
	"sharefs/provider"
)

// taken is a store that tells the stage what content it takes: whoever waits for room is patient as long as it does.
// Deleting is none: that may be what is left of attempts that failed.
type taken struct {
	provider.Provider
	stage *stage.Store
	sent  *atomic.Int64 // bytes
}

// done tells of a request that sends nothing.
func (p taken) done(err error) {
	if err == nil {
		p.stage.Sending().Done(true)
	}
}

// sentAll tells of the end of a request that sends size bytes.
func (p taken) sentAll(s *stage.Sending, size int64, err error) {
	s.Done(err == nil)
	if err == nil {
		p.sent.Add(size)
	}
}

func (p taken) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
	s := p.stage.Sending()
	o, err := p.Provider.Put(ctx, key, &sentBody{ReadSeeker: body, s: s}, size, opts)
	p.sentAll(s, size, err)
	return o, err
}

func (p taken) Copy(ctx context.Context, src, dst string, opts provider.CopyOptions) (provider.Object, error) {
	o, err := p.Provider.Copy(ctx, src, dst, opts)
	p.done(err)
	return o, err
}

func (p taken) NewUpload(ctx context.Context, key string, opts provider.UploadOptions) (provider.Upload, error) {
	u, err := p.Provider.NewUpload(ctx, key, opts)
	if err != nil {
		return nil, err
	}
	return takenUpload{u, p}, nil
}

type takenUpload struct {
	provider.Upload
	p taken
}

func (u takenUpload) PutPart(ctx context.Context, number int, body io.ReadSeeker, size int64) (provider.Part, error) {
	s := u.p.stage.Sending()
	part, err := u.Upload.PutPart(ctx, number, &sentBody{ReadSeeker: body, s: s}, size)
	u.p.sentAll(s, size, err)
	return part, err
}

func (u takenUpload) CopyPart(ctx context.Context, number int, src string, opts provider.CopyPartOptions) (provider.Part, error) {
	part, err := u.Upload.CopyPart(ctx, number, src, opts)
	u.p.done(err)
	return part, err
}

func (u takenUpload) Complete(ctx context.Context, parts []provider.Part, opts provider.CompleteOptions) (provider.Object, error) {
	o, err := u.Upload.Complete(ctx, parts, opts)
	u.p.done(err)
	return o, err
}

// bufferedBytes is what the buffers on the way to a store that has stopped may still take of one request.
const bufferedBytes = 8 << 20

// sentBody tells of the bytes that a store has taken. What is sent once more, because the request is repeated, is no news.
type sentBody struct {
	io.ReadSeeker
	s         *stage.Sending
	pos, told int64 // relative to where the body began
	began     bool
	base      int64
}

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadSeeker.Read(p)
	b.pos += int64(n)
	if b.pos > max(b.told, bufferedBytes) {
		b.told = b.pos
		b.s.Moved()
	}
	return n, err
}

func (b *sentBody) Seek(offset int64, whence int) (int64, error) {
	if !b.began {
		base, err := b.ReadSeeker.Seek(0, io.SeekCurrent)
		if err != nil {
			return base, err
		}
		b.began, b.base = true, base-b.pos
	}
	at, err := b.ReadSeeker.Seek(offset, whence)
	if err == nil {
		b.pos = at - b.base
	}
	return at, err
}

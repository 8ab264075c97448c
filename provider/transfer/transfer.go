// Package transfer moves contents of any size into a store: in one request when that is allowed and sensible, else in parts
// that travel in parallel. It holds no state; an upload that fails is aborted, one whose process dies is found by
// Provider.ListUploads.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"sharefs/provider"
)

// The defaults of Options.
const (
	DefaultPartSize = 16 << 20
	DefaultParallel = 4
)

// abortTimeout bounds the clean-up after a failed or cancelled upload.
const abortTimeout = 10 * time.Second

// ErrSource is in the error of a Patch whose old version cannot be copied from: it is gone or another one now, or the store
// refuses. Nothing was stored; what is sent as a whole does not need it.
var ErrSource = errors.New("the version to copy from cannot be used")

// Options are the options of Put, Patch and Copy. The zero value works.
type Options struct {
	If          provider.Condition // left out where the store checks it for a Put and not at the end of an upload in parts
	Metadata    provider.Metadata
	ContentType string
	PartSize    int64 // bytes; raised where the store's limits ask for it. 0: DefaultPartSize
	Parallel    int   // parts at a time. 0: DefaultParallel

	// BeforeUpload is called before an upload in parts is asked for: it may exist from then on, even if no answer comes. OnUpload
	// is called with its id before its first part. Both are to note it; an error ends the upload. OnGone is called when
	// that upload is surely completed or aborted.
	BeforeUpload func() error
	OnUpload     func(id string) error
	OnGone       func(id string)
}

func (o Options) withDefaults() Options {
	if o.PartSize <= 0 {
		o.PartSize = DefaultPartSize
	}
	if o.Parallel <= 0 {
		o.Parallel = DefaultParallel
	}
	return o
}

// Put stores size bytes of body under key. Contents of up to two parts' size travel in one request where the store
// allows that.
func Put(ctx context.Context, p provider.Provider, key string, body io.ReaderAt, size int64, o Options) (provider.Object, error) {
	return PutFetched(ctx, p, key, size, func(_ context.Context, off, n int64) (io.ReadSeeker, func(), error) {
		return io.NewSectionReader(body, off, n), func() {}, nil
	}, o)
}

// Fetch brings n bytes of a content, from off on, to be read and read again until done is called.
type Fetch func(ctx context.Context, off, n int64) (body io.ReadSeeker, done func(), err error)

// PutFetched is Put of a content that is somewhere else, and is fetched piece by piece: each one once, several at a time.
func PutFetched(ctx context.Context, p provider.Provider, key string, size int64, fetch Fetch, o Options) (provider.Object, error) {
	o = o.withDefaults()
	if putInParts(p.Capabilities(), size, o) {
		return inParts(ctx, p, key, size, o, false, func(ctx context.Context, u provider.Upload, number int, piece Piece) (provider.Part, error) {
			body, done, err := fetch(ctx, piece.Off, piece.Len)
			if err != nil {
				return provider.Part{}, err
			}
			defer done()
			return u.PutPart(ctx, number, body, piece.Len)
		})
	}
	body, done, err := fetch(ctx, 0, size)
	if err != nil {
		return provider.Object{}, err
	}
	defer done()
	return p.Put(ctx, key, body, size, provider.PutOptions{If: o.If, Metadata: o.Metadata, ContentType: o.ContentType})
}

// PutInParts reports whether Put starts an upload in parts, and CopyInParts whether Copy does.
func PutInParts(caps provider.Capabilities, size int64) bool {
	return putInParts(caps, size, Options{}.withDefaults())
}

func putInParts(caps provider.Capabilities, size int64, o Options) bool {
	return size > 2*o.PartSize || caps.MaxPutSize > 0 && size > caps.MaxPutSize
}

// CopyInParts is described at PutInParts.
func CopyInParts(caps provider.Capabilities, size int64) bool {
	return caps.MaxCopySize > 0 && size > caps.MaxCopySize
}

// Patch makes key an object of the pieces: those to copy come from the given version of the object src, which may be the one
// that is replaced, or from where they say, the others from body at the same offsets.
func Patch(ctx context.Context, p provider.Provider, key string, body io.ReaderAt, pieces []Piece, src string, version provider.Version, o Options) (provider.Object, error) {
	return assemble(ctx, p, key, pieces, o.withDefaults(), sender(body, src, version))
}

func sender(body io.ReaderAt, src string, version provider.Version) sendPart {
	return func(ctx context.Context, u provider.Upload, number int, piece Piece) (provider.Part, error) {
		if !piece.Copy {
			return u.PutPart(ctx, number, io.NewSectionReader(body, piece.Off, piece.Len), piece.Len)
		}
		from := Source{src, version, piece.Off}
		if piece.From != nil {
			from = *piece.From
		}
		part, err := u.CopyPart(ctx, number, from.Key, provider.CopyPartOptions{Offset: from.Off, Length: piece.Len, IfVersion: from.Version})
		switch provider.KindOf(err) {
		case provider.KindNotFound, provider.KindPrecondition, provider.KindUnsupported, provider.KindInvalid, provider.KindDenied:
			err = fmt.Errorf("%w: %w", ErrSource, err)
		}
		return part, err
	}
}

// Copy makes dst an object with the size bytes of src, on the server. Metadata nil keeps the source's, except beyond the
// store's limit for a single copy, where it must be given.
func Copy(ctx context.Context, p provider.Provider, src, dst string, size int64, version provider.Version, o Options) (provider.Object, error) {
	o = o.withDefaults()
	caps := p.Capabilities()
	if !CopyInParts(caps, size) {
		return p.Copy(ctx, src, dst, provider.CopyOptions{If: o.If, IfSourceVersion: version, Metadata: o.Metadata, ContentType: o.ContentType})
	}
	if o.Metadata == nil {
		have, err := p.Stat(ctx, src)
		if err != nil {
			return provider.Object{}, err
		}
		o.Metadata = have.Metadata
	}
	if caps.MaxPartSize > 0 { // nothing travels: the fewer parts the better
		o.PartSize = max(o.PartSize, min(caps.MaxPartSize, maxCopy))
	}
	return inParts(ctx, p, dst, size, o, true, func(ctx context.Context, u provider.Upload, number int, piece Piece) (provider.Part, error) {
		return u.CopyPart(ctx, number, src, provider.CopyPartOptions{Offset: piece.Off, Length: piece.Len, IfVersion: version})
	})
}

// PartSize returns the size of the parts for a content: as wished, within the store's limits.
func PartSize(caps provider.Capabilities, size, wish int64) (int64, error) {
	if caps.MaxPartSize > 0 {
		wish = min(wish, caps.MaxPartSize)
	}
	part := max(wish, caps.MinPartSize)
	if caps.MaxParts > 0 {
		part = max(part, (size+int64(caps.MaxParts)-1)/int64(caps.MaxParts))
	}
	if caps.MaxPartSize > 0 && part > caps.MaxPartSize || caps.MaxObjectSize > 0 && size > caps.MaxObjectSize {
		return 0, fmt.Errorf("%d bytes are more than the store takes", size)
	}
	return part, nil
}

type sendPart func(ctx context.Context, u provider.Upload, number int, piece Piece) (provider.Part, error)

// inParts makes an object of parts of the same size.
func inParts(ctx context.Context, p provider.Provider, key string, size int64, o Options, copied bool, send sendPart) (provider.Object, error) {
	partSize, err := PartSize(p.Capabilities(), size, o.PartSize)
	if err != nil {
		return provider.Object{}, &provider.Error{Op: "put", Key: key, Kind: provider.KindTooLarge, Err: err}
	}
	var pieces []Piece
	for off := int64(0); off < size; off += partSize {
		pieces = append(pieces, Piece{Off: off, Len: min(partSize, size-off), Copy: copied})
	}
	return assemble(ctx, p, key, pieces, o, send)
}

// assemble makes an object of pieces.
func assemble(ctx context.Context, p provider.Provider, key string, pieces []Piece, o Options, send sendPart) (provider.Object, error) {
	if o.BeforeUpload != nil {
		if err := o.BeforeUpload(); err != nil {
			return provider.Object{}, err
		}
	}
	u, err := p.NewUpload(ctx, key, provider.UploadOptions{Metadata: o.Metadata, ContentType: o.ContentType})
	if err != nil {
		return provider.Object{}, err
	}
	obj, err := sendParts(ctx, u, pieces, o, send)
	gone := err == nil
	if err != nil {
		// The context may be what failed; the parts cost money until they are aborted.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
		defer cancel()
		gone = u.Abort(clean) == nil // the error that counts is err; what stays is found by ListUploads
	}
	if gone && o.OnGone != nil {
		o.OnGone(u.ID())
	}
	return obj, err
}

func sendParts(ctx context.Context, u provider.Upload, pieces []Piece, o Options, send sendPart) (provider.Object, error) {
	if o.OnUpload != nil {
		if err := o.OnUpload(u.ID()); err != nil {
			return provider.Object{}, err
		}
	}
	parts := make([]provider.Part, len(pieces))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(o.Parallel)
	for i, piece := range pieces {
		g.Go(func() error {
			if gctx.Err() != nil {
				return gctx.Err()
			}
			var err error
			parts[i], err = send(gctx, u, i+1, piece)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return provider.Object{}, err
	}
	obj, err := u.Complete(ctx, parts, provider.CompleteOptions{If: o.If})
	if provider.Is(err, provider.KindUnsupported) && !o.If.IsZero() {
		obj, err = u.Complete(ctx, parts, provider.CompleteOptions{})
	}
	if provider.Is(err, provider.KindPrecondition) && o.If.IsZero() { // of a part that was made now
		err = fmt.Errorf("%w: %w", ErrSource, err)
	}
	return obj, err
}

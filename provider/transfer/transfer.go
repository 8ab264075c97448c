// Package transfer moves contents of any size into a store: in one request when that is allowed and sensible, else in parts
// that travel in parallel. It holds no state; an upload that fails is aborted, one whose process dies is found by
// Provider.ListUploads.
package transfer

import (
	"context"
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

// Options are the options of Put and Copy. The zero value works.
type Options struct {
	If          provider.Condition
	Metadata    provider.Metadata
	ContentType string
	PartSize    int64 // bytes; raised where the store's limits ask for it. 0: DefaultPartSize
	Parallel    int   // parts at a time. 0: DefaultParallel

	// OnUpload is called with the id of an upload in parts before its first part, so that it can be noted. An error
	// ends the upload.
	OnUpload func(id string) error
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
	o = o.withDefaults()
	caps := p.Capabilities()
	if size <= 2*o.PartSize && (caps.MaxPutSize == 0 || size <= caps.MaxPutSize) {
		return p.Put(ctx, key, io.NewSectionReader(body, 0, size), size,
			provider.PutOptions{If: o.If, Metadata: o.Metadata, ContentType: o.ContentType})
	}
	return inParts(ctx, p, key, size, o, func(ctx context.Context, u provider.Upload, number int, off, n int64) (provider.Part, error) {
		return u.PutPart(ctx, number, io.NewSectionReader(body, off, n), n)
	})
}

// Copy makes dst an object with the size bytes of src, on the server. Metadata nil keeps the source's, except beyond the
// store's limit for a single copy, where it must be given.
func Copy(ctx context.Context, p provider.Provider, src, dst string, size int64, version provider.Version, o Options) (provider.Object, error) {
	o = o.withDefaults()
	caps := p.Capabilities()
	if caps.MaxCopySize == 0 || size <= caps.MaxCopySize {
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
		o.PartSize = max(o.PartSize, min(caps.MaxPartSize, 1<<30))
	}
	return inParts(ctx, p, dst, size, o, func(ctx context.Context, u provider.Upload, number int, off, n int64) (provider.Part, error) {
		return u.CopyPart(ctx, number, src, provider.CopyPartOptions{Offset: off, Length: n, IfVersion: version})
	})
}

// PartSize returns the size of the parts for a content: as wished, within the store's limits.
func PartSize(caps provider.Capabilities, size, wish int64) (int64, error) {
	part := max(wish, caps.MinPartSize)
	if caps.MaxParts > 0 {
		part = max(part, (size+int64(caps.MaxParts)-1)/int64(caps.MaxParts))
	}
	if caps.MaxPartSize > 0 && part > caps.MaxPartSize || caps.MaxObjectSize > 0 && size > caps.MaxObjectSize {
		return 0, fmt.Errorf("%d bytes are more than the store takes", size)
	}
	return part, nil
}

type sendPart func(ctx context.Context, u provider.Upload, number int, off, n int64) (provider.Part, error)

func inParts(ctx context.Context, p provider.Provider, key string, size int64, o Options, send sendPart) (provider.Object, error) {
	partSize, err := PartSize(p.Capabilities(), size, o.PartSize)
	if err != nil {
		return provider.Object{}, &provider.Error{Op: "put", Key: key, Kind: provider.KindTooLarge, Err: err}
	}
	u, err := p.NewUpload(ctx, key, provider.UploadOptions{Metadata: o.Metadata, ContentType: o.ContentType})
	if err != nil {
		return provider.Object{}, err
	}
	obj, err := sendParts(ctx, u, size, partSize, o, send)
	if err != nil {
		// The context may be what failed; the parts cost money until they are aborted.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
		defer cancel()
		_ = u.Abort(clean) // the error that counts is err; what stays is found by ListUploads
	}
	return obj, err
}

func sendParts(ctx context.Context, u provider.Upload, size, partSize int64, o Options, send sendPart) (provider.Object, error) {
	if o.OnUpload != nil {
		if err := o.OnUpload(u.ID()); err != nil {
			return provider.Object{}, err
		}
	}
	parts := make([]provider.Part, (size+partSize-1)/partSize)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(o.Parallel)
	for i := range parts {
		off := int64(i) * partSize
		g.Go(func() error {
			if gctx.Err() != nil {
				return gctx.Err()
			}
			var err error
			parts[i], err = send(gctx, u, i+1, off, min(partSize, size-off))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return provider.Object{}, err
	}
	return u.Complete(ctx, parts, provider.CompleteOptions{If: o.If})
}

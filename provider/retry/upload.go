package retry

import (
	"context"
	"io"

	"sharefs/provider"
)

type upload struct {
	inner    provider.Upload
	p        *Provider
	key      string
	metadata provider.Metadata
}

func (u *upload) ID() string { return u.inner.ID() }

// PutPart rewinds the body. Sending a number again replaces the part.
func (u *upload) PutPart(ctx context.Context, number int, body io.ReadSeeker, size int64) (part provider.Part, err error) {
	lender, err := newLender("upload.putpart", u.key, body)
	if err != nil {
		return provider.Part{}, err
	}
	err = u.p.do(ctx, request{op: "upload.putpart", key: u.key}, func(ctx context.Context, dog *watchdog) error {
		lent, err := lender.lend(dog)
		if err != nil {
			return err
		}
		defer lent.takeBack()
		part, err = u.inner.PutPart(ctx, number, lent, size)
		return err
	})
	return part, err
}

func (u *upload) CopyPart(ctx context.Context, number int, src string, opts provider.CopyPartOptions) (part provider.Part, err error) {
	err = u.p.do(ctx, request{op: "upload.copypart", key: u.key, slow: true}, func(ctx context.Context, _ *watchdog) (err error) {
		part, err = u.inner.CopyPart(ctx, number, src, opts)
		return err
	})
	return part, err
}

// Complete is settled: an upload that is gone at the second attempt was completed by the first, or aborted by somebody.
func (u *upload) Complete(ctx context.Context, parts []provider.Part, opts provider.CompleteOptions) (o provider.Object, err error) {
	var size int64
	for _, part := range parts {
		size += part.Size
	}
	r := request{op: "upload.complete", key: u.key, slow: true}
	r.settle = func(ctx context.Context) (verdict, error) {
		found, v, err := u.p.settle(ctx, u.key, size, u.metadata)
		o = found
		return v, err
	}
	err = u.p.do(ctx, r, func(ctx context.Context, _ *watchdog) (err error) {
		o, err = u.inner.Complete(ctx, parts, opts)
		return err
	})
	return o, err
}

func (u *upload) Abort(ctx context.Context) error {
	return u.p.do(ctx, request{op: "upload.abort", key: u.key}, func(ctx context.Context, _ *watchdog) error {
		return u.inner.Abort(ctx)
	})
}

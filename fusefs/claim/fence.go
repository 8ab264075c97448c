package claim

import (
	"context"
	"errors"
	"io"

	"sharefs/provider"
)

// fence is a store whose changes leave only while a claim holds.
//
// It looks at the clock three times: before anything is done for a request; when the request has its place and is about
// to be sent (provider.WithGate); and for every piece of a body, so that a body that was being sent when the process was
// stopped is never sent to its end. When the claim ends by the clock what is under way is cancelled.
type fence struct {
	provider.Provider
	c *Claim
}

// Fence returns the store, whose changes leave only while the claim holds. A request that is refused was not sent: its
// error is a *provider.Error of KindReadOnly when the claim is lost or released, of KindUnavailable when it could not be
// renewed, and wraps ErrLost. One that is stopped on its way is of KindUnavailable and unanswered, for it may yet take
// effect.
func (c *Claim) Fence(p provider.Provider) provider.Provider { return fence{p, c} }

// send sends one change.
func (f fence) send(ctx context.Context, op, key string, do func(context.Context) error) error {
	if err := f.c.allow(); err != nil {
		err.Op, err.Key = op, key
		return err
	}
	during, end := f.c.during(ctx)
	defer end()
	err := do(provider.WithGate(during, f.pass))
	if err == nil || ctx.Err() != nil || during.Err() == nil && !errors.Is(err, ErrLost) {
		return err
	}
	cause := f.c.why(err)
	return &provider.Error{Op: op, Key: key, Kind: provider.KindUnavailable, Unanswered: true, Err: cause}
}

// pass is the gate of a request. Its errors are not transient, so that they end the request.
func (f fence) pass() error {
	err := f.c.allow()
	if err == nil {
		return nil
	}
	err.Kind = provider.KindReadOnly
	return err
}

// during returns a context that ends when the claim does not hold any more.
func (c *Claim) during(ctx context.Context) (context.Context, context.CancelFunc) {
	c.mu.Lock()
	span := c.span
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(span, cancel)
	return ctx, func() { stop(); cancel() }
}

// why returns the reason that a request on its way was stopped for.
func (c *Claim) why(err error) error {
	if now := c.allow(); now != nil {
		return now.Err
	}
	return errors.Join(ErrLost, err) // it holds again meanwhile
}

// body is a body that ends in an error when the claim does not hold any more.
type body struct {
	io.ReadSeeker
	f fence
}

func (b body) Read(p []byte) (int, error) {
	if err := b.f.pass(); err != nil {
		return 0, err
	}
	return b.ReadSeeker.Read(p)
}

func (f fence) Put(ctx context.Context, key string, r io.ReadSeeker, size int64, opts provider.PutOptions) (o provider.Object, err error) {
	err = f.send(ctx, "put", key, func(ctx context.Context) error {
		o, err = f.Provider.Put(ctx, key, body{r, f}, size, opts)
		return err
	})
	return o, err
}

func (f fence) NewUpload(ctx context.Context, key string, opts provider.UploadOptions) (u provider.Upload, err error) {
	err = f.send(ctx, "newupload", key, func(ctx context.Context) error {
		u, err = f.Provider.NewUpload(ctx, key, opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	return upload{u, f, key}, nil
}

func (f fence) AbortUpload(ctx context.Context, key, id string) error {
	return f.send(ctx, "abortupload", key, func(ctx context.Context) error { return f.Provider.AbortUpload(ctx, key, id) })
}

func (f fence) Copy(ctx context.Context, src, dst string, opts provider.CopyOptions) (o provider.Object, err error) {
	err = f.send(ctx, "copy", dst, func(ctx context.Context) error {
		o, err = f.Provider.Copy(ctx, src, dst, opts)
		return err
	})
	return o, err
}

func (f fence) Move(ctx context.Context, src, dst string) (o provider.Object, err error) {
	err = f.send(ctx, "move", dst, func(ctx context.Context) error {
		o, err = f.Provider.Move(ctx, src, dst)
		return err
	})
	return o, err
}

func (f fence) Delete(ctx context.Context, opts provider.DeleteOptions, keys ...string) error {
	key := ""
	if len(keys) == 1 {
		key = keys[0]
	}
	return f.send(ctx, "delete", key, func(ctx context.Context) error { return f.Provider.Delete(ctx, opts, keys...) })
}

func (f fence) Create(ctx context.Context) error {
	return f.send(ctx, "create", "", f.Provider.Create)
}

// upload is an upload in parts through the fence.
type upload struct {
	provider.Upload
	f   fence
	key string
}

func (u upload) PutPart(ctx context.Context, number int, r io.ReadSeeker, size int64) (part provider.Part, err error) {
	err = u.f.send(ctx, "upload.putpart", u.key, func(ctx context.Context) error {
		part, err = u.Upload.PutPart(ctx, number, body{r, u.f}, size)
		return err
	})
	return part, err
}

func (u upload) CopyPart(ctx context.Context, number int, src string, opts provider.CopyPartOptions) (part provider.Part, err error) {
	err = u.f.send(ctx, "upload.copypart", u.key, func(ctx context.Context) error {
		part, err = u.Upload.CopyPart(ctx, number, src, opts)
		return err
	})
	return part, err
}

func (u upload) Complete(ctx context.Context, parts []provider.Part, opts provider.CompleteOptions) (o provider.Object, err error) {
	err = u.f.send(ctx, "upload.complete", u.key, func(ctx context.Context) error {
		o, err = u.Upload.Complete(ctx, parts, opts)
		return err
	})
	return o, err
}

func (u upload) Abort(ctx context.Context) error {
	return u.f.send(ctx, "upload.abort", u.key, u.Upload.Abort)
}

package mem

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"sharefs/provider"
)

// upload is an upload in parts. Its fields are guarded by the store's lock, the first four never change.
type upload struct {
	store   *Store
	key, id string
	as      described
	started time.Time
	parts   map[int]part
}

type part struct {
	tag  string
	data []byte
}

// NewUpload begins an upload in parts.
func (s *Store) NewUpload(ctx context.Context, key string, opts provider.UploadOptions) (provider.Upload, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	u := &upload{store: s, key: key, id: "u" + strconv.FormatUint(s.serial, 10), as: described{known(opts.Metadata), opts.ContentType},
		started: s.now(), parts: map[int]part{}}
	s.uploads[u.id] = u
	return u, nil
}

// ListUploads returns the uploads under way.
func (s *Store) ListUploads(ctx context.Context, prefix string) ([]provider.UploadInfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var infos []provider.UploadInfo
	for _, u := range s.uploads {
		if strings.HasPrefix(u.key, prefix) {
			infos = append(infos, provider.UploadInfo{Key: u.key, ID: u.id, Started: u.started})
		}
	}
	slices.SortFunc(infos, func(a, b provider.UploadInfo) int {
		return cmp.Or(a.Started.Compare(b.Started), strings.Compare(a.ID, b.ID))
	})
	return infos, nil
}

// AbortUpload ends an upload.
func (s *Store) AbortUpload(ctx context.Context, key, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.uploads[id]; u != nil && u.key == key {
		delete(s.uploads, id)
	}
	return nil
}

func (u *upload) ID() string { return u.id }

func (u *upload) PutPart(ctx context.Context, number int, body io.ReadSeeker, size int64) (provider.Part, error) {
	const op = "upload.putpart"
	if err := ctx.Err(); err != nil {
		return provider.Part{}, err
	}
	data, err := readBody(ctx, op, u.key, body, size)
	if err != nil {
		return provider.Part{}, err
	}
	u.store.mu.Lock()
	defer u.store.mu.Unlock()
	return u.add(op, number, data)
}

func (u *upload) CopyPart(ctx context.Context, number int, src string, opts provider.CopyPartOptions) (provider.Part, error) {
	const op = "upload.copypart"
	if err := ctx.Err(); err != nil {
		return provider.Part{}, err
	}
	s := u.store
	if !s.caps.Copy {
		return provider.Part{}, fail(op, u.key, provider.KindUnsupported, nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.versionLocked(op, src, opts.IfVersion)
	if err != nil {
		return provider.Part{}, err
	}
	if opts.Offset < 0 || opts.Length < 1 || opts.Length > o.Size || opts.Offset > o.Size-opts.Length {
		return provider.Part{}, fail(op, src, provider.KindInvalid, fmt.Errorf("the object of %d bytes has no range of %d at %d",
			o.Size, opts.Length, opts.Offset))
	}
	return u.add(op, number, o.data[opts.Offset:opts.Offset+opts.Length])
}

// add makes data a part. The store's lock is held.
func (u *upload) add(op string, number int, data []byte) (provider.Part, error) {
	s, size := u.store, int64(len(data))
	switch {
	case s.uploads[u.id] != u:
		return provider.Part{}, fail(op, u.key, provider.KindNotFound, fmt.Errorf("no upload %s", u.id))
	case number < 1, s.caps.MaxParts > 0 && number > s.caps.MaxParts:
		return provider.Part{}, fail(op, u.key, provider.KindInvalid, fmt.Errorf("no part can have number %d", number))
	case s.caps.MaxPartSize > 0 && size > s.caps.MaxPartSize:
		return provider.Part{}, tooLarge(op, u.key, size, s.caps.MaxPartSize)
	}
	s.serial++
	p := part{tag: strconv.FormatUint(s.serial, 10), data: data}
	u.parts[number] = p
	return provider.Part{Number: number, Size: size, Tag: p.tag}, nil
}

func (u *upload) Complete(ctx context.Context, parts []provider.Part, opts provider.CompleteOptions) (provider.Object, error) {
	const op = "upload.complete"
	if err := ctx.Err(); err != nil {
		return provider.Object{}, err
	}
	s := u.store
	if err := s.supports(op, u.key, opts.If); err != nil {
		return provider.Object{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.uploads[u.id] != u {
		return provider.Object{}, fail(op, u.key, provider.KindNotFound, fmt.Errorf("no upload %s", u.id))
	}
	data, err := u.join(parts)
	if err != nil {
		return provider.Object{}, fail(op, u.key, provider.KindInvalid, err)
	}
	o, err := s.store(op, u.key, data, u.as, opts.If)
	if err == nil {
		delete(s.uploads, u.id)
	}
	return o, err
}

// join returns the bytes of the parts in the order of their numbers. The store's lock is held.
func (u *upload) join(parts []provider.Part) ([]byte, error) {
	if len(parts) == 0 {
		return nil, fmt.Errorf("an object needs at least one part")
	}
	parts = slices.SortedFunc(slices.Values(parts), func(a, b provider.Part) int { return cmp.Compare(a.Number, b.Number) })
	var data bytes.Buffer
	for i, p := range parts {
		have, ok := u.parts[p.Number]
		switch {
		case !ok || have.tag != p.Tag:
			return nil, fmt.Errorf("part %d is not there", p.Number)
		case i > 0 && parts[i-1].Number == p.Number:
			return nil, fmt.Errorf("part %d is named twice", p.Number)
		case i < len(parts)-1 && int64(len(have.data)) < u.store.caps.MinPartSize:
			return nil, fmt.Errorf("part %d has %d bytes, fewer than %d", p.Number, len(have.data), u.store.caps.MinPartSize)
		}
		data.Write(have.data)
	}
	return data.Bytes(), nil
}

func (u *upload) Abort(ctx context.Context) error { return u.store.AbortUpload(ctx, u.key, u.id) }

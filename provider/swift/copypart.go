package swift

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"sharefs/provider"
)

// source is an object of which parts are made, as it was when the first was.
type source struct {
	once     sync.Mutex // held by the one who looks
	known    bool
	object   provider.Object
	manifest manifest // nil: what it consists of is of no use
}

// CopyPart makes a part of a range of an object. Segments of the object that is replaced, as far as the range holds them whole,
// are used as they are; the rest is copied by the cluster into segments of the part's own.
func (u *upload) CopyPart(ctx context.Context, number int, src string, opts provider.CopyPartOptions) (provider.Part, error) {
	const op = "upload.copypart"
	if err := u.check(op, number); err != nil {
		return provider.Part{}, err
	}
	if opts.Offset < 0 || opts.Length < 1 {
		return provider.Part{}, invalid(op, src, "a range from %d, %d bytes", opts.Offset, opts.Length)
	}
	if err := u.store.checkSize(op, src, opts.Length); err != nil {
		return provider.Part{}, err
	}
	from, err := u.source(ctx, op, src, opts.IfVersion)
	if err != nil {
		return provider.Part{}, err
	}
	if opts.Offset+opts.Length > from.object.Size {
		return provider.Part{}, invalid(op, src, "a range up to %d of %d bytes", opts.Offset+opts.Length, from.object.Size)
	}
	var entries manifest
	for i, piece := range from.cut(opts.Offset, opts.Length, u.store.caps.MaxParts) {
		if piece.reuse == nil {
			made, err := u.copyRange(ctx, op, src, from.object.Version, number, i, piece)
			if err != nil {
				return provider.Part{}, err
			}
			piece.reuse = &made
		}
		entries = append(entries, *piece.reuse)
	}
	return u.keep(number, entries), nil
}

// source looks at an object, once for an upload. One that has changed since is found by the condition of a copy, and by
// the cluster when it looks for segments that are gone.
func (u *upload) source(ctx context.Context, op, src string, version provider.Version) (*source, error) {
	u.mu.Lock()
	from := u.sources[src]
	if from == nil {
		from = &source{}
		u.sources[src] = from
	}
	u.mu.Unlock()
	from.once.Lock()
	defer from.once.Unlock()
	if !from.known {
		o, told, err := u.store.head(ctx, op, src, version)
		if err != nil {
			return nil, err
		}
		if src == u.key && told.Get("X-Static-Large-Object") != "" {
			m, err := u.store.manifest(ctx, op, src)
			if err != nil {
				return nil, err
			}
			from.manifest = m.reusable(u.store.segments(), u.dir, o.Version)
		}
		from.known, from.object = true, o
	}
	if version != "" && version != from.object.Version {
		return nil, &provider.Error{Op: op, Key: src, Kind: provider.KindPrecondition, Err: fmt.Errorf("its version is %s", from.object.Version)}
	}
	return from, nil
}

// reusable returns the manifest if all of it is segments that were uploaded for the key, and it is that of the version.
func (m manifest) reusable(container, dir string, version provider.Version) manifest {
	for _, e := range m {
		if !e.whole() {
			return nil
		}
	}
	if len(m.ours(container, dir)) != len(m) || m.version() != version {
		return nil
	}
	return m
}

// cutting is a piece of a part: a segment that is there, or a range to copy.
type cutting struct {
	reuse       *entry
	off, length int64
}

// cut divides a range at the segments that it holds. most bounds into how many pieces: an object that was changed in many
// places would else consist of ever more of them.
func (f *source) cut(off, length int64, most int) []cutting {
	var pieces []cutting
	end, at := off+length, int64(0)
	whole := 0
	for i := range f.manifest {
		e := &f.manifest[i]
		first, last := max(at, off), min(at+e.Bytes, end)
		switch {
		case first >= last:
		case last-first == e.Bytes:
			pieces = append(pieces, cutting{reuse: e, off: first, length: e.Bytes})
			whole++
		default:
			pieces = append(pieces, cutting{off: first, length: last - first})
		}
		at += e.Bytes
	}
	// Of the segments that parts do not take, this part has a share as large as its range.
	share := float64(most) * float64(length) / float64(max(f.object.Size, 1))
	if whole == 0 || len(pieces) > 3 && float64(len(pieces)) > share {
		return []cutting{{off: off, length: length}}
	}
	return pieces
}

// copyRange has the cluster copy a range into a segment.
func (u *upload) copyRange(ctx context.Context, op, src string, version provider.Version, number, piece int, c cutting) (entry, error) {
	name := u.name(partNumber(number))
	if piece > 0 {
		name = u.name(fmt.Sprintf("%0*d", digits, number*pieceNumbers+piece))
	}
	header := http.Header{
		"X-Copy-From": {u.store.copySource(src)}, "If-Match": {ifMatch(version)},
		"Range":            {fmt.Sprintf("bytes=%d-%d", c.off, c.off+c.length-1)},
		"X-Fresh-Metadata": {"true"}, "Content-Type": {typeDefault},
	}
	res, err := u.store.do(ctx, request{op: op, key: src, method: http.MethodPut, container: u.store.segments(), object: name, header: header, slow: true})
	if err != nil {
		return entry{}, err
	}
	defer res.close()
	return entry{Name: "/" + u.store.segments() + "/" + name, Hash: string(versionOf(res.Header.Get("ETag"))), Bytes: c.length}, nil
}

// pieceNumbers is by what the numbers of pieces are apart from those of parts.
const pieceNumbers = 100_000

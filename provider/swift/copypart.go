package swift

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"golang.org/x/sync/errgroup"

	"sharefs/provider"
)

// source is an object of which parts are made, as it was when the first was.
type source struct {
	looking  sync.Mutex // held by the one who looks
	known    bool
	key      string
	object   provider.Object
	manifest manifest // nil: what it consists of is of no use
}

// CopyPart makes a part of a range of an object. If that is the one that is replaced and consists of segments of ours, nothing is
// done before all parts are known: see assemble. Else the cluster copies the range into a segment.
func (u *upload) CopyPart(ctx context.Context, number int, src string, opts provider.CopyPartOptions) (provider.Part, error) {
	const op = "upload.copypart"
	if err := u.check(op, number); err != nil {
		return provider.Part{}, err
	}
	if opts.Offset < 0 || opts.Length < 1 {
		return provider.Part{}, provider.Invalid(op, src, "a range from %d, %d bytes", opts.Offset, opts.Length)
	}
	if err := u.store.checkSize(op, src, opts.Length); err != nil {
		return provider.Part{}, err
	}
	from, err := u.source(ctx, op, src, opts.IfVersion)
	if err != nil {
		return provider.Part{}, err
	}
	if opts.Offset+opts.Length > from.object.Size {
		return provider.Part{}, provider.Invalid(op, src, "a range up to %d of %d bytes", opts.Offset+opts.Length, from.object.Size)
	}
	part := provider.Part{Number: number, Size: opts.Length}
	if from.manifest != nil {
		part.Tag = fmt.Sprintf("%s %d", from.object.Version, opts.Offset)
		return u.keep(made{from: from, off: opts.Offset, part: part}), nil
	}
	segment, err := u.copyRange(ctx, op, from, u.name(partNumber(number)), span{opts.Offset, opts.Length})
	if err != nil {
		return provider.Part{}, err
	}
	part.Tag = segment.Hash
	return u.keep(made{segment: segment, part: part}), nil
}

// source looks at an object, once for an upload. One that has changed since is found by the condition of a copy, and by
// the cluster when it looks for segments that are gone.
func (u *upload) source(ctx context.Context, op, src string, version provider.Version) (*source, error) {
	u.mu.Lock()
	from := u.sources[src]
	if from == nil {
		from = &source{key: src}
		u.sources[src] = from
	}
	u.mu.Unlock()
	from.looking.Lock()
	defer from.looking.Unlock()
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

// span is a range of an object.
type span struct{ off, length int64 }

// cutting is a piece of a range: a segment that is there, or what is to be copied.
type cutting struct {
	reuse *entry
	span
}

// cut divides a range at the segments that it holds. most bounds into how many pieces: an object that was changed in many
// places would else consist of ever more of them. No piece is larger than limit.
func (f *source) cut(r span, most int, limit int64) []cutting {
	var pieces []cutting
	end, at := r.off+r.length, int64(0)
	whole := 0
	for i := range f.manifest {
		e := &f.manifest[i]
		first, last := max(at, r.off), min(at+e.Bytes, end)
		switch {
		case first >= last:
		case last-first == e.Bytes:
			pieces = append(pieces, cutting{e, span{first, e.Bytes}})
			whole++
		default:
			pieces = append(pieces, cutting{nil, span{first, last - first}})
		}
		at += e.Bytes
	}
	// Of the segments that are not for parts, this range has a share that is as large as it is.
	share := float64(most) * float64(r.length) / float64(max(f.object.Size, 1))
	if whole > 0 && (len(pieces) <= 3 || float64(len(pieces)) <= share) {
		return pieces
	}
	pieces = nil
	for off := r.off; off < end; off += limit {
		pieces = append(pieces, cutting{nil, span{off, min(limit, end-off)}})
	}
	return pieces
}

// parallelCopies is how many ranges are copied at a time.
const parallelCopies = 4

// assemble makes the manifest. Ranges of the object that is replaced are joined where one goes on where the last one ended, and
// then cut at that object's segments: those that lie in them whole are used as they are, the ends are copied by the cluster.
func (u *upload) assemble(ctx context.Context, op string, parts []made) (m manifest, size int64, err error) {
	var joined []made
	for _, p := range parts {
		size += p.part.Size
		if n := len(joined); n > 0 && p.from != nil && joined[n-1].from == p.from && joined[n-1].off+joined[n-1].part.Size == p.off {
			joined[n-1].part.Size += p.part.Size
			continue
		}
		joined = append(joined, p)
	}
	var pieces []piece
	for _, p := range joined {
		if p.from == nil {
			pieces = append(pieces, piece{cutting: cutting{reuse: &p.segment}})
			continue
		}
		for _, c := range p.from.cut(span{p.off, p.part.Size}, u.store.caps.MaxParts, u.store.caps.MaxPartSize) {
			pieces = append(pieces, piece{c, p.from})
		}
	}
	m, err = u.gather(ctx, op, pieces)
	return m, size, err
}

// piece is a piece of an object, and what it is copied from if it is not there.
type piece struct {
	cutting
	from *source
}

// gather has copied what is not there.
func (u *upload) gather(ctx context.Context, op string, pieces []piece) (manifest, error) {
	entries := make(manifest, len(pieces))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelCopies)
	for i, p := range pieces {
		if p.reuse != nil {
			entries[i] = *p.reuse
			continue
		}
		g.Go(func() (err error) {
			entries[i], err = u.copyRange(gctx, op, p.from, u.name(partNumber(firstCopy+i)), p.span)
			return err
		})
	}
	return entries, g.Wait()
}

// firstCopy is the first number of the segments that assemble makes, which are beside those of parts.
const firstCopy = 10_000_000

// copyRange has the cluster copy a range into a segment.
func (u *upload) copyRange(ctx context.Context, op string, from *source, name string, r span) (entry, error) {
	header := u.segment.Clone()
	header.Set("X-Copy-From", u.store.copySource(from.key))
	header.Set("If-Match", ifMatch(from.object.Version))
	header.Set("Range", fmt.Sprintf("bytes=%d-%d", r.off, r.off+r.length-1))
	header.Set("X-Fresh-Metadata", "true")
	res, err := u.store.do(ctx, request{op: op, key: from.key, method: http.MethodPut, container: u.store.segments(), object: name, header: header, slow: true})
	if err != nil {
		return entry{}, err
	}
	defer res.close()
	made := u.entry(name, string(versionOf(res.Header.Get("ETag"))), r.length)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.copied = append(u.copied, made)
	return made, nil
}

package swift

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"sharefs/provider"
)

// upload is one large object in the making.
type upload struct {
	store   *store
	key, id string
	dir     string // what stands for the key in the container of the segments
	opts    provider.UploadOptions
	header  http.Header // of the object
	segment http.Header // of its segments, and of the object that stands for the upload
	started time.Time

	mu      sync.Mutex
	ended   bool               // guarded by mu
	made    map[int]made       // guarded by mu: by number of the part
	copied  manifest           // guarded by mu: by Complete, for ranges
	sources map[string]*source // guarded by mu: by key
}

// made is what a part consists of: a segment of its own, or a range of the object that is replaced, which is looked at when all
// parts are known.
type made struct {
	segment entry
	from    *source // nil: a segment
	off     int64
	part    provider.Part
}

var _ provider.Upload = (*upload)(nil)

// longKeys is where the segments of keys are that leave no room for more in a name.
const longKeys = provider.Reserved + "long/"

// dirOf returns what stands for a key in the container of the segments.
func (s *store) dirOf(key string) string {
	if len(key)+roomForID <= s.caps.MaxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return longKeys + hex.EncodeToString(sum[:])
}

// NewUpload stores the object that stands for the upload, and makes the container of the segments when it is not there.
func (s *store) NewUpload(ctx context.Context, key string, opts provider.UploadOptions) (provider.Upload, error) {
	const op = "newupload"
	if s.limits.SLO == nil {
		return nil, provider.Unsupported(op, key, "this cluster has no static large objects")
	}
	if (provider.Object{Key: key}).IsDir() {
		return nil, provider.Invalid(op, key, "a directory marker has no content")
	}
	header, err := s.describe(op, key, opts.Metadata, opts.ContentType)
	if err != nil {
		return nil, err
	}
	segment, err := s.describeSegment(op, key)
	if err != nil {
		return nil, err
	}
	u := &upload{store: s, key: key, id: newID(), dir: s.dirOf(key), opts: opts, header: header, segment: segment, started: time.Now(),
		made: map[int]made{}, sources: map[string]*source{}}
	u.opts.Metadata = cloned(opts.Metadata)
	s.active.add(u)
	if err := s.inSegments(ctx, op, func() error { return u.announce(ctx, op) }); err != nil {
		s.active.take(u.id)
		return nil, err
	}
	return u, nil
}

// inSegments does something in the container of the segments, which it makes when it is not there.
func (s *store) inSegments(ctx context.Context, op string, do func() error) error {
	err := do()
	if !provider.Is(err, provider.KindNoStore) {
		return err
	}
	if err := s.createContainer(ctx, op, s.segments()); err != nil {
		return err
	}
	return do()
}

// announce stores the object that stands for the upload.
func (u *upload) announce(ctx context.Context, op string) error {
	_, err := u.store.putBytes(ctx, request{op: op, key: u.key, container: u.store.segments(), object: u.name(uploadName),
		header: u.segment.Clone()}, strings.NewReader(""), 0)
	return err
}

func (u *upload) name(part string) string { return segmentName{u.dir, u.id, part}.String() }

// ID returns the id.
func (u *upload) ID() string { return u.id }

// PutPart stores one segment.
func (u *upload) PutPart(ctx context.Context, number int, body io.ReadSeeker, size int64) (provider.Part, error) {
	const op = "upload.putpart"
	if err := u.check(op, number); err != nil {
		return provider.Part{}, err
	}
	if err := u.store.checkSize(op, u.key, size); err != nil {
		return provider.Part{}, err
	}
	name := u.name(partNumber(number))
	etag, err := u.store.putBytes(ctx, request{op: op, key: u.key, container: u.store.segments(), object: name,
		header: u.segment.Clone()}, body, size)
	if err != nil {
		return provider.Part{}, err
	}
	return u.keep(made{segment: u.entry(name, etag, size), part: provider.Part{Number: number, Size: size, Tag: etag}}), nil
}

// entry returns how a segment stands in a manifest.
func (u *upload) entry(name, etag string, size int64) entry {
	return entry{Name: "/" + u.store.segments() + "/" + name, Hash: etag, Bytes: size}
}

// keep notes what a part consists of.
func (u *upload) keep(m made) provider.Part {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.made[m.part.Number] = m
	return m.part
}

func (u *upload) check(op string, number int) error {
	if most := u.store.caps.MaxParts; number < 1 || number > most {
		return provider.Invalid(op, u.key, "part number %d: parts are numbered from 1 to %d", number, most)
	}
	return u.alive(op)
}

// alive reports that the upload has been completed or aborted.
func (u *upload) alive(op string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.ended {
		return nil
	}
	return &provider.Error{Op: op, Key: u.key, Kind: provider.KindNotFound, Err: errors.New("the upload has been completed or aborted")}
}

func (u *upload) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended = true
}

// Complete stores the manifest, and deletes what belongs to nothing then.
func (u *upload) Complete(ctx context.Context, parts []provider.Part, opts provider.CompleteOptions) (provider.Object, error) {
	const op = "upload.complete"
	if err := noCondition(op, u.key, opts.If); err != nil {
		return provider.Object{}, err
	}
	if err := u.alive(op); err != nil {
		return provider.Object{}, err
	}
	if ctx.Err() != nil {
		return provider.Object{}, ctx.Err()
	}
	ordered, err := u.ordered(op, parts)
	if err != nil {
		return provider.Object{}, err
	}
	m, size, err := u.assemble(ctx, op, ordered)
	if err != nil {
		return provider.Object{}, err
	}
	old, err := u.store.replaced(ctx, op, u.key)
	if err != nil {
		return provider.Object{}, err
	}
	u.store.large.add(u.dir)
	if err := u.store.putManifest(ctx, op, u.key, m, u.header); err != nil {
		return provider.Object{}, err
	}
	u.store.seen.Store(true)
	u.end()
	u.store.active.take(u.id)
	// One that stays is found as an upload under way, and harms nobody: to abort it leaves what the object uses.
	_ = u.store.deleteOne(ctx, u.store.segments(), u.name(uploadName))
	u.store.tidy(ctx, old, m)
	o := provider.Object{Key: u.key, Size: size, Version: m.version(), Metadata: cloned(u.opts.Metadata), ContentType: u.opts.ContentType}
	return o, nil
}

// ordered returns what the parts consist of, in their order. The cluster would say the same of what is wrong with them, less
// clearly.
func (u *upload) ordered(op string, parts []provider.Part) ([]made, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	sorted := slices.SortedFunc(slices.Values(parts), func(a, b provider.Part) int { return cmp.Compare(a.Number, b.Number) })
	var all []made
	for i, part := range sorted {
		m, ok := u.made[part.Number]
		switch {
		case i > 0 && part.Number == sorted[i-1].Number:
			return nil, provider.Invalid(op, u.key, "part %d is named twice", part.Number)
		case !ok:
			return nil, provider.Invalid(op, u.key, "part %d was not sent", part.Number)
		case m.part.Tag != part.Tag:
			return nil, provider.Invalid(op, u.key, "part %d was sent again with other bytes", part.Number)
		case part.Size < u.store.caps.MinPartSize && i < len(sorted)-1:
			return nil, provider.Invalid(op, u.key, "part %d has %d bytes: all but the last have %d at least", part.Number, part.Size, u.store.caps.MinPartSize)
		case part.Size > 0: // no segment is empty
			all = append(all, m)
		}
	}
	if len(all) == 0 {
		return nil, provider.Invalid(op, u.key, "an upload without a byte: store an empty object with Put")
	}
	return all, nil
}

// Abort ends the upload.
func (u *upload) Abort(ctx context.Context) error {
	return u.store.abort(ctx, "upload.abort", u.key, u.id)
}

// AbortUpload ends an upload that another process may have left.
func (s *store) AbortUpload(ctx context.Context, key, id string) error {
	return s.abort(ctx, "abortupload", key, id)
}

// abort deletes what an upload has stored, but for what the object uses if it was completed after all, and last the object that
// stands for it.
func (s *store) abort(ctx context.Context, op, key, id string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	dir := s.dirOf(key)
	used, err := s.manifest(ctx, op, key)
	if err != nil && !provider.Is(err, provider.KindNotFound) {
		return err
	}
	keep := used.set(s.segments(), dir)
	marker := segmentName{dir, id, uploadName}
	dead := s.sent(id)
	if err := s.eachSegment(ctx, op, dir+"/"+id+"/", func(n segmentName, _ listed) { dead = append(dead, n.String()) }); err != nil {
		return err
	}
	dead = slices.DeleteFunc(unique(dead), func(name string) bool { return keep[name] || name == marker.String() })
	if len(dead) > 0 {
		if err := s.deleteFrom(ctx, s.segments(), dead); err != nil {
			return provider.E(ctx, op, key, provider.KindOf(err), err)
		}
	}
	if err := s.deleteOne(ctx, s.segments(), marker.String()); err != nil {
		return provider.E(ctx, op, key, provider.KindOf(err), err)
	}
	if u := s.active.take(id); u != nil {
		u.end()
	}
	return nil
}

// sent returns the names of the segments that an upload of this process has stored.
func (s *store) sent(id string) []string {
	s.active.mu.Lock()
	u := s.active.uploads[id]
	s.active.mu.Unlock()
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	all := slices.Clone(u.copied)
	for _, m := range u.made {
		all = append(all, m.segment)
	}
	return all.ours(s.segments(), u.dir)
}

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
	started time.Time

	mu      sync.Mutex
	ended   bool             // guarded by mu
	entries map[int]manifest // guarded by mu: by number of the part, what it consists of
	sources map[string]*source
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
		return nil, unsupported(op, key, "this cluster has no static large objects")
	}
	if (provider.Object{Key: key}).IsDir() {
		return nil, invalid(op, key, "a directory marker has no content")
	}
	header, err := s.describe(op, key, opts.Metadata, opts.ContentType)
	if err != nil {
		return nil, err
	}
	u := &upload{store: s, key: key, id: newID(), dir: s.dirOf(key), opts: opts, header: header, started: time.Now(),
		entries: map[int]manifest{}, sources: map[string]*source{}}
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

// announce stores the object that stands for the upload. Its body is the key, where the name does not tell it.
func (u *upload) announce(ctx context.Context, op string) error {
	body := ""
	if u.dir != u.key {
		body = u.key
	}
	_, err := u.store.putBytes(ctx, request{op: op, key: u.key, container: u.store.segments(), object: u.name(uploadName),
		header: http.Header{"Content-Type": {"text/plain"}}}, strings.NewReader(body), int64(len(body)))
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
		header: http.Header{"Content-Type": {typeDefault}}}, body, size)
	if err != nil {
		return provider.Part{}, err
	}
	return u.keep(number, manifest{{Name: "/" + u.store.segments() + "/" + name, Hash: etag, Bytes: size}}), nil
}

// keep notes what a part consists of.
func (u *upload) keep(number int, entries manifest) provider.Part {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.entries[number] = entries
	part := provider.Part{Number: number, Tag: string(entries.version())}
	for _, e := range entries {
		part.Size += e.Bytes
	}
	return part
}

func (u *upload) check(op string, number int) error {
	if most := u.store.caps.MaxParts; number < 1 || number > most {
		return invalid(op, u.key, "part number %d: parts are numbered from 1 to %d", number, most)
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
	m, size, err := u.assemble(op, parts)
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

// assemble puts the parts together. The store would say the same of what is wrong with them, less clearly.
func (u *upload) assemble(op string, parts []provider.Part) (m manifest, size int64, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	sorted := slices.SortedFunc(slices.Values(parts), func(a, b provider.Part) int { return cmp.Compare(a.Number, b.Number) })
	for i, part := range sorted {
		entries, ok := u.entries[part.Number]
		switch {
		case i > 0 && part.Number == sorted[i-1].Number:
			return nil, 0, invalid(op, u.key, "part %d is named twice", part.Number)
		case !ok:
			return nil, 0, invalid(op, u.key, "part %d was not sent", part.Number)
		case string(entries.version()) != part.Tag:
			return nil, 0, invalid(op, u.key, "part %d was sent again with other bytes", part.Number)
		case part.Size < u.store.caps.MinPartSize && i < len(sorted)-1:
			return nil, 0, invalid(op, u.key, "part %d has %d bytes: all but the last have %d at least", part.Number, part.Size, u.store.caps.MinPartSize)
		}
		for _, e := range entries {
			if e.Bytes > 0 {
				m = append(m, e)
			}
		}
		size += part.Size
	}
	if len(m) == 0 {
		return nil, 0, invalid(op, u.key, "an upload without a byte: store an empty object with Put")
	}
	return m, size, nil
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
	keep := map[string]bool{}
	for _, name := range used.ours(s.segments(), dir) {
		keep[name] = true
	}
	marker := segmentName{dir, id, uploadName}
	dead := s.sent(id)
	if err := s.eachSegment(ctx, op, dir+"/"+id+"/", func(n segmentName, _ time.Time) { dead = append(dead, n.String()) }); err != nil {
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
	var names []string
	for _, entries := range u.entries {
		for _, name := range entries.ours(s.segments(), u.dir) {
			if n, _ := parseSegment(name); n.id == id {
				names = append(names, name)
			}
		}
	}
	return names
}

// ListUploads returns what is listed, and what this process has under way, as far as the objects that stand for uploads exist:
// a listing may be late.
func (s *store) ListUploads(ctx context.Context, prefix string) ([]provider.UploadInfo, error) {
	const op = "listuploads"
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	started := map[segmentName]time.Time{}
	for _, u := range s.active.below(prefix) {
		started[segmentName{u.dir, u.id, uploadName}] = u.started
	}
	for _, ask := range []string{prefix, longKeys} {
		err := s.eachSegment(ctx, op, ask, func(n segmentName, at time.Time) {
			if n.part == uploadName {
				started[n] = at
			}
		})
		if err != nil {
			return nil, err
		}
	}
	var found []provider.UploadInfo
	for n, at := range started {
		key, ok, err := s.keyOf(ctx, op, n)
		if err != nil {
			return nil, err
		}
		if ok && strings.HasPrefix(key, prefix) {
			found = append(found, provider.UploadInfo{Key: key, ID: n.id, Started: at})
		}
	}
	slices.SortFunc(found, func(a, b provider.UploadInfo) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID))
	})
	return found, nil
}

// keyOf returns the key of an upload, if that exists.
func (s *store) keyOf(ctx context.Context, op string, marker segmentName) (key string, ok bool, err error) {
	if !strings.HasPrefix(marker.dir, longKeys) {
		ok, err := s.segmentExists(ctx, marker)
		return marker.dir, ok, err
	}
	res, err := s.do(ctx, request{op: op, key: marker.dir, method: http.MethodGet, container: s.segments(), object: marker.String()})
	if provider.Is(err, provider.KindNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	defer res.close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return "", false, provider.E(ctx, op, marker.dir, provider.KindUnavailable, err)
	}
	return string(text), true, nil
}

func (s *store) segmentExists(ctx context.Context, n segmentName) (bool, error) {
	res, err := s.do(ctx, request{op: "listuploads", key: n.dir, method: http.MethodHead, container: s.segments(), object: n.String()})
	if provider.Is(err, provider.KindNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	res.close()
	return true, nil
}

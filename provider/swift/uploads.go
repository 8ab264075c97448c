package swift

import (
	"cmp"
	"context"
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"sharefs/provider"
)

// pile is what is listed of one upload in the container of the segments. Of one that was completed the object of the key
// uses it all; what it does not use, because a process ended before it deleted that, belongs to nothing.
type pile struct {
	id      string
	started time.Time        // by the object that stands for the upload; zero: there is none
	latest  time.Time        // when the youngest segment was stored
	parts   map[string]int64 // sizes of the segments, by their number in the name
}

// ListUploads returns what is listed, and what this process has under way, as far as the objects that stand for uploads exist: a
// listing may be late. The segments that an upload left behind, and that the object of their key does not use, are listed as that
// upload, which may be aborted like others. To find them, the manifest of each large object is got.
func (s *store) ListUploads(ctx context.Context, prefix string) ([]provider.UploadInfo, error) {
	const op = "listuploads"
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	dirs, err := s.piles(ctx, op, prefix)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var found []provider.UploadInfo // guarded by mu
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelHeads)
	for dir, piles := range dirs {
		g.Go(func() error {
			of, err := s.uploadsOf(gctx, op, dir, slices.Collect(maps.Values(piles)))
			mu.Lock()
			defer mu.Unlock()
			found = append(found, of...)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(u provider.UploadInfo) bool { return !strings.HasPrefix(u.Key, prefix) }) // of long keys
	slices.SortFunc(found, func(a, b provider.UploadInfo) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID))
	})
	return found, nil
}

// piles lists the container of the segments, by what stands for the key there and by the upload.
func (s *store) piles(ctx context.Context, op, prefix string) (map[string]map[string]*pile, error) {
	dirs := map[string]map[string]*pile{}
	of := func(dir, id string) *pile {
		if dirs[dir] == nil {
			dirs[dir] = map[string]*pile{}
		}
		if dirs[dir][id] == nil {
			dirs[dir][id] = &pile{id: id, parts: map[string]int64{}}
		}
		return dirs[dir][id]
	}
	for _, u := range s.active.below(prefix) {
		of(u.dir, u.id).started = u.started
	}
	for _, ask := range []string{prefix, longKeys} {
		err := s.eachSegment(ctx, op, ask, func(n segmentName, l listed) {
			p, at := of(n.dir, n.id), listedTime(l.Modified)
			if n.part == uploadName {
				p.started = at
				return
			}
			p.parts[n.part] = l.Bytes
			if at.After(p.latest) {
				p.latest = at
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

// uploadsOf returns those of the piles of one key that are uploads under way, or that the object does not use. An upload that
// ends meanwhile stores the manifest first and deletes the object that stands for it then, so whether that is there is asked
// before the manifest that counts is got.
func (s *store) uploadsOf(ctx context.Context, op, dir string, piles []*pile) ([]provider.UploadInfo, error) {
	key, err := s.keyOf(ctx, op, dir, piles)
	if key == "" || err != nil {
		return nil, err
	}
	ended := func(p *pile) bool { return p.started.IsZero() }
	if slices.ContainsFunc(piles, ended) { // mostly all of them are used, and that is all
		if err := s.leaveOutUsed(ctx, op, key, dir, piles); err != nil {
			return nil, err
		}
	}
	var found []provider.UploadInfo
	var left []*pile
	for _, p := range piles {
		if ended(p) && len(p.parts) == 0 {
			continue
		}
		_, exists, err := s.headSegment(ctx, op, segmentName{dir, p.id, uploadName})
		switch {
		case err != nil:
			return nil, err
		case exists:
			found = append(found, p.info(key, cmp.Or(p.started, p.latest)))
		case len(p.parts) > 0:
			left = append(left, p)
		}
	}
	if len(left) == 0 {
		return found, nil
	}
	if err := s.leaveOutUsed(ctx, op, key, dir, left); err != nil {
		return nil, err
	}
	for _, p := range left {
		_, exists, err := s.headAny(ctx, op, dir, p)
		if err != nil {
			return nil, err
		}
		if exists {
			found = append(found, p.info(key, p.latest))
		}
	}
	return found, nil
}

func (p *pile) info(key string, at time.Time) provider.UploadInfo {
	u := provider.UploadInfo{Key: key, ID: p.id, Started: at}
	for _, size := range p.parts {
		u.Size += size
	}
	return u
}

// leaveOutUsed takes what the object of the key uses out of the piles.
func (s *store) leaveOutUsed(ctx context.Context, op, key, dir string, piles []*pile) error {
	m, err := s.manifest(ctx, op, key)
	if err != nil && !provider.Is(err, provider.KindNotFound) {
		return err
	}
	used := m.set(s.segments(), dir)
	for _, p := range piles {
		maps.DeleteFunc(p.parts, func(part string, _ int64) bool { return used[segmentName{dir, p.id, part}.String()] })
	}
	return nil
}

// headAny asks for the segments of a pile until one is there, or none is: a listing may be late.
func (s *store) headAny(ctx context.Context, op, dir string, p *pile) (http.Header, bool, error) {
	for part := range p.parts {
		if h, exists, err := s.headSegment(ctx, op, segmentName{dir, p.id, part}); exists || err != nil {
			return h, exists, err
		}
	}
	return nil, false, nil
}

// headSegment asks for an object in the container of the segments.
func (s *store) headSegment(ctx context.Context, op string, n segmentName) (h http.Header, exists bool, err error) {
	res, err := s.do(ctx, request{op: op, key: n.dir, method: http.MethodHead, container: s.segments(), object: n.String()})
	if provider.Is(err, provider.KindNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	res.close()
	return res.Header, true, nil
}

// metaKey is the metadata of segments, and of objects that stand for uploads, whose name does not tell the key: its base64.
const metaKey = "key"

// describeSegment returns the headers of the segments of a key.
func (s *store) describeSegment(op, key string) (http.Header, error) {
	header := http.Header{"Content-Type": {typeDefault}}
	if s.dirOf(key) == key {
		return header, nil
	}
	return header, s.limits.setMetadata(op, key, header, provider.Metadata{metaKey: base64.RawURLEncoding.EncodeToString([]byte(key))})
}

// keyOf returns the key that a directory in the container of the segments stands for; empty when nothing that is listed there
// is there any more.
func (s *store) keyOf(ctx context.Context, op, dir string, piles []*pile) (string, error) {
	if !strings.HasPrefix(dir, longKeys) {
		return dir, nil
	}
	for _, p := range piles {
		h, exists, err := s.headSegment(ctx, op, segmentName{dir, p.id, uploadName})
		if err == nil && !exists {
			h, exists, err = s.headAny(ctx, op, dir, p)
		}
		if err != nil {
			return "", err
		}
		if !exists {
			continue
		}
		if key, err := base64.RawURLEncoding.DecodeString(metadataOf(h)[metaKey]); err == nil && s.dirOf(string(key)) == dir {
			return string(key), nil
		}
	}
	return "", nil
}

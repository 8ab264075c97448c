package swift

import (
	"context"
	"slices"

	"sharefs/provider"
)

// remains are the segments of an object that is about to be replaced or deleted.
type remains struct {
	key, dir string
	segments []string
}

// replaced returns what remains of the object of a key when it is replaced or deleted; nil when it has no segments of ours. It is
// asked for before, when the object still tells.
func (s *store) replaced(ctx context.Context, op, key string) (*remains, error) {
	dir := s.dirOf(key)
	if !s.large.has(dir) {
		return nil, nil
	}
	m, err := s.manifest(ctx, op, key)
	if err != nil && !provider.Is(err, provider.KindNotFound) {
		return nil, err
	}
	return &remains{key: key, dir: dir, segments: m.ours(s.segments(), dir)}, nil
}

// tidy deletes the segments that belong to nothing when an object was replaced or deleted: those that it had and those that
// are listed. now is what replaced it. That the object was replaced is done and stays so: what fails here, or is left because
// others are at work, is tried again when the key changes next, and found by ListUploads.
//
// Others may store the same key meanwhile, and may use segments that the object had. An upload of theirs stores its manifest first
// and deletes the object that stands for it then. So nothing is deleted while there is such an object, and what the
// manifest names that is got afterwards stays too.
func (s *store) tidy(ctx context.Context, old *remains, now manifest) {
	if old == nil {
		return
	}
	keep := now.set(s.segments(), old.dir)
	listed, busy, err := s.unused(ctx, old.dir, keep)
	if err != nil || busy {
		return
	}
	dead := slices.DeleteFunc(unique(append(listed, old.segments...)), func(name string) bool { return keep[name] })
	if len(dead) > 0 {
		newest, err := s.manifest(ctx, "tidy", old.key)
		if err != nil && !provider.Is(err, provider.KindNotFound) {
			return
		}
		used := newest.set(s.segments(), old.dir)
		dead = slices.DeleteFunc(dead, func(name string) bool { return used[name] })
		if len(dead) > 0 && s.deleteFrom(ctx, s.segments(), dead) != nil || len(used) > 0 {
			return
		}
	}
	if len(keep) == 0 {
		s.large.remove(old.dir)
	}
}

// unused returns the listed segments of a key that are not to be kept, unless an upload of the key is under way, of this process or,
// as the object that stands for it tells, of another one: then it is busy.
func (s *store) unused(ctx context.Context, dir string, keep map[string]bool) (names []string, busy bool, err error) {
	if s.active.at(dir) {
		return nil, true, nil
	}
	ids := map[string]bool{}
	if err := s.eachSegment(ctx, "tidy", dir+"/"+idPrefix, func(n segmentName, _ listed) {
		if n.dir == dir && !keep[n.String()] {
			names = append(names, n.String())
			ids[n.id] = true
		}
	}); err != nil {
		return nil, false, err
	}
	for id := range ids {
		_, exists, err := s.headSegment(ctx, "tidy", segmentName{dir, id, uploadName})
		if exists || err != nil {
			return nil, exists, err
		}
	}
	return names, false, nil
}

package swift

import (
	"context"
	"crypto/rand"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"sharefs/provider"
)

// segmentsSuffix ends the name of the container of the segments.
const segmentsSuffix = "_segments"

func (s *store) segments() string { return s.cfg.Container + segmentsSuffix }

// A segment is named KEY/ID/NUMBER, and the object that stands for an upload KEY/ID/upload. A key that leaves no room for
// that stands there as a directory of long keys and its hash.
const (
	idPrefix   = "sharefs-"
	uploadName = "upload"
	digits     = 8
)

// newID returns the id of an upload: no other one has it.
func newID() string { return idPrefix + strings.ToLower(rand.Text()) }

// roomForID is what a segment's name has beside the key.
const roomForID = 1 + len(idPrefix) + 26 + 1 + digits

var segmentPattern = regexp.MustCompile(`^(.+)/(` + idPrefix + `[a-z2-7]{26})/([0-9]{8,}|` + uploadName + `)$`)

// segmentName is a name in the container of the segments, taken apart.
type segmentName struct {
	dir  string // what stands for the key
	id   string
	part string // a number, or uploadName
}

func (n segmentName) String() string { return n.dir + "/" + n.id + "/" + n.part }

// parseSegment takes a name apart; ok is false when it is none of ours.
func parseSegment(name string) (n segmentName, ok bool) {
	m := segmentPattern.FindStringSubmatch(name)
	if m == nil {
		return n, false
	}
	return segmentName{m[1], m[2], m[3]}, true
}

func partNumber(n int) string { return fmt.Sprintf("%0*d", digits, n) }

// large knows the keys that have segments, so that to replace or delete any other object takes no request more. It is filled
// from a listing once, and with what is uploaded since. A key that it lacks because the listing lagged leaves segments
// behind that belong to nothing.
type large struct {
	mu   sync.Mutex
	dirs map[string]bool // guarded by mu: by what stands for the key
}

func (l *large) add(dir string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dirs == nil {
		l.dirs = map[string]bool{}
	}
	l.dirs[dir] = true
}

func (l *large) remove(dir string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.dirs, dir)
}

func (l *large) has(dir string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dirs[dir]
}

// findLarge lists the segments.
func (s *store) findLarge(ctx context.Context) error {
	return s.eachSegment(ctx, "open", "", func(n segmentName, _ listed) { s.large.add(n.dir) })
}

// eachSegment calls see for what is listed below a prefix. A container that does not exist has no segments.
func (s *store) eachSegment(ctx context.Context, op, prefix string, see func(n segmentName, l listed)) error {
	for marker := ""; ; {
		page, err := s.listContainer(ctx, op, s.segments(), prefix, "", marker, s.caps.MaxListPage)
		if provider.Is(err, provider.KindNoStore) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, l := range page {
			if n, ok := parseSegment(l.Name); ok {
				see(n, l)
			}
		}
		if len(page) < s.caps.MaxListPage {
			return nil
		}
		marker = page[len(page)-1].Name
	}
}

// active knows the uploads that this process has under way, by id: what they have stored is nobody's rest.
type active struct {
	mu      sync.Mutex
	uploads map[string]*upload // guarded by mu
}

func (a *active) add(u *upload) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.uploads == nil {
		a.uploads = map[string]*upload{}
	}
	a.uploads[u.id] = u
}

// take removes an upload, and returns it; nil if it was not there.
func (a *active) take(id string) *upload {
	a.mu.Lock()
	defer a.mu.Unlock()
	u := a.uploads[id]
	delete(a.uploads, id)
	return u
}

func (a *active) has(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.uploads[id] != nil
}

// below returns the uploads for keys that begin with the prefix.
func (a *active) below(prefix string) []*upload {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []*upload
	for _, u := range a.uploads {
		if strings.HasPrefix(u.key, prefix) {
			found = append(found, u)
		}
	}
	return found
}

// remains are the segments of an object that is about to be replaced or deleted.
type remains struct {
	dir      string
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
	return &remains{dir: dir, segments: m.ours(s.segments(), dir)}, nil
}

// tidy deletes the segments that belong to nothing when an object was replaced or deleted: those that it had and those that
// are listed, but for those that the new one uses, and those of uploads that are under way. That the object was
// replaced is done and stays so: what fails here is tried again when the key changes next, and found by ListUploads.
func (s *store) tidy(ctx context.Context, old *remains, now manifest) {
	if old == nil {
		return
	}
	keep := now.set(s.segments(), old.dir)
	dead := slices.DeleteFunc(slices.Clone(old.segments), func(name string) bool { return keep[name] })
	listed, err := s.unused(ctx, old.dir, keep)
	if err != nil {
		return
	}
	if dead = unique(append(dead, listed...)); len(dead) > 0 && s.deleteFrom(ctx, s.segments(), dead) != nil {
		return
	}
	if len(keep) == 0 && len(s.active.below(old.dir)) == 0 {
		s.large.remove(old.dir)
	}
}

// unused returns the listed segments of a key that nothing needs.
func (s *store) unused(ctx context.Context, dir string, keep map[string]bool) ([]string, error) {
	var names []segmentName
	if err := s.eachSegment(ctx, "tidy", dir+"/"+idPrefix, func(n segmentName, _ listed) {
		if n.dir == dir && !keep[n.String()] {
			names = append(names, n)
		}
	}); err != nil {
		return nil, err
	}
	alive := map[string]bool{} // by id
	var dead []string
	for _, n := range names {
		if _, known := alive[n.id]; !known {
			under, err := s.underWay(ctx, n.dir, n.id)
			if err != nil {
				return nil, err
			}
			alive[n.id] = under
		}
		if !alive[n.id] {
			dead = append(dead, n.String())
		}
	}
	return dead, nil
}

// underWay reports whether an upload is: of this process, or, as the object that stands for it tells, of another one.
func (s *store) underWay(ctx context.Context, dir, id string) (bool, error) {
	if s.active.has(id) {
		return true, nil
	}
	_, exists, err := s.headSegment(ctx, "tidy", segmentName{dir, id, uploadName})
	return exists, err
}

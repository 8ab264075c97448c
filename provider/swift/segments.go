package swift

import (
	"context"
	"crypto/rand"
	"fmt"
	"regexp"
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

// at reports whether there is an upload for a key, by what stands for it.
func (a *active) at(dir string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.uploads {
		if u.dir == dir {
			return true
		}
	}
	return false
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

package mem

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"sharefs/provider"
)

// index is the objects of a listing, sorted by key.
type index []*object

func (x index) find(key string) (int, bool) {
	return slices.BinarySearchFunc(x, key, func(o *object, key string) int { return strings.Compare(o.Key, key) })
}

// change is what a listing shows of a key from a time on; nil: nothing.
type change struct {
	due    time.Time
	key    string
	object *object
}

// show makes listings show the object, or nothing, under the key: at once, or when the lag has passed. mu is held.
func (s *Store) show(key string, o *object) {
	s.pending = append(s.pending, change{due: s.now().Add(s.listingLag()), key: key, object: o})
	s.settle()
}

func (s *Store) listingLag() time.Duration {
	if s.caps.Consistent {
		return 0
	}
	return s.lag
}

// settle brings the listing up to the present. mu is held.
func (s *Store) settle() {
	now := s.now()
	for len(s.pending) > 0 && !s.pending[0].due.After(now) {
		c := s.pending[0]
		s.pending = s.pending[1:]
		at, exists := s.listed.find(c.key)
		switch {
		case c.object == nil && exists:
			s.listed = slices.Delete(s.listed, at, at+1)
		case c.object == nil:
		case exists:
			s.listed[at] = c.object
		default:
			s.listed = slices.Insert(s.listed, at, c.object)
		}
	}
}

// List returns a page. A token is the last key of the page before.
func (s *Store) List(ctx context.Context, opts provider.ListOptions) (provider.Page, error) {
	if err := ctx.Err(); err != nil {
		return provider.Page{}, err
	}
	if !opts.Flat && opts.Prefix != "" && !strings.HasSuffix(opts.Prefix, "/") {
		return provider.Page{}, fail("list", opts.Prefix, provider.KindInvalid, fmt.Errorf("the prefix is no directory"))
	}
	after := opts.After
	if opts.Token != "" {
		after = opts.Token
	}
	limit := s.caps.MaxListPage
	if opts.Limit > 0 {
		limit = min(limit, opts.Limit)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	var page provider.Page
	for o := range s.walk(opts.Prefix, after, opts.Flat) {
		if len(page.Objects) == limit {
			page.Next = page.Objects[limit-1].Key
			break
		}
		if !s.caps.ListMetadata {
			o.Metadata, o.ContentType = nil, ""
		}
		page.Objects = append(page.Objects, o)
	}
	return page, nil
}

// walk yields what a listing shows after a key, directories merged in unless it is flat. mu is held.
func (s *Store) walk(prefix, after string, flat bool) func(yield func(provider.Object) bool) {
	return func(yield func(provider.Object) bool) {
		i, _ := s.listed.find(max(prefix, after))
		for i < len(s.listed) && strings.HasPrefix(s.listed[i].Key, prefix) {
			o := s.listed[i]
			dir := ""
			if slash := strings.IndexByte(o.Key[len(prefix):], '/'); !flat && slash >= 0 {
				dir = o.Key[:len(prefix)+slash+1]
			}
			switch {
			case dir == "":
				i++
				if o.Key > after && !yield(o.copy()) {
					return
				}
			default:
				i += sort.Search(len(s.listed)-i, func(n int) bool { return !strings.HasPrefix(s.listed[i+n].Key, dir) })
				if dir > after && !yield(directory(o, dir)) {
					return
				}
			}
		}
	}
}

// directory returns the object of a directory whose first key is o: its marker, or what is known without one.
func directory(o *object, dir string) provider.Object {
	if o.Key == dir {
		return o.copy()
	}
	return provider.Object{Key: dir}
}

// Package mem is a store of objects in memory: for unit tests, for trying things out (mem: as a URL), and, with weaker
// Capabilities, for showing how software behaves over a store that cannot do much.
//
// A Store keeps every promise of the provider contract. Objects are immutable, so readers are never disturbed; one
// lock guards the rest and is never held over a read from a body. Everything is gone after Close.
package mem

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"sharefs/provider"
)

// Options of a Store. The zero value is a store that can do everything but directories.
type Options struct {
	// Name is shown by String.
	Name string
	// Capabilities are what the store claims and does; the zero value means Full(). Directories is not supported and
	// counts as false. A MaxListPage or MaxDeleteBatch of 0 is that of Full; any other limit of 0 is no limit.
	Capabilities provider.Capabilities
	// ListingLag is how far listings are behind where Capabilities.Consistent is false.
	ListingLag time.Duration
	// Quota is the number of bytes that the objects may have; 0 means no quota.
	Quota int64
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Full returns the capabilities of the zero Options.
func Full() provider.Capabilities {
	return provider.Capabilities{
		CreateIfAbsent:   true,
		ReplaceIfVersion: true,
		DeleteIfVersion:  true,
		Copy:             true,
		AtomicMove:       true,
		ListMetadata:     true,
		Consistent:       true,
		MaxParts:         10_000,
		MaxKey:           1024,
		MaxComponent:     255,
		MaxMetadata:      8 << 10,
		MaxListPage:      1000,
		MaxDeleteBatch:   1000,
		TimeGrain:        time.Nanosecond,
	}
}

// Weak returns the capabilities of a store that checks nothing and moves nothing, with listings that lag and bring no
// metadata: what OpenStack Swift can do.
func Weak() provider.Capabilities {
	caps := Full()
	caps.CreateIfAbsent, caps.ReplaceIfVersion, caps.DeleteIfVersion = false, false, false
	caps.AtomicMove, caps.ListMetadata, caps.Consistent = false, false, false
	caps.MaxMetadata = 4096
	return caps
}

// Store is a provider.Provider in memory.
type Store struct {
	name  string
	caps  provider.Capabilities
	lag   time.Duration
	quota int64
	now   func() time.Time

	mu      sync.Mutex
	serial  uint64             // counts changes; guarded by mu
	objects map[string]*object // by key; guarded by mu
	bytes   int64              // of all objects; guarded by mu
	uploads map[string]*upload // by id; guarded by mu
	listed  index              // what listings show; guarded by mu
	pending []change           // what they will show, oldest first; guarded by mu
}

var _ provider.Provider = (*Store)(nil)

// object is one version of one key. It is never changed.
type object struct {
	provider.Object
	data []byte
}

// New returns an empty store.
func New(opts Options) *Store {
	caps, full := opts.Capabilities, Full()
	if caps == (provider.Capabilities{}) {
		caps = full
	}
	caps.Directories = false
	if caps.MaxListPage <= 0 {
		caps.MaxListPage = full.MaxListPage
	}
	if caps.MaxDeleteBatch <= 0 {
		caps.MaxDeleteBatch = full.MaxDeleteBatch
	}
	now := opts.Now
	if now == nil {
		now = time.Now
	}
	return &Store{name: opts.Name, caps: caps, lag: opts.ListingLag, quota: opts.Quota, now: now,
		objects: map[string]*object{}, uploads: map[string]*upload{}}
}

// String returns mem: and the name.
func (s *Store) String() string { return "mem:" + s.name }

// Capabilities returns those of the options.
func (s *Store) Capabilities() provider.Capabilities { return s.caps }

// Stat returns the object.
func (s *Store) Stat(ctx context.Context, key string) (provider.Object, error) {
	if err := ctx.Err(); err != nil {
		return provider.Object{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[key]
	if o == nil {
		return provider.Object{}, fail("stat", key, provider.KindNotFound, nil)
	}
	return o.copy(), nil
}

// Usage returns what the objects hold.
func (s *Store) Usage(ctx context.Context) (provider.Usage, error) {
	if err := ctx.Err(); err != nil {
		return provider.Usage{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := provider.Usage{Bytes: s.bytes, Objects: int64(len(s.objects)), Quota: -1}
	if s.quota > 0 {
		u.Quota = s.quota
	}
	return u, nil
}

// Create does nothing: the store is there.
func (s *Store) Create(ctx context.Context) error { return ctx.Err() }

// Close drops everything.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects, s.uploads, s.listed, s.pending, s.bytes = map[string]*object{}, map[string]*upload{}, index{}, nil, 0
	return nil
}

// Delete removes objects.
func (s *Store) Delete(ctx context.Context, opts provider.DeleteOptions, keys ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if opts.IfVersion != "" {
		switch {
		case len(keys) == 0:
			return nil
		case !s.caps.DeleteIfVersion:
			return fail("delete", keys[0], provider.KindUnsupported, nil)
		case len(keys) > 1:
			return fail("delete", keys[0], provider.KindInvalid, fmt.Errorf("a version and %d keys", len(keys)))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		o := s.objects[key]
		if o == nil {
			continue
		}
		if opts.IfVersion != "" && o.Version != opts.IfVersion {
			return fail("delete", key, provider.KindPrecondition, nil)
		}
		delete(s.objects, key)
		s.bytes -= o.Size
		s.show(key, nil)
	}
	return nil
}

// Move renames an object.
func (s *Store) Move(ctx context.Context, src, dst string) (provider.Object, error) {
	if err := ctx.Err(); err != nil {
		return provider.Object{}, err
	}
	if !s.caps.AtomicMove {
		return provider.Object{}, fail("move", src, provider.KindUnsupported, nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[src]
	if o == nil {
		return provider.Object{}, fail("move", src, provider.KindNotFound, nil)
	}
	if src == dst {
		return o.copy(), nil
	}
	if old := s.objects[dst]; old != nil {
		s.bytes -= old.Size
	}
	moved := *o
	moved.Key = dst
	delete(s.objects, src)
	s.objects[dst] = &moved
	s.show(src, nil)
	s.show(dst, &moved)
	return moved.copy(), nil
}

// supports reports whether the store can check the condition.
func (s *Store) supports(op, key string, cond provider.Condition) error {
	if cond.Absent && !s.caps.CreateIfAbsent || cond.Version != "" && !s.caps.ReplaceIfVersion {
		return fail(op, key, provider.KindUnsupported, nil)
	}
	return nil
}

// holds reports whether the condition on key holds. mu is held.
func (s *Store) holds(op, key string, cond provider.Condition) error {
	o := s.objects[key]
	switch {
	case cond.Absent && o != nil:
		return fail(op, key, provider.KindPrecondition, fmt.Errorf("the object exists"))
	case cond.Version != "" && (o == nil || o.Version != cond.Version):
		return fail(op, key, provider.KindPrecondition, fmt.Errorf("the object has another version"))
	}
	return nil
}

// described is what an object has beside its bytes.
type described struct {
	metadata    provider.Metadata
	contentType string // empty: defaultType
}

// defaultType is the type of bytes of which nothing is known (RFC 2046).
const defaultType = "application/octet-stream"

// store makes data the object of key, if the condition holds. It is the one place where objects come from. mu is held.
func (s *Store) store(op, key string, data []byte, as described, cond provider.Condition) (provider.Object, error) {
	if err := s.holds(op, key, cond); err != nil {
		return provider.Object{}, err
	}
	size := int64(len(data))
	if s.caps.MaxObjectSize > 0 && size > s.caps.MaxObjectSize {
		return provider.Object{}, tooLarge(op, key, size, s.caps.MaxObjectSize)
	}
	after := s.bytes + size
	if old := s.objects[key]; old != nil {
		after -= old.Size
	}
	if s.quota > 0 && after > s.quota && after > s.bytes {
		return provider.Object{}, fail(op, key, provider.KindQuota, fmt.Errorf("%d of %d bytes are taken", s.bytes, s.quota))
	}
	s.serial++
	version := strconv.FormatUint(s.serial, 10)
	o := &object{Object: provider.Object{Key: key, Size: size, ModTime: s.now(), Version: provider.Version("v" + version),
		Revision: provider.Revision("r" + version), Metadata: known(as.metadata), ContentType: cmp.Or(as.contentType, defaultType)}, data: data}
	s.objects[key] = o
	s.bytes = after
	s.show(key, o)
	return o.copy(), nil
}

// copy returns what the caller may change.
func (o *object) copy() provider.Object {
	c := o.Object
	c.Metadata = known(c.Metadata)
	return c
}

// known returns a copy that is not nil: what a store knows of an object's metadata.
func known(md provider.Metadata) provider.Metadata {
	c := make(provider.Metadata, len(md))
	maps.Copy(c, md)
	return c
}

func fail(op, key string, kind provider.Kind, err error) error {
	return &provider.Error{Op: op, Key: key, Kind: kind, Err: err}
}

func tooLarge(op, key string, size, limit int64) error {
	return fail(op, key, provider.KindTooLarge, fmt.Errorf("%d bytes, the store takes %d", size, limit))
}

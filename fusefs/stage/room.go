package stage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// RoomOptions bound what staged files take of the local disk. The zero value bounds nothing.
type RoomOptions struct {
	Size     int64         // bytes of staged files on disk, holes not counted; 0: no bound
	KeepFree int64         // bytes of the disk that stay free; 0: no floor
	Stall    time.Duration // who waits for room fails when nothing gets free for so long; 0: a minute

	// Lacking returns how many bytes the floor is to be higher for now. nil: 0.
	Lacking func() int64
	// GiveWay frees n bytes of the disk that are not needed, such as cached ones, and returns how many it freed. nil: 0.
	GiveWay func(n int64) int64
	// Short is called when a writer of id finds no room for n bytes: without a lock, before the wait and about once a
	// second while it lasts. It starts what can free room, and returns at once; releasing says that room of id itself
	// is or can be released, so that even what is larger than the stage may get through. nil: nothing can be done.
	Short func(id ID, n int64) (releasing bool)
}

// roomState says what becomes of somebody for whom there is no room.
type roomState uint8

const (
	roomOpen    roomState = iota // nobody waits
	roomWaiting                  // it waits behind the others
	roomStalled                  // nothing got free for too long: it fails at once, until something does
)

const (
	defaultStall = time.Minute
	roomLook     = time.Second // how often those who wait look at the disk, of which others may free some
	// roomSlack is added to what a change takes, for what the filesystem needs besides: extents, a sidecar's times.
	roomSlack = 4 << 10
	// leastWay is what is freed of the cache at least, so that not each small write has to ask again.
	leastWay = 1 << 20
)

// room is what the staged files have of the local disk. What they take is what stat says, in blocks; what is reserved is
// for changes that are being made. Its lock is held for moments only, over statfs at most.
type room struct {
	o    RoomOptions
	path string
	now  func() time.Time
	disk func() int64 // for tests: what the disk has free

	mu       sync.Mutex
	files    map[ID]*usage
	used     int64 // by files, by those that were removed and are open, and by copies
	reserved int64
	queue    []*waiter // in the order of their coming
	sending  map[*Sending]bool
	state    roomState
	since    time.Time // when the first came of those that wait, or the wait that stalled began
	progress time.Time // when something last got free, since then
	least    int64     // while stalled: the least that somebody failed for
	refused  int64     // the disk had no room although it called so many bytes free; 0: it had
}

// usage is what one staged file, or one copy, takes.
type usage struct {
	bytes int64 // guarded by room.mu, like the rest
	open  bool  // a File is responsible for it
}

// Demand is what room is wanted for.
type Demand uint8

const (
	// ForContent is bytes of staged files.
	ForContent Demand = iota
	// ForEntry is what a new name takes of the disk. It does not count against RoomOptions.Size.
	ForEntry
)

// Reservation is room that was set aside. Release it when the change is made: what it took is counted then.
type Reservation struct {
	r *room
	n int64
}

// Release gives back what was set aside; nil and a second time are nothing.
func (v *Reservation) Release() {
	if v == nil || v.n == 0 {
		return
	}
	v.r.mu.Lock()
	v.r.reserved -= v.n
	v.n = 0
	v.r.mu.Unlock()
	v.r.serve(nil)
}

// RoomStats is how things are with the room.
type RoomStats struct {
	Used     int64     `json:"used"`           // bytes on disk
	Size     int64     `json:"max_size"`       // of Used; 0: no bound
	KeepFree int64     `json:"keep_free"`      // bytes
	Free     int64     `json:"free"`           // what the disk has, bytes
	Waiting  int       `json:"waiting"`        // writers that wait for room
	Stalled  bool      `json:"stalled"`        // nothing got free for too long: writers that need room fail
	Since    time.Time `json:"since,omitzero"` // since when there is no room; zero: there is
}

// Room returns how things are with the room.
func (s *Store) Room() RoomStats {
	r := &s.room
	free := r.free()
	r.mu.Lock()
	defer r.mu.Unlock()
	return RoomStats{Used: r.used, Size: r.o.Size, KeepFree: r.o.KeepFree, Free: free, Waiting: len(r.queue),
		Stalled: r.state == roomStalled, Since: r.since}
}

// Sending is content on its way to the store. Who waits for room is patient while it moves, though nothing is free yet.
type Sending struct {
	r     *room
	moved time.Time // guarded by room.mu; zero: not yet
}

// Sending says that content is on its way. The caller calls Done.
func (s *Store) Sending() *Sending {
	t := &Sending{r: &s.room}
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	s.room.sending[t] = true
	return t
}

// Moved says that the store has taken more of it, which counts until Done, and afterwards if the store has it all.
func (t *Sending) Moved() {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	t.moved = t.r.now()
}

// Done says that the store has all of it, or that nothing came of it.
func (t *Sending) Done(taken bool) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	delete(t.r.sending, t)
	if taken && t.r.state == roomWaiting {
		t.r.progress = t.r.now()
	}
}

// lastProgress is when something last got free or moved. mu is locked.
func (r *room) lastProgress() time.Time {
	last := r.progress
	for t := range r.sending {
		if t.moved.After(last) {
			last = t.moved
		}
	}
	return last
}

func (r *room) init(o RoomOptions, path string, now func() time.Time) {
	if o.Stall <= 0 {
		o.Stall = defaultStall
	}
	r.o, r.path, r.now, r.files, r.sending = o, path, now, map[ID]*usage{}, map[*Sending]bool{}
}

// scan counts what an earlier process left.
func (r *room) scan() error {
	entries, err := os.ReadDir(r.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		id, ok := parseName(e.Name())
		if !ok {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(r.path, e.Name()), &st); err != nil {
			return &os.PathError{Op: "stat", Path: filepath.Join(r.path, e.Name()), Err: err}
		}
		u := r.usageOf(id)
		u.bytes += st.Blocks * 512
		r.used += st.Blocks * 512
	}
	return nil
}

// usageOf returns what is counted for an ID. mu is locked, or nobody else is there.
func (r *room) usageOf(id ID) *usage {
	u := r.files[id]
	if u == nil {
		u = &usage{}
		r.files[id] = u
	}
	return u
}

// enter makes an open file responsible for what is counted for its ID.
func (r *room) enter(id ID) *usage {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.usageOf(id)
	u.open = true
	return u
}

// leave ends that: a file that was removed while it was open takes nothing any more.
func (r *room) leave(id ID, u *usage) {
	r.mu.Lock()
	u.open = false
	gone := r.files[id] != u
	r.mu.Unlock()
	if gone {
		r.settle(u, 0)
	}
}

// forget counts an ID no more. What is still open goes on taking room until it is closed.
func (r *room) forget(id ID) {
	r.mu.Lock()
	u := r.files[id]
	delete(r.files, id)
	r.mu.Unlock()
	if u != nil && !u.open {
		r.settle(u, 0)
	}
}

// settle counts what a file takes now.
func (r *room) settle(u *usage, bytes int64) {
	r.mu.Lock()
	freed := u.bytes - bytes
	r.used -= freed
	u.bytes = bytes
	if freed > 0 {
		r.freed()
	}
	waits := len(r.queue) > 0
	r.mu.Unlock()
	if freed > 0 && waits {
		r.serve(nil)
	}
}

// freed notes that something got free. mu is locked.
func (r *room) freed() {
	r.progress, r.refused = r.now(), 0
	switch {
	case r.state != roomStalled:
	case len(r.queue) > 0:
		r.state = roomWaiting
	default:
		r.state, r.since = roomOpen, time.Time{}
	}
}

// recharge counts what the file takes on disk now. Whoever has changed that calls it, with mu locked.
func (f *File) recharge() {
	n := blocksOf(f.data)
	if f.pages.side != nil {
		n += blocksOf(f.pages.side.file)
	}
	f.store.room.settle(f.use, n)
}

// blocksOf returns how many bytes of disk a file takes.
func blocksOf(file *os.File) int64 {
	var st unix.Stat_t
	if conn, err := file.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { _ = unix.Fstat(int(fd), &st) }) // of a closed one: 0
	}
	return st.Blocks * 512
}

// Reserve sets room aside for a change of the bytes [off, off+length). It never waits: when there is no room it
// returns nil and how many bytes it lacks, for Await. What is allocated already needs none.
func (f *File) Reserve(off, length int64) (_ *Reservation, lacks int64) {
	if length <= 0 || off < 0 || off+length < off {
		return &Reservation{}, 0
	}
	r := &f.store.room
	lo, hi := off&^(pageSize-1), pageUp(off+length)
	if v := r.try(hi-lo+roomSlack, ForContent); v != nil {
		return v, 0
	}
	n := f.unallocated(lo, hi)
	if n == 0 {
		return &Reservation{}, 0
	}
	if v := r.try(n+roomSlack, ForContent); v != nil {
		return v, 0
	}
	return nil, n + roomSlack
}

// unallocated returns how many bytes of the pages from lo to hi have no room on disk yet; at most a page too few where
// blocks are smaller than pages.
func (f *File) unallocated(lo, hi int64) int64 {
	if f.rlock(context.Background()) != nil {
		return hi - lo
	}
	defer f.mu.runlock()
	n := int64(0)
	for lo < hi {
		hole, err := seekHole(f.data, lo)
		if err != nil { // beyond the end
			hole = lo
		}
		if lo = pageUp(hole); lo >= hi {
			break
		}
		end := hi
		if data, err := seekData(f.data, lo); err == nil {
			end = min(hi, data&^(pageSize-1))
		}
		n += end - lo - f.allocated.within(lo, end)
		lo = max(end, lo+pageSize)
	}
	return n
}

// allocation remembers ranges that fallocate has set aside and nobody has written: the system tells them from holes only
// by means that not all filesystems have. What a process does not know any more is reserved once more.
type allocation []Range

// maxAllocations bounds the memory of an allocation.
const maxAllocations = 64

func (a *allocation) add(off, end int64) {
	off, end = pageUp(off), end&^(pageSize-1)
	if off < end && len(*a) < maxAllocations && a.within(off, end) == 0 {
		*a = append(*a, Range{off, end - off})
	}
}

// cut forgets what touches [off, end).
func (a *allocation) cut(off, end int64) {
	kept := (*a)[:0]
	for _, r := range *a {
		if r.Off+r.Len <= off || r.Off >= end {
			kept = append(kept, r)
		}
	}
	*a = kept
}

// within returns how many bytes of [off, end) are allocated.
func (a allocation) within(off, end int64) (n int64) {
	for _, r := range a {
		n += max(0, min(end, r.Off+r.Len)-max(off, r.Off))
	}
	return n
}

// try reserves n bytes if there is room and nobody waits for some; else nil.
func (r *room) try(n int64, d Demand) *Reservation {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) > 0 && d == ForContent || r.lacks(n, d) != lacksNothing {
		return nil
	}
	if r.state == roomStalled && n >= r.least {
		r.state, r.since = roomOpen, time.Time{}
	}
	r.reserved += n
	return &Reservation{r, n}
}

// lack is what there is too little of.
type lack uint8

const (
	lacksNothing lack = iota
	lacksSize         // RoomOptions.Size
	lacksDisk
)

// lacks says what there is too little of for n more bytes. mu is locked.
func (r *room) lacks(n int64, d Demand) lack {
	if d == ForContent && r.o.Size > 0 && r.used+r.reserved+n > r.o.Size {
		return lacksSize
	}
	free := r.free()
	if free-r.reserved-n < r.floor() || free <= r.refused {
		return lacksDisk
	}
	return lacksNothing
}

func (r *room) floor() int64 {
	if r.o.Lacking == nil {
		return r.o.KeepFree
	}
	return r.o.KeepFree + r.o.Lacking()
}

// free returns the bytes that the disk has free. A disk that cannot tell is not taken for full: it says so itself.
func (r *room) free() int64 {
	if r.disk != nil {
		return r.disk()
	}
	var st unix.Statfs_t
	if err := again(func() error { return unix.Statfs(r.path, &st) }); err != nil {
		return 1 << 62
	}
	return int64(st.Bavail) * st.Bsize
}

// describe says what there is no room for, and what to do.
func (r *room) describe(w *waiter, why string) error {
	hint := "make room on the disk of " + r.path
	r.mu.Lock()
	if r.lacks(w.n, w.d) == lacksSize {
		hint = "a larger --stage-size takes more"
	}
	staged := r.used
	r.mu.Unlock()
	return &NoRoomError{Need: w.n, Why: fmt.Sprintf("%s, with %d bytes staged: %s", why, staged, hint)}
}

// NoRoomError says that the stage has no room for a change.
type NoRoomError struct {
	Need int64 // bytes
	Why  string
}

func (e *NoRoomError) Error() string {
	return fmt.Sprintf("no room on the local disk for %d bytes: %s", e.Need, e.Why)
}

// Unwrap is ENOSPC.
func (e *NoRoomError) Unwrap() error { return unix.ENOSPC }

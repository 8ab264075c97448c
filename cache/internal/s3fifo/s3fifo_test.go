package s3fifo

import "testing"

// holder keeps entries as a cache would: it evicts until a new one fits.
type holder struct {
	*Policy[int]
	limit int64
	in    map[int]*Entry[int]
}

func newHolder(limit int64) *holder {
	return &holder{New[int](limit), limit, map[int]*Entry[int]{}}
}

// use reads key as a cache does: a hit is counted, a miss takes room.
func (h *holder) use(t *testing.T, key int) (hit bool) {
	t.Helper()
	if e, ok := h.in[key]; ok {
		h.Touch(e)
		return true
	}
	for h.Bytes()+1 > h.limit {
		v := h.Victim(false)
		if v == nil {
			t.Fatal("nothing to evict in a full cache")
		}
		delete(h.in, v.Key)
		h.Remove(v, true)
	}
	e := h.Insert(key)
	h.Grow(e, 1)
	h.in[key] = e
	return false
}

func TestAScanLeavesWhatIsUsedAgain(t *testing.T) {
	h := newHolder(100)
	for range 2 {
		for key := range 80 {
			h.use(t, key)
		}
	}
	for key := 1000; key < 3000; key++ {
		h.use(t, key)
	}
	kept := 0
	for key := range 80 {
		if h.use(t, key) {
			kept++
		}
	}
	if kept != 80 {
		t.Errorf("after a scan of 20 times the cache %d of 80 used entries are left", kept)
	}
}

func TestAKeyThatComesBackSoonIsProven(t *testing.T) {
	h := newHolder(100)
	for key := range 130 {
		h.use(t, key)
	}
	if _, ok := h.in[5]; ok {
		t.Fatal("the first entries should be gone")
	}
	h.use(t, 5)
	if !h.Proven(h.in[5]) {
		t.Error("an entry that came back soon after its eviction stands in probation again")
	}
}

func TestUnusedMainEntriesMakeRoomInTheEnd(t *testing.T) {
	h := newHolder(100)
	for key := range 100 {
		h.in[key] = h.Restore(key, 1)
	}
	for range 4 {
		for key := 1000; key < 1090; key++ {
			h.use(t, key)
		}
	}
	hits := 0
	for key := 1000; key < 1090; key++ {
		if h.use(t, key) {
			hits++
		}
	}
	if hits < 85 {
		t.Errorf("a new working set of 90 of 100 has %d hits in its fifth round", hits)
	}
}

func TestPinnedEntriesAreNoVictims(t *testing.T) {
	h := newHolder(10)
	for key := range 10 {
		h.use(t, key)
	}
	for key := range 9 {
		h.Pin(h.in[key])
	}
	if v := h.Victim(false); v == nil || v.Key != 9 {
		t.Fatalf("victim %v, want the only one that is not pinned, 9", v)
	}
	h.Remove(h.in[9], true)
	if v := h.Victim(false); v != nil {
		t.Fatalf("victim %d is pinned", v.Key)
	}
	h.Pin(h.in[3])
	h.Unpin(h.in[3])
	if v := h.Victim(false); v != nil {
		t.Fatalf("victim %d is pinned still, once", v.Key)
	}
	h.Unpin(h.in[3])
	if v := h.Victim(false); v == nil || v.Key != 3 {
		t.Fatalf("victim %v, want 3", v)
	}
	if h.Bytes() != 9 {
		t.Errorf("%d bytes, want 9", h.Bytes())
	}
}

func TestProbationOnlySparesTheMainQueue(t *testing.T) {
	p := New[int](100)
	p.Restore(1, 50)
	if v := p.Victim(true); v != nil {
		t.Fatalf("victim %d of the main queue", v.Key)
	}
	e := p.Insert(2)
	p.Grow(e, 5)
	p.Touch(e)
	if v := p.Victim(true); v != nil {
		t.Fatalf("victim %d was used again", v.Key)
	}
	if v := p.Victim(false); v == nil || v.Key != 1 {
		t.Fatalf("victim %v, want 1", v)
	}
}

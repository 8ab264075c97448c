package cache

import (
	"sync/atomic"
	"testing"
	"time"
)

// clock is a clock that the test moves.
type clock struct{ sec atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(c.sec.Load(), 0) }

// readWhole opens a content, reads it in large steps and closes it, an hour after the last.
func readWhole(t *testing.T, c *Cache, k *clock, s *store) {
	t.Helper()
	k.sec.Add(3600)
	f := c.File(s.obj, s.fetch)
	readAll(t, f, s, mib)
	mustClose(t, f)
	settle(t, c)
}

func TestAScanDoesNotPushOutWhatIsUsedAgain(t *testing.T) {
	var k clock
	c := openCache(t, t.TempDir(), Options{Size: 20 * mib, Now: k.now})
	used := make([]*store, 10)
	for round := range 3 {
		for i := range used {
			if round == 0 {
				used[i] = newStore(ID(i+1), mib)
			}
			readWhole(t, c, &k, used[i])
		}
	}
	for i := range ID(60) {
		readWhole(t, c, &k, newStore(1000+i, mib))
	}
	for i, s := range used {
		s.sent()
		readWhole(t, c, &k, s)
		if n := s.requests(); n != 0 {
			t.Errorf("content %d was pushed out by a scan of three times the cache", i)
		}
	}
	if stats(t, c).Evicted == 0 {
		t.Error("nothing was evicted")
	}
}

func TestAScanOfOneHugeOpenFileTakesLittleFromOthers(t *testing.T) {
	var k clock
	c := openCache(t, t.TempDir(), Options{Size: 20 * mib, Now: k.now})
	used := make([]*store, 14)
	for round := range 3 {
		for i := range used {
			if round == 0 {
				used[i] = newStore(ID(i+1), mib)
			}
			readWhole(t, c, &k, used[i])
		}
	}
	huge := newStore(1000, 60*mib)
	readWhole(t, c, &k, huge)
	lost := 0
	for _, s := range used {
		s.sent()
		readWhole(t, c, &k, s)
		lost += s.requests()
	}
	if lost > 0 {
		t.Errorf("%d of 14 used contents were pushed out by one file that was read once", lost)
	}
}

func TestAContentThatIsReadAgainGetsRoomInTheEnd(t *testing.T) {
	var k clock
	c := openCache(t, t.TempDir(), Options{Size: 20 * mib, Memory: 4 * kib, Now: k.now})
	for i := range ID(18) {
		s := newStore(i+1, mib)
		readWhole(t, c, &k, s)
		readWhole(t, c, &k, s)
	}
	big := newStore(1000, 4*mib) // more than a tenth
	for range 4 {
		readWhole(t, c, &k, big)
	}
	if !whole(t, c, 1000) {
		t.Error("a content that was read four times is not whole")
	}
}

func TestOpensWithinMomentsAreOneUse(t *testing.T) {
	var k clock
	c := openCache(t, t.TempDir(), Options{Size: 20 * mib, Now: k.now})
	used := make([]*store, 10)
	for round := range 2 {
		for i := range used {
			if round == 0 {
				used[i] = newStore(ID(i+1), mib)
			}
			readWhole(t, c, &k, used[i])
		}
	}
	for i := range ID(60) {
		k.sec.Add(3600)
		s := newStore(1000+i, mib)
		for off := int64(0); off < mib; off += 128 * kib { // a server that opens the file for each step
			f := c.File(s.obj, s.fetch)
			readAt(t, f, s, off, 128*kib)
			mustClose(t, f)
		}
	}
	for i, s := range used {
		s.sent()
		readWhole(t, c, &k, s)
		if n := s.requests(); n != 0 {
			t.Errorf("content %d was pushed out", i)
		}
	}
}

func TestHeadsAndTailsOutliveAScan(t *testing.T) {
	var k clock
	c := openCache(t, t.TempDir(), Options{Size: 16 * mib, Now: k.now})
	shares := make([]*store, 12)
	crawl := func() (requests int) {
		for _, s := range shares {
			f := c.File(s.obj, s.fetch)
			readAt(t, f, s, 0, 12)
			readAt(t, f, s, s.obj.Size-72, 72)
			mustClose(t, f)
			requests += len(s.sent())
		}
		return requests
	}
	for i := range shares {
		shares[i] = newStore(ID(i+1), 2*mib)
	}
	crawl()
	for i := range ID(40) {
		readWhole(t, c, &k, newStore(1000+i, mib))
	}
	if n := crawl(); n != 0 {
		t.Errorf("%d requests for heads and tails after a scan", n)
	}
	// Read whole and pushed out again, a share still has its ends.
	for _, s := range shares {
		readWhole(t, c, &k, s)
		s.sent()
	}
	for i := range ID(40) {
		readWhole(t, c, &k, newStore(2000+i, mib))
	}
	if n := crawl(); n != 0 {
		t.Errorf("%d requests for heads and tails of contents whose bodies are gone", n)
	}
	if s := stats(t, c); s.Ends > s.Limit/endsOf {
		t.Errorf("the ends have %d bytes, their bound is %d", s.Ends, s.Limit/endsOf)
	}
}

func TestEndsStayWithinTheirPart(t *testing.T) {
	var k clock
	c := openCache(t, t.TempDir(), Options{Size: 8 * mib, Now: k.now})
	for i := range ID(100) {
		k.sec.Add(60)
		s := newStore(i+1, mib)
		f := c.File(s.obj, s.fetch)
		readAt(t, f, s, 0, 12)
		readAt(t, f, s, mib-72, 72)
		mustClose(t, f)
	}
	if s := stats(t, c); s.Ends > mib || s.Ends < mib/2 {
		t.Errorf("the ends have %d bytes of 1 MiB", s.Ends)
	}
	settle(t, c)
	checkAccounts(t, c)
}

func TestAScanInSmallStepsDoesNotFillTheEnds(t *testing.T) {
	var k clock
	c := openCache(t, t.TempDir(), Options{Size: 16 * mib, Now: k.now})
	for i := range ID(5) {
		k.sec.Add(60)
		s := newStore(i+1, mib)
		f := c.File(s.obj, s.fetch)
		readAll(t, f, s, 16*kib)
		mustClose(t, f)
	}
	if s := stats(t, c); s.Ends != 0 {
		t.Errorf("the ends have %d bytes, but no end was asked for alone", s.Ends)
	}
}

func TestAnOpenFileIsNeverEvicted(t *testing.T) {
	var k clock
	c := openCache(t, t.TempDir(), Options{Size: 10 * mib, Now: k.now})
	s := newStore(1, 4*mib)
	f := c.File(s.obj, s.fetch)
	readAt(t, f, s, 0, 4*mib)
	for i := range ID(30) {
		readWhole(t, c, &k, newStore(1000+i, mib))
	}
	s.sent()
	readAt(t, f, s, 0, 4*mib)
	if n := s.requests(); n != 0 {
		t.Errorf("%d requests for an open file that was there", n)
	}
	mustClose(t, f)
}

func TestTheFloorOfFreeDiskHolds(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, Options{KeepFree: 1 << 60})
	s := newStore(1, mib)
	f := c.File(s.obj, s.fetch)
	readAt(t, f, s, 0, mib)
	mustClose(t, f)
	if st := stats(t, c); st.Bytes != 0 || st.Unkept == 0 {
		t.Errorf("%d bytes are on a disk that has not enough free, %d blocks were not kept", st.Bytes, st.Unkept)
	}
	closeCache(t, c)
	c = openCache(t, dir, Options{})
	readWhole(t, c, new(clock), s)
	closeCache(t, c)
	if st := stats(t, openCache(t, dir, Options{KeepFree: 1 << 60})); st.Bytes != 0 {
		t.Errorf("%d bytes are left at a start below the floor", st.Bytes)
	}
}

func TestASmallerBoundHoldsFromTheStart(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, Options{})
	for i := range ID(10) {
		readWhole(t, c, new(clock), newStore(i+1, mib))
	}
	closeCache(t, c)
	c = openCache(t, dir, Options{Size: 4 * mib})
	checkAccounts(t, c)
	if st := stats(t, c); st.Objects != 3 {
		t.Errorf("%d contents of 1 MiB are left in 4 MiB", st.Objects)
	}
}

package tahoe

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sharefs/storage"
	"sharefs/storage/crawl"
	"sharefs/storage/storagetest"
	"sharefs/test/harness"
)

//go:embed alternate.py
var alternateProgram string

// turns is how many turns both servers have together. Tahoe-LAFS has the even ones.
const turns = 12

// TestBothServersTakeTurnsOnADirectory lets Tahoe-LAFS's storage server and ours use one directory in turn: each reads what both
// have written before, changes all of it, and goes on with the crawls that the other has begun.
func TestBothServersTakeTurnsOnADirectory(t *testing.T) {
	root := debian(t)
	t.Run("on a disk", func(t *testing.T) { takeTurns(t, root, filepath.Join(workDir(t), "storage")) })
	t.Run("on a mount", func(t *testing.T) {
		m := harness.NewMount(t, harness.NewStore(t, harness.MinIO), "--profile", "tahoe")
		takeTurns(t, root, m.Dir)
	})
}

func takeTurns(t *testing.T, root, dir string) {
	theirs := startServer(t, root, dir, alternateProgram)
	for turn := range turns {
		if turn%2 == 0 {
			theirs.do(fmt.Sprint(turn))
			continue
		}
		ours := newPlayer(t, dir, turn)
		ours.readAll()
		ours.changeAll()
		ours.crawl()
		ours.check(ours.Close())
	}
	theirs.stop()
}

// player is our server in a turn. It does what alternate.py does.
type player struct {
	*testing.T
	*storage.Store
	turn int
	now  time.Time
}

func newPlayer(t *testing.T, dir string, turn int) *player {
	t.Helper()
	p := &player{T: t, turn: turn, now: time.Unix(1_800_000_000, 0).Add(time.Duration(turn) * time.Hour)}
	var err error
	p.Store, err = storage.Open(dir, storage.Options{
		NodeID: storagetest.Node, Now: p.clock, Log: slog.New(slog.DiscardHandler),
	})
	p.check(err)
	return p
}

func (p *player) clock() time.Time { return p.now }

func (p *player) check(err error) {
	p.Helper()
	if err != nil {
		p.Fatalf("turn %d: %v", p.turn, err)
	}
}

var (
	secret = storagetest.Secret
	index  = storagetest.Index
	lease  = storagetest.Lease
)

func body(turn, size int) []byte {
	s := secret("body", turn)
	return bytes.Repeat(s[:], size/32)
}

const (
	slotOfAll    = 1000
	slotAtTimes  = 1001
	turnShare    = 3200
	turnSlotPart = 320
)

// holds compares a share's data and the number of its leases.
func (p *player) holds(index storage.Index, number int, want []byte, leases int) {
	p.Helper()
	h, err := p.OpenShare(index, number)
	p.check(err)
	got := make([]byte, h.Size())
	_, err = h.ReadAt(got, 0)
	p.check(err)
	p.check(h.Close())
	found, err := p.Leases(index, number)
	p.check(err)
	if !bytes.Equal(got, want) || len(found) != leases {
		p.Errorf("turn %d: share %d of %v has %d bytes and %d leases, want %d and %d", p.turn, number, index, len(got), len(found), len(want), leases)
	}
}

func (p *player) readAll() {
	p.Helper()
	var slot []byte
	for t := range p.turn {
		p.holds(index(t), t, body(t, turnShare), p.turn-t)
		slot = append(slot, body(t, turnSlotPart)...)
	}
	p.holds(index(slotOfAll), 0, slot, p.turn)
}

func (p *player) changeAll() {
	p.Helper()
	got, err := p.Allocate(index(p.turn), storage.Allocation{Shares: []int{p.turn}, Size: turnShare, Lease: lease(p.turn)})
	p.check(err)
	u := got.Uploads[p.turn]
	_, err = u.Write(0, body(p.turn, turnShare))
	p.check(err)
	p.check(u.Close())
	for t := range p.turn {
		p.check(p.AddLease(index(t), lease(p.turn)))
		p.check(p.RenewLease(index(t), secret("renew", t)))
	}
	part := storage.Range{Length: turnSlotPart}
	p.update(slotOfAll, storage.ShareUpdate{
		Tests:  []storage.Test{{Range: part, Specimen: body(0, turnSlotPart)}},
		Writes: []storage.Write{{Offset: int64(p.turn) * turnSlotPart, Data: body(p.turn, turnSlotPart)}},
	})
	p.update(slotAtTimes, storage.ShareUpdate{NewLength: new(int64)}) // its turns are odd
}

func (p *player) update(slot int, u storage.ShareUpdate) {
	p.Helper()
	got, err := p.ReadTestWrite(index(slot), storage.SlotUpdate{
		Secrets: storage.SlotSecrets{WriteEnabler: secret("enabler", 0), Lease: lease(p.turn)}, Shares: map[int]storage.ShareUpdate{0: u},
	})
	p.check(err)
	if !got.Written {
		p.Errorf("turn %d: the tests of slot %d do not hold", p.turn, slot)
	}
}

// crawl goes on with the crawls that were begun, to their ends, and begins others.
func (p *player) crawl() {
	p.Helper()
	o := crawl.Options{Now: p.clock, Log: slog.New(slog.DiscardHandler)} // a clock that stands: a slice has no end
	counter, err := crawl.NewBucketCounter(p.Store, o)
	p.check(err)
	checker, err := crawl.NewLeaseChecker(p.Store, crawl.Expiry{}, o)
	p.check(err)
	for _, c := range []*crawl.Crawler{counter.Crawler, checker.Crawler} {
		if was := c.Progress(); !was.Running || was.Cycle != p.turn || was.Done == 0 {
			p.Errorf("turn %d: the other server's crawl is at %+v", p.turn, was)
		}
		p.slice(c)
	}
	// A crawl that was begun before this turn may have missed what is new, and seen what is gone.
	buckets := int64(p.turn + 2)
	if seen := checker.Past()[p.turn].Space["examined-buckets"]; seen < buckets-1 || seen > buckets+1 {
		p.Errorf("turn %d: %d buckets were crawled of %d", p.turn, seen, buckets)
	}
	o.Now = p.ticking
	o.Slice = 500 * time.Millisecond
	counter, err = crawl.NewBucketCounter(p.Store, o)
	p.check(err)
	checker, err = crawl.NewLeaseChecker(p.Store, crawl.Expiry{}, o)
	p.check(err)
	p.slice(counter.Crawler)
	p.slice(checker.Crawler)
	ages := 0
	for _, n := range checker.Current().Ages {
		ages += n
	}
	if p.turn > 4 && ages == 0 {
		p.Errorf("turn %d: no lease was seen before the other server goes on", p.turn)
	}
	if past := checker.Past(); !slices.Contains([]int{p.turn + 1, 10}, len(past)) {
		p.Errorf("turn %d: the history has %d cycles", p.turn, len(past))
	}
}

// ticking is a clock that goes on by a millisecond at each look, so that a slice has an end.
func (p *player) ticking() time.Time {
	p.now = p.now.Add(time.Millisecond)
	return p.now
}

func (p *player) slice(c *crawl.Crawler) {
	p.Helper()
	_, err := c.Slice(context.Background())
	p.check(err)
}

package tree

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/claim"
	"sharefs/provider"
	"sharefs/provider/mem"
)

// quickClaim are times of a claim that a test can wait for.
var quickClaim = claim.Options{Renew: 20 * time.Millisecond, Hold: 10 * time.Second}

// force are options that take the claim from whoever holds it.
func force(o Options) Options {
	o.Claim = quickClaim
	o.Claim.TakeOver, o.Claim.Force = true, true
	return o
}

func TestASecondMountIsRefusedAndChangesNothing(t *testing.T) {
	s := mem.New(mem.Options{})
	m := openTree(t, s, Options{})
	defer m.close()
	must(t, m.write("f", "1"))
	m.flush()
	o := Options{Store: claimsAside(s), StoreName: s.String(), CacheDir: memoryDir(t)}
	_, err := Open(t.Context(), o)
	var held *claim.HeldError
	if !errors.As(err, &held) || held.Holder.Token != m.claim.Token() || !held.Same {
		t.Fatalf("the error is %v", err)
	}
	wantObjects(t, s, map[string]string{"f": "1"})
	o.ReadOnly = true
	reader, err := Open(t.Context(), o)
	must(t, err)
	beside := &mount{reader, t, t, o}
	wantFile(t, beside, "f", "1")
	beside.close()
	must(t, m.write("f", "2"))
	m.flush()
	wantObjects(t, s, map[string]string{"f": "2"})
}

func TestAMountThatLosesItsClaimKeepsItsDataAndSendsNothing(t *testing.T) {
	s := newCounted()
	m := openTree(t, s, Options{Writeback: time.Hour, WritebackMax: time.Hour, Claim: quickClaim})
	must(t, m.write("f", "old"), m.write("gone", "x"), m.mkdir("d"))
	m.flush()
	must(t, m.write("f", "mine"), m.write("d/new", "mine, too"), m.mv("gone", "renamed"))
	h, err := m.open("f", syscall.O_RDWR)
	must(t, err)
	defer h.Release()

	other := openTree(t, s, force(Options{}))
	must(t, other.write("f", "theirs"))
	other.flush()
	for !m.claim.Lost() {
		time.Sleep(time.Millisecond)
	}
	before := s.changes()
	_, err = h.WriteAt(ctx, []byte("x"), 0)
	for what, err := range map[string]error{
		"write": err, "allocate": h.Allocate(ctx, 0, 1, 0), "create": m.write("x", ""), "mkdir": m.mkdir("x"), "rm": m.rm("f"), "mv": m.mv("f", "x"),
	} {
		if !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v, want EROFS", what, err)
		}
	}
	if err := m.Flush(ctx, nil); !errors.Is(err, claim.ErrLost) || !provider.Is(err, provider.KindReadOnly) {
		t.Errorf("flush: %v", err)
	}
	wantFile(t, m, "f", "mine")
	status, err := m.Status()
	must(t, err)
	if c := status.Claim; !status.ReadOnly || c == nil || c.Status != claim.Lost || c.Holder.Token != other.claim.Token() || status.Pending.Files == 0 {
		t.Errorf("status is %+v, claim %+v", status, status.Claim)
	}
	h.Release()
	m.close()
	if n := s.changes() - before; n != 0 {
		t.Errorf("%d changes were sent without the claim", n)
	}
	must(t, other.write("gone", "theirs"))
	other.flush()
	other.close()

	again := openTree(t, s, Options{CacheDir: m.opts.CacheDir})
	defer again.close()
	again.flush()
	want := map[string]string{"f": "theirs", "gone": "theirs", "d/": ""}
	wantObjects(t, s.mem, want)
	wantFile(t, again, "f", "theirs")
	if _, err := again.read("renamed"); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("a rename that was not stored: %v", err)
	}
	wantConflicts(t, again, map[string]string{"/f": "mine", "/d/new": "mine, too"})
	must(t, again.write("f", "mine again"))
	again.flush()
	want["f"] = "mine again"
	wantObjects(t, s.mem, want)
}

// TestALossIsNotForgottenByADeath: a mount that finds out that the store was another's, and dies before it
// has acted on that, leaves it to the next.
func TestALossIsNotForgottenByADeath(t *testing.T) {
	s := mem.New(mem.Options{})
	m := openTree(t, s, Options{Writeback: time.Hour, WritebackMax: time.Hour})
	must(t, m.write("f", "mine"))
	m.close()
	other := openTree(t, s, force(Options{}))
	must(t, other.write("f", "theirs"))
	other.flush()
	other.close()

	o := m.opts
	o.Store, o.StoreName = claimsAside(s), s.String()
	died := &Tree{o: o.withDefaults(), store: o.Store}
	var err error
	died.lock, err = lockDir(o.CacheDir)
	must(t, err)
	died.cat, err = catalog.Open(t.Context(), o.CacheDir)
	must(t, err)
	must(t, died.takeClaim(t.Context()))
	if !died.superseded {
		t.Fatal("it was not noticed")
	}
	must(t, died.claim.Release(ctx), died.cat.Close(), died.lock.Close())

	m = openTree(t, s, m.opts)
	defer m.close()
	m.flush()
	wantObjects(t, s, map[string]string{"f": "theirs"})
	wantConflicts(t, m, map[string]string{"/f": "mine"})
}

func TestADeadMountsClaimIsTakenAtOnceByItsOwnCacheDirectory(t *testing.T) {
	s := mem.New(mem.Options{})
	m := openTree(t, s, Options{Writeback: time.Hour, WritebackMax: time.Hour})
	must(t, m.write("f", "1"))
	m = m.crash()
	defer m.close()
	m.flush()
	wantObjects(t, s, map[string]string{"f": "1"})
	if list := m.conflicts(); len(list) > 0 {
		t.Errorf("conflicts are %+v", list)
	}
}

func TestTheClaimCarriesTheSequenceNumber(t *testing.T) {
	s := mem.New(mem.Options{})
	m := openTree(t, s, Options{})
	must(t, m.write("f", "1"))
	m.flush()
	id, seq := m.cat.ID(), m.cat.Seq()
	m.close()
	if seq == 0 {
		t.Fatal("a file was stored, and the sequence number is 0")
	}
	m = openTree(t, s, Options{CacheDir: m.opts.CacheDir})
	defer m.close()
	if b := m.before; b == nil || b.Catalog != id || b.Seq != seq || !b.Released || m.superseded {
		t.Errorf("before was %+v, want the sequence number %d of %s", b, seq, id)
	}
}

func wantConflicts(t *testing.T, m *mount, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for _, c := range m.conflicts() {
		text, err := os.ReadFile(c.Kept)
		must(t, err)
		got[c.Path] = string(text)
		note, err := os.ReadFile(c.Kept + noteSuffix)
		must(t, err)
		if !strings.Contains(c.Why, "another mount") || !strings.Contains(string(note), "Another mount") {
			t.Errorf("why is %q, the note %s", c.Why, note)
		}
	}
	if err := same(got, want); err != nil {
		t.Error("conflicts:", err)
	}
}

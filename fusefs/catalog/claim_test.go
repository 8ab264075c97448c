package catalog

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func TestTheSequenceNumberGrowsWithIntentsOnly(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	update(t, c, func(tx *Tx) error { return tx.Put(root()) })
	file(t, c, RootIno, "f") // a change that is only local
	if n := c.Seq(); n != 0 {
		t.Fatalf("after a local change the sequence number is %d", n)
	}
	doom := func(tx *Tx) error { return tx.Doom("gone", "", time.Now()) }
	intents := []func(*Tx) error{
		func(tx *Tx) error { _, err := tx.PutTag(); return err },
		func(tx *Tx) error { return tx.MarkSent("gone") },
		func(tx *Tx) error { return tx.NoteUpload(Upload{Key: "k", ID: "1"}) },
		func(tx *Tx) error { return errors.Join(tx.MarkSent("a"), tx.MarkSent("b")) }, // one transaction, one step
	}
	update(t, c, doom)
	for i, intent := range intents {
		update(t, c, intent)
		if n := c.Seq(); n != uint64(i+1) {
			t.Fatalf("after intent %d the sequence number is %d", i, n)
		}
	}
	failed := errors.New("no")
	if err := c.Update(func(tx *Tx) error { _ = tx.MarkSent("a"); return failed }); err != failed {
		t.Fatal(err)
	}
	if n := c.Seq(); n != 4 {
		t.Fatalf("a transaction that was rolled back made the sequence number %d", n)
	}
	if n := c.DurableSeq(); n != 0 {
		t.Fatalf("nothing was synced, and %d is called durable", n)
	}
	if err := c.Sync(); err != nil {
		t.Fatal(err)
	}
	update(t, c, intents[0])
	if durable, n := c.DurableSeq(), c.Seq(); durable != 4 || n != 5 {
		t.Fatalf("durable is %d, want 4; the sequence number is %d, want 5", durable, n)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if n := open(t, dir).Seq(); n != 5 {
		t.Fatalf("opened again, the sequence number is %d", n)
	}
}

func TestTheClaimIsRemembered(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	want := Claim{}
	for _, next := range []Claim{{Tried: []string{"one"}}, {Token: "one"}, {Token: "one", Tried: []string{"two", "three"}, Superseded: true}} {
		if got := claimOf(t, c); got.Token != want.Token || !slices.Equal(got.Tried, want.Tried) || got.Superseded != want.Superseded {
			t.Fatalf("the claim is %+v, want %+v", got, want)
		}
		want = next
		update(t, c, func(tx *Tx) error { return tx.SetClaim(next) })
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got := claimOf(t, open(t, dir)); !slices.Equal(got.Tried, want.Tried) || got.Token != "one" || !got.Superseded {
		t.Fatalf("opened again, the claim is %+v, want %+v", got, want)
	}
}

func claimOf(t *testing.T, c *Catalog) (got Claim) {
	t.Helper()
	err := c.View(func(tx *Tx) (err error) { got, err = tx.Claim(); return err })
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestForgetLeavesNothingPending(t *testing.T) {
	c := fresh(t)
	update(t, c, func(tx *Tx) error {
		n := root()
		n.Complete, n.Dirty = true, day
		return tx.Put(n)
	})
	file(t, c, RootIno, "f")
	update(t, c, func(tx *Tx) error {
		now := time.Now()
		return errors.Join(tx.Doom("theirs", "", now), tx.Doom(".sharefs/open/ours", "", now), tx.NoteUpload(Upload{Key: "k", ID: "1"}),
			tx.PutSpill(Spill{Stage: 1, Key: ".sharefs/open/ours"}))
	})
	update(t, c, func(tx *Tx) error { return tx.Forget(".sharefs/open/") })
	if u := c.Usage(); u != (Usage{Unlisted: 1}) {
		t.Errorf("usage is %+v", u)
	}
	err := c.View(func(tx *Tx) error {
		root, err := tx.Get(RootIno)
		if err != nil || root.Complete || !root.Dirty.IsZero() {
			t.Errorf("the root is %+v, %v", root, err)
		}
		if children, err := tx.HasChildren(RootIno); err != nil || children {
			t.Errorf("children are left: %v", err)
		}
		doomed, err := tx.AllDoomed()
		if err != nil || len(doomed) != 1 || doomed[0].Key != ".sharefs/open/ours" {
			t.Errorf("doomed are %+v, %v", doomed, err)
		}
		if spills, err := tx.AllSpills(); err != nil || len(spills) > 0 {
			t.Errorf("spills are %+v, %v", spills, err)
		}
		if uploads, err := tx.Uploads(); err != nil || len(uploads) != 1 {
			t.Errorf("uploads are %+v, %v", uploads, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

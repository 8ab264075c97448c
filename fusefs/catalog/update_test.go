package catalog

import (
	"errors"
	"fmt"
	"testing"

	"sharefs/provider"
)

func TestAnUpdateThatFailsChangesNothing(t *testing.T) {
	c := fresh(t)
	kept := file(t, c, RootIno, "kept", func(n *Inode) { n.Size = 5 })
	before := c.Usage()
	err := c.Update(func(tx *Tx) error {
		tx.After(func() { t.Error("After ran without a commit") })
		n, err := row(tx, RootIno, "new", provider.ModeFile)
		n.Size = 100
		moved := *kept
		moved.Name, moved.Size = "moved", 50
		if err := errors.Join(err, tx.Put(n), tx.Put(&moved), tx.Doom("k", "", day)); err != nil {
			t.Error(err)
		}
		return errTest
	})
	if !errors.Is(err, errTest) {
		t.Errorf("%v", err)
	}
	if c.Usage() != before {
		t.Errorf("usage is %+v, was %+v", c.Usage(), before)
	}
	view(t, c, func(tx *Tx) error {
		for _, name := range []string{"new", "moved"} {
			if _, err := tx.Child(RootIno, name); !IsNotFound(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, ok, err := tx.DoomedAt("k"); ok || err != nil {
			t.Errorf("doomed: %v, %v", ok, err)
		}
		_, err := tx.Child(RootIno, "kept")
		return err
	})
	file(t, c, RootIno, "next") // and goes on
}

func TestAfterRunsInOrderWhenTheUpdateIsCommitted(t *testing.T) {
	c := fresh(t)
	var ran []int
	update(t, c, func(tx *Tx) error {
		for i := range 3 {
			tx.After(func() { ran = append(ran, i) })
		}
		if len(ran) > 0 {
			t.Error("before the commit")
		}
		return nil
	})
	if fmt.Sprint(ran) != "[0 1 2]" {
		t.Error(ran)
	}
}

func TestANameIsGivenOnce(t *testing.T) {
	c := fresh(t)
	file(t, c, RootIno, "f")
	before := c.Usage()
	err := c.Update(func(tx *Tx) error {
		n, err := row(tx, RootIno, "f", provider.ModeFile)
		return errors.Join(err, tx.Put(n))
	})
	if err == nil {
		t.Error("two files have one name")
	}
	if c.Usage() != before {
		t.Errorf("usage is %+v, was %+v", c.Usage(), before)
	}
	file(t, c, RootIno, "g")
}

func TestManyInodesMayHaveNoName(t *testing.T) {
	c := fresh(t)
	for range 3 {
		file(t, c, 0, "")
	}
	view(t, c, func(tx *Tx) error {
		list, err := tx.Unlinked()
		if len(list) != 3 {
			t.Errorf("%d unlinked, want 3 and not the root", len(list))
		}
		return err
	})
	if u := c.Usage(); u != (Usage{Unlisted: 1}) {
		t.Errorf("%+v: what has no name does not count", u)
	}
}

func TestNumbersAreNeverUsedTwice(t *testing.T) {
	at := t.TempDir()
	seenIno, seenID, seenTag := map[uint64]bool{}, map[uint64]bool{}, map[string]bool{}
	take := func(tx *Tx, n int) error {
		for range n {
			ino, err := tx.NewIno()
			if err != nil {
				return err
			}
			id, err := tx.NewID()
			if err != nil {
				return err
			}
			tag, err := tx.PutTag()
			if err != nil {
				return err
			}
			if seenIno[ino] || seenID[id] || seenTag[tag] {
				t.Fatalf("again: inode %d, id %d, tag %s", ino, id, tag)
			}
			if ino < FirstIno || id == 0 {
				t.Fatalf("inode %d, id %d", ino, id)
			}
			seenIno[ino], seenID[id], seenTag[tag] = true, true, true
		}
		return nil
	}
	for range 3 { // processes
		c := open(t, at)
		for _, n := range []int{1, reserve - 1, 1, 3, reserve + 5, 2*reserve + 1} {
			update(t, c, func(tx *Tx) error { return take(tx, n) })
			err := c.Update(func(tx *Tx) error { return errors.Join(take(tx, n), errTest) })
			if !errors.Is(err, errTest) {
				t.Fatal(err)
			}
			update(t, c, func(tx *Tx) error { return take(tx, 1) })
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnErrorOfTheDatabaseFailsTheUpdateAndNotTheNextOne(t *testing.T) {
	for _, tc := range []struct{ name, breakIt, mendIt string }{
		{"no room", "PRAGMA max_page_count = 40", "PRAGMA max_page_count = 1073741823"},
		{"read-only", "PRAGMA query_only = 1", "PRAGMA query_only = 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := fresh(t)
			pragma := func(text string) {
				t.Helper()
				if _, err := c.conn.ExecContext(t.Context(), text); err != nil {
					t.Fatal(err)
				}
			}
			fill := func(tx *Tx) error {
				tx.After(func() { t.Error("After ran without a commit") })
				for i := range 10_000 {
					n, err := row(tx, RootIno, fmt.Sprint(i), provider.ModeFile)
					if err := errors.Join(err, tx.Put(n)); err != nil {
						return err
					}
				}
				return nil
			}
			file(t, c, RootIno, "before")
			pragma(tc.breakIt)
			for range 3 {
				if err := c.Update(fill); err == nil {
					t.Fatal("it had no effect")
				}
				if err := sameUsage(c); err != nil {
					t.Error(err)
				}
				if u := c.Usage(); u != (Usage{Files: 1, Unlisted: 1}) {
					t.Errorf("%+v", u)
				}
			}
			pragma(tc.mendIt)
			file(t, c, RootIno, "after")
			if err := sameUsage(c); err != nil {
				t.Error(err)
			}
		})
	}
}

package catalog

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sharefs/provider"
)

func TestARowComesBackAsItWasPut(t *testing.T) {
	c := fresh(t)
	all := &Inode{
		Ino: 1<<62 + 1, Parent: RootIno, Name: "a\xff\x01'", Mode: provider.ModeFile | 0o7777, UID: math.MaxUint32, GID: math.MaxUint32,
		Size: math.MaxInt64, Atime: time.Unix(-5, 1), Mtime: day, Ctime: time.Unix(0, 0),
		Xattrs: map[string][]byte{"user.a": {0, 0xff}, "user.empty": {}, "user.é\x01": []byte("1")},
		Target: "../\xff to", Foreign: provider.Metadata{"by": "others"}, Known: true, Complete: true,
		Content: 9, Stage: 1<<63 - 1, StageMtime: day, Key: "dé/k", Version: "v\"1\"", Revision: "r", StoredSz: 5,
		PutTag: "tag-1 tag-2", MetaDirty: true, Dirty: day,
	}
	empty := &Inode{Ino: 100, Parent: RootIno, Name: "empty", Mode: provider.ModeSymlink | 0o777,
		Atime: day, Mtime: day, Ctime: day}
	for name, n := range map[string]*Inode{"everything": all, "nothing": empty} {
		t.Run(name, func(t *testing.T) {
			update(t, c, func(tx *Tx) error { return tx.Put(n) })
			if diff := cmp.Diff(n, get(t, c, n.Ino), cmp.Comparer(time.Time.Equal)); diff != "" {
				t.Error(diff)
			}
			changed := *n
			changed.Mode, changed.Xattrs, changed.Foreign, changed.Dirty = provider.ModeDir, nil, nil, time.Time{}
			update(t, c, func(tx *Tx) error { return tx.Put(&changed) })
			if diff := cmp.Diff(&changed, get(t, c, n.Ino), cmp.Comparer(time.Time.Equal)); diff != "" {
				t.Error("changed:", diff)
			}
			update(t, c, func(tx *Tx) error { return tx.Delete(n.Ino) })
			update(t, c, func(tx *Tx) error { return tx.Delete(n.Ino) }) // again is no error
			view(t, c, func(tx *Tx) error {
				if _, err := tx.Get(n.Ino); !IsNotFound(err) {
					t.Errorf("%v", err)
				}
				return nil
			})
		})
	}
}

func TestATimeOutOfRangeIsTheNearestThatIsInRange(t *testing.T) {
	c := fresh(t)
	far, old := time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC)
	n := file(t, c, RootIno, "f", func(n *Inode) { n.Mtime, n.Atime = far, old })
	back := get(t, c, n.Ino)
	if back.Mtime.Year() != 2262 || back.Atime.Year() != 1677 {
		t.Errorf("%v for %v, %v for %v", back.Mtime, far, back.Atime, old)
	}
}

func TestNamesAreBytes(t *testing.T) {
	c := fresh(t)
	want := map[string]uint64{}
	for _, name := range nasty {
		want[name] = file(t, c, RootIno, name).Ino
	}
	view(t, c, func(tx *Tx) error {
		for name, ino := range want {
			if n, err := tx.Child(RootIno, name); err != nil || n.Ino != ino || n.Name != name {
				t.Errorf("%q: %v", name, err)
			}
		}
		for _, other := range []string{"", "PLAIN", "Plain", "plai", "plain ", "\xfe", "1000", "é\x00"} {
			if _, err := tx.Child(RootIno, other); !IsNotFound(err) {
				t.Errorf("%q: %v", other, err)
			}
		}
		return nil
	})
}

func TestChildrenPagesStayValidWhileTheDirectoryChanges(t *testing.T) {
	c := fresh(t)
	d := dir(t, c, RootIno, "d")
	stays := map[uint64]bool{}
	var goes []*Inode
	for i := range 100 {
		n := file(t, c, d.Ino, fmt.Sprintf("%03d", 99-i))
		if i%3 == 0 {
			goes = append(goes, n)
		} else {
			stays[n.Ino] = true
		}
	}
	seen := map[uint64]int{}
	var after uint64
	for round := 0; ; round++ {
		var page []*Inode
		view(t, c, func(tx *Tx) (err error) {
			page, err = tx.Children(d.Ino, after, 7)
			return err
		})
		if len(page) == 0 {
			break
		}
		for _, n := range page {
			if n.Ino <= after {
				t.Fatalf("%d after %d", n.Ino, after)
			}
			after = n.Ino
			seen[n.Ino]++
		}
		update(t, c, func(tx *Tx) error { // something goes, something comes, something is renamed
			if round < len(goes) {
				if err := tx.Delete(goes[len(goes)-1-round].Ino); err != nil {
					return err
				}
			}
			n, err := tx.Get(page[0].Ino)
			if err == nil {
				n.Name = "renamed" + n.Name
				return tx.Put(n)
			}
			return nil
		})
		file(t, c, RootIno, fmt.Sprintf("elsewhere%d", round))
	}
	for ino := range stays {
		if seen[ino] != 1 {
			t.Errorf("inode %d was seen %d times", ino, seen[ino])
		}
	}
}

// forest makes directories below each other, files in them, one of them unlinked with what is in it.
func forest(t *testing.T) (c *Catalog, a, b *Inode, below map[uint64]bool) {
	c = fresh(t)
	a = dir(t, c, RootIno, "a", func(n *Inode) { n.Complete, n.Key = true, "a/" })
	b = dir(t, c, RootIno, "b", func(n *Inode) { n.Complete = true })
	a1 := dir(t, c, a.Ino, "1", func(n *Inode) { n.Complete = true })
	a2 := dir(t, c, a.Ino, "2", stored("a/2/"))
	deep := dir(t, c, a1.Ino, "deep")
	below = map[uint64]bool{a1.Ino: true, a2.Ino: true, deep.Ino: true}
	for _, d := range []*Inode{a, a1, a2, deep} {
		below[file(t, c, d.Ino, "stored", stored("somewhere/é")).Ino] = true
		below[file(t, c, d.Ino, "new").Ino] = true
	}
	file(t, c, b.Ino, "stored", stored("b/stored that is longer than all the others"))
	file(t, c, RootIno, "top", stored("top"))
	file(t, c, 0, "", stored("unlinked"))
	return c, a, b, below
}

func TestBelowIsWhatLiesBelow(t *testing.T) {
	c, a, b, below := forest(t)
	view(t, c, func(tx *Tx) error {
		list, err := tx.Below(a.Ino)
		if diff := cmp.Diff(below, inos(list)); diff != "" || len(list) != len(below) {
			t.Error(diff)
		}
		todo, err2 := tx.IncompleteBelow(a.Ino)
		var names []string
		for _, n := range todo {
			names = append(names, n.Name)
		}
		slices.Sort(names)
		if !slices.Equal(names, []string{"2", "deep"}) {
			t.Errorf("incomplete: %v", names)
		}
		if n, err := tx.LongestKeyBelow(a.Ino); n != len("somewhere/é") || err != nil {
			t.Errorf("the longest key has %d bytes, %v", n, err)
		}
		empty, err3 := tx.Below(file(t, fresh(t), RootIno, "x").Ino + 1<<40)
		if len(empty) != 0 {
			t.Errorf("%d below nothing", len(empty))
		}
		for _, err := range []error{err, err2, err3} {
			if err != nil {
				return err
			}
		}
		rootTodo, err := tx.IncompleteBelow(RootIno)
		if len(rootTodo) != 3 { // the root itself too
			t.Errorf("%d incomplete in all", len(rootTodo))
		}
		if n, err := tx.LongestKeyBelow(b.Ino + 1<<40); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		return err
	})
}

func TestMarkBelowMarksWhatHasAnObjectAndKeepsOlderMarks(t *testing.T) {
	c, a, _, below := forest(t)
	var marked *Inode
	view(t, c, func(tx *Tx) (err error) {
		marked, err = tx.Child(a.Ino, "stored")
		return err
	})
	marked.Dirty = day.Add(-time.Hour)
	var list []uint64
	update(t, c, func(tx *Tx) (err error) {
		if err := tx.Put(marked); err != nil {
			return err
		}
		list, err = tx.MarkBelow(a.Ino, false, day)
		return err
	})
	told := map[uint64]bool{}
	for _, ino := range list {
		told[ino] = true
	}
	view(t, c, func(tx *Tx) error {
		all, err := tx.many("SELECT " + columns + " FROM inode")
		for _, n := range all {
			want := below[n.Ino] && n.Key != ""
			since := day
			if n.Ino == marked.Ino {
				since = marked.Dirty
			}
			if told[n.Ino] != want || want != n.Dirty.Equal(since) {
				t.Errorf("%s, stored at %q: told %v, dirty since %v", tx.Path(n), n.Key, told[n.Ino], n.Dirty)
			}
		}
		dirty, err2 := tx.Dirty()
		if len(dirty) != 5 || len(list) != 5 {
			t.Errorf("%d dirty, %d told, want 5", len(dirty), len(list))
		}
		if err == nil {
			err = err2
		}
		return err
	})
}

// inOrder are keys around the places where a range of keys may end too early or too late, in byte order.
var inOrder = []string{"A", "a", "a ", "a!", "a-b", "a.", "a/", "a/ ", "a/0", "a/b", "a/b/c", "a/\x7f", "a/é", "a/\U0010ffff", "a0", "a00", "aa",
	"a\x7f", "a\x7f/x", "a\u0080", "aé", "aé/", "aé/x", "aéx", "aê", "aê/x", "b", "b/", "é", "é/x", "ê", "ê/x", "\U0010ffff", "\U0010ffff/x"}

func TestRangesOfKeysEndWhereTheyShould(t *testing.T) {
	if !slices.IsSorted(inOrder) {
		t.Fatal("the table is not in byte order")
	}
	c := fresh(t)
	for i, key := range inOrder {
		file(t, c, RootIno, fmt.Sprint(i), stored(key))
		update(t, c, func(tx *Tx) error { return tx.Doom(key, "v", day) })
	}
	prefixes := append([]string{"", "c", "a/b/c/d", "\x7f", "\xff"}, inOrder...)
	for _, p := range inOrder {
		prefixes = append(prefixes, p+"/", p[:len(p)-1])
	}
	for _, prefix := range prefixes {
		var wantDoomed, wantStored []string
		for _, key := range inOrder {
			if len(key) >= len(prefix) && key[:len(prefix)] == prefix {
				wantDoomed = append(wantDoomed, key)
			}
			if p := prefix + "/"; len(key) >= len(p) && key[:len(p)] == p {
				wantStored = append(wantStored, key)
			}
		}
		view(t, c, func(tx *Tx) error {
			list, err := tx.DoomedBelow(prefix, 1000)
			if err != nil {
				return err
			}
			var got []string
			for _, d := range list {
				got = append(got, d.Key)
			}
			if !slices.Equal(got, wantDoomed) {
				t.Errorf("doomed below %q: %q, want %q", prefix, got, wantDoomed)
			}
			two, err := tx.DoomedBelow(prefix, 2)
			if len(two) != min(2, len(wantDoomed)) {
				t.Errorf("doomed below %q, two of them: %v", prefix, two)
			}
			if err != nil {
				return err
			}
			rows, err := tx.StoredBelow(prefix, 1000)
			got = nil
			for _, n := range rows {
				got = append(got, n.Key)
			}
			slices.Sort(got)
			if !slices.Equal(got, wantStored) {
				t.Errorf("stored below %q: %q, want %q", prefix, got, wantStored)
			}
			return err
		})
	}
}

func TestDoomAndSpare(t *testing.T) {
	c := fresh(t)
	update(t, c, func(tx *Tx) error {
		for _, k := range []string{"b", "a", "a/"} {
			if err := tx.Doom(k, "v1", day); err != nil {
				return err
			}
		}
		return tx.Doom("a", "v2", day.Add(time.Second)) // replaced meanwhile
	})
	update(t, c, func(tx *Tx) error {
		if err := tx.Spare("b"); err != nil {
			return err
		}
		if err := tx.Spare("none"); err != nil {
			return err
		}
		all, err := tx.AllDoomed()
		if len(all) != 2 || all[0].Key != "a" || all[0].Version != "v2" || all[1].Key != "a/" {
			t.Errorf("%+v", all)
		}
		return err
	})
}

func TestStoredAtFindsTheNamedAndTheUnlinked(t *testing.T) {
	c := fresh(t)
	a, b := file(t, c, RootIno, "a", stored("k")), file(t, c, 0, "", stored("k"))
	file(t, c, RootIno, "none")
	view(t, c, func(tx *Tx) error {
		list, err := tx.StoredAt("k")
		if diff := cmp.Diff(map[uint64]bool{a.Ino: true, b.Ino: true}, inos(list)); diff != "" {
			t.Error(diff)
		}
		if err != nil {
			return err
		}
		list, err = tx.StoredAt("") // not: everything that has no object
		if len(list) != 0 {
			t.Errorf("%d are stored nowhere", len(list))
		}
		return err
	})
}

func TestQuestionsAboutADirectory(t *testing.T) {
	c := fresh(t)
	d, empty := dir(t, c, RootIno, "d"), dir(t, c, RootIno, "empty")
	ask := func(f func(*Tx) (bool, error)) (yes bool) {
		view(t, c, func(tx *Tx) (err error) {
			yes, err = f(tx)
			return err
		})
		return yes
	}
	n := file(t, c, d.Ino, "f")
	if !ask(func(tx *Tx) (bool, error) { return tx.HasChildren(d.Ino) }) ||
		ask(func(tx *Tx) (bool, error) { return tx.HasChildren(empty.Ino) }) {
		t.Error("HasChildren")
	}
	if ask(func(tx *Tx) (bool, error) { return tx.HasStoredChildren(d.Ino) }) {
		t.Error("HasStoredChildren: nothing is stored")
	}
	n.Key, n.Dirty = "d/f", day
	update(t, c, func(tx *Tx) error { return tx.Put(n) })
	if !ask(func(tx *Tx) (bool, error) { return tx.HasStoredChildren(d.Ino) }) {
		t.Error("HasStoredChildren: d/f is stored")
	}
	d.Dirty = day
	update(t, c, func(tx *Tx) error { return tx.Put(d) })
	file(t, c, empty.Ino, "other", func(n *Inode) { n.Dirty = day })
	view(t, c, func(tx *Tx) error {
		list, err := tx.DirtyIn(d.Ino)
		if diff := cmp.Diff(map[uint64]bool{d.Ino: true, n.Ino: true}, inos(list)); diff != "" {
			t.Error(diff)
		}
		return err
	})
}

func TestAttrsUnknownGoesOnFromANumber(t *testing.T) {
	c := fresh(t)
	var unknown []uint64
	for i := range 20 {
		n := file(t, c, RootIno, fmt.Sprint(i), func(n *Inode) { n.Known = i%2 == 0 })
		if !n.Known {
			unknown = append(unknown, n.Ino)
		}
	}
	view(t, c, func(tx *Tx) error {
		list, err := tx.AttrsUnknown(RootIno, unknown[2], 3)
		var got []uint64
		for _, n := range list {
			got = append(got, n.Ino)
		}
		if !slices.Equal(got, unknown[2:5]) {
			t.Errorf("%v, want %v", got, unknown[2:5])
		}
		return err
	})
}

func TestPendingSummaryCountsWhatIsPending(t *testing.T) {
	c := fresh(t)
	summary := func() (s Summary) {
		view(t, c, func(tx *Tx) (err error) {
			s, err = tx.PendingSummary()
			return err
		})
		return s
	}
	if s := summary(); s != (Summary{}) {
		t.Errorf("%+v", s)
	}
	file(t, c, RootIno, "clean", func(n *Inode) { n.Size = 1000 })
	file(t, c, RootIno, "changed", func(n *Inode) { n.Size, n.Stage, n.Dirty = 10, 1, day })
	file(t, c, RootIno, "renamed", func(n *Inode) { n.Size, n.Dirty = 100, day.Add(time.Second) })
	update(t, c, func(tx *Tx) error { return tx.Doom("k", "", day.Add(-time.Minute)) })
	if s := summary(); s.Items != 3 || s.Bytes != 10 || !s.Oldest.Equal(day.Add(-time.Minute)) {
		t.Errorf("%+v", s)
	}
}

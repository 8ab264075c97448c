package catalog

import (
	"fmt"
	"strings"
	"testing"
)

const many = 20_000

// large returns a catalog of a directory with nearly all files in it, beside a small tree; everything is clean, known
// and stored.
func large(t *testing.T) (c *Catalog, big, small *Inode) {
	c = fresh(t)
	big, small = dir(t, c, RootIno, "big"), dir(t, c, RootIno, "small")
	first := file(t, c, big.Ino, "000000", func(n *Inode) { n.Known, n.Key, n.Content = true, "big/000000", 1 })
	values := strings.NewReplacer("ino,", "ino + i,", "name,", "CAST(printf('%06d', i) AS BLOB),", "skey,", "printf('big/%06d', i),").Replace(columns)
	_, err := c.conn.ExecContext(t.Context(), fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i+1 < %d)
		INSERT INTO inode (%s) SELECT %s FROM inode, n WHERE ino = %d`, many, columns, values, first.Ino))
	if err != nil {
		t.Fatal(err)
	}
	update(t, c, func(tx *Tx) error { // numbers go on behind them
		for range many {
			if _, err := tx.NewIno(); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range 10 {
		d := dir(t, c, small.Ino, fmt.Sprint(i))
		file(t, c, d.Ino, "f", stored(fmt.Sprintf("small/%d/f", i)))
	}
	file(t, c, small.Ino, "dirty", func(n *Inode) { n.Dirty, n.Stage = day, 1 })
	file(t, c, 0, "", stored("big/unlinked"))
	update(t, c, func(tx *Tx) error { return tx.Doom("gone", "", day) })
	return c, big, small
}

// TestHotQueriesDoNotDependOnTheSizeOfTheCatalog asks each once and sees how SQLite goes about it: by an index, never by
// reading all inodes.
func TestHotQueriesDoNotDependOnTheSizeOfTheCatalog(t *testing.T) {
	c, big, small := large(t)
	ask := map[string]func(tx *Tx) error{
		"Get":               func(tx *Tx) error { _, err := tx.Get(big.Ino + 100); return err },
		"Child":             func(tx *Tx) error { _, err := tx.Child(big.Ino, "001000"); return err },
		"Children":          func(tx *Tx) error { _, err := tx.Children(big.Ino, big.Ino+many/2, 100); return err },
		"HasChildren":       func(tx *Tx) error { _, err := tx.HasChildren(big.Ino); return err },
		"HasStoredChildren": func(tx *Tx) error { _, err := tx.HasStoredChildren(big.Ino); return err },
		"Below":             func(tx *Tx) error { _, err := tx.Below(small.Ino); return err },
		"IncompleteBelow":   func(tx *Tx) error { _, err := tx.IncompleteBelow(small.Ino); return err },
		"LongestKeyBelow":   func(tx *Tx) error { _, err := tx.LongestKeyBelow(small.Ino); return err },
		"MarkBelow":         func(tx *Tx) error { _, err := tx.MarkBelow(small.Ino, false, day); return err },
		"DirtyIn":           func(tx *Tx) error { _, err := tx.DirtyIn(big.Ino); return err },
		"Dirty":             func(tx *Tx) error { _, err := tx.Dirty(); return err },
		"AttrsUnknown":      func(tx *Tx) error { _, err := tx.AttrsUnknown(big.Ino, 0, 10); return err },
		"StoredAt":          func(tx *Tx) error { _, err := tx.StoredAt("big/001000"); return err },
		"StoredBelow":       func(tx *Tx) error { _, err := tx.StoredBelow("big", 16); return err },
		"PendingSummary":    func(tx *Tx) error { _, err := tx.PendingSummary(); return err },
		"DoomedAt":          func(tx *Tx) error { _, _, err := tx.DoomedAt("gone"); return err },
		"DoomedBelow":       func(tx *Tx) error { _, err := tx.DoomedBelow("gone/", 1); return err },
		"Put":               func(tx *Tx) error { return tx.Put(small) },
		"Spare":             func(tx *Tx) error { return tx.Spare("none") },
		"Delete":            func(tx *Tx) error { return tx.Delete(1 << 40) },
		"NewIno":            func(tx *Tx) error { _, err := tx.NewIno(); return err },
	}
	for name, f := range ask {
		t.Run(name, func(t *testing.T) {
			c.mu.Lock()
			for text, s := range c.stmts { // what is prepared from here on is this query's
				_ = s.Close()
				delete(c.stmts, text)
			}
			c.mu.Unlock()
			update(t, c, f)
			for text := range c.stmts {
				for _, step := range plan(t, c, text) {
					if strings.HasPrefix(step, "SCAN inode") && !strings.Contains(step, "inode_dirty") || strings.Contains(step, "AUTOMATIC") {
						t.Errorf("%s\n%s", step, text)
					}
				}
			}
		})
	}
}

func plan(t *testing.T, c *Catalog, text string) (steps []string) {
	t.Helper()
	if !strings.Contains(text, " inode") && !strings.Contains(text, " doomed") {
		return nil
	}
	args := make([]any, strings.Count(text, "?"))
	rows, err := c.conn.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return steps
}

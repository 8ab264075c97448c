package catalog

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestACatalogComesBackAsItWas(t *testing.T) {
	at := t.TempDir()
	c := open(t, at)
	update(t, c, func(tx *Tx) error { return tx.Put(root()) })
	n := file(t, c, RootIno, "f", stored("f"), func(n *Inode) { n.Size, n.Dirty = 7, day })
	update(t, c, func(tx *Tx) error {
		if store, err := tx.Bind("s3://one"); err != nil || store != "s3://one" {
			t.Errorf("%q, %v", store, err)
		}
		return tx.Doom("gone", "v1", day)
	})
	id, usage := c.ID(), c.Usage()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	c = open(t, at)
	if c.ID() != id || len(id) != 32 {
		t.Errorf("id %q, was %q", c.ID(), id)
	}
	if c.Usage() != usage || usage != (Usage{Files: 1, Bytes: 7, Unlisted: 1}) {
		t.Errorf("usage %+v, was %+v", c.Usage(), usage)
	}
	if back := get(t, c, n.Ino); back.Name != "f" || back.Key != "f" || back.Size != 7 || !back.Dirty.Equal(day) {
		t.Errorf("%+v", back)
	}
	update(t, c, func(tx *Tx) error {
		d, ok, err := tx.DoomedAt("gone")
		if !ok || d.Version != "v1" || !d.Since.Equal(day) {
			t.Errorf("%+v, %v", d, ok)
		}
		if store, err := tx.Bind("s3://two"); err != nil || store != "s3://one" {
			t.Errorf("bound to %q, %v", store, err)
		}
		return err
	})
}

func TestTwoCatalogsHaveDifferentIDs(t *testing.T) {
	if a, b := open(t, t.TempDir()), open(t, t.TempDir()); a.ID() == b.ID() {
		t.Errorf("both are %s", a.ID())
	}
}

func TestACatalogIsForItsOwnerOnly(t *testing.T) {
	at := t.TempDir()
	c := open(t, at)
	update(t, c, func(tx *Tx) error { return tx.Put(root()) })
	entries, err := os.ReadDir(at)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

func TestACatalogLiesWhereItsDirectoryIsWhateverThatIsCalled(t *testing.T) {
	for _, name := range []string{"plain", "with space", "50%25", "what?now", "a#b", "naïve", "a&_pragma=x"} {
		t.Run(name, func(t *testing.T) {
			at := filepath.Join(t.TempDir(), name)
			if err := os.Mkdir(at, 0o700); err != nil {
				t.Fatal(err)
			}
			c := open(t, at)
			update(t, c, func(tx *Tx) error { return tx.Put(root()) })
			id := c.ID()
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(filepath.Join(at, "catalog.db")); err != nil || info.Size() == 0 {
				t.Errorf("catalog.db: %v, %v", info.Size(), err)
			}
			if c = open(t, at); c.ID() != id {
				t.Error("another catalog was opened")
			}
		})
	}
}

func TestANewerFormatIsRefused(t *testing.T) {
	at := t.TempDir()
	if err := open(t, at).Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := sql.Open("sqlite", filepath.Join(at, "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), at)
	if err == nil {
		t.Fatal("it was opened")
	}
	for _, part := range []string{at, "format 99", "newer sharefs", "another cache directory"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func TestWhatIsNoCatalogIsRefusedAndKept(t *testing.T) {
	at := t.TempDir()
	path := filepath.Join(at, "catalog.db")
	text := strings.Repeat("a letter to my aunt\n", 500)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), at); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != text {
		t.Errorf("the file has changed: %v", err)
	}
}

func TestOpenNeedsADirectory(t *testing.T) {
	at := filepath.Join(t.TempDir(), "none")
	if _, err := Open(t.Context(), at); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestAClosedCatalogAcceptsNothing(t *testing.T) {
	c := fresh(t)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	never := func(*Tx) error { t.Error("it was called"); return nil }
	if err := c.Update(never); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("Update: %v", err)
	}
	if err := c.View(never); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("View: %v", err)
	}
}

package catalog

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sharefs/provider"
	"sharefs/test/soak"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(childJob); job != "" {
		os.Exit(runChild(job))
	}
	soak.FixRapid()
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, dir string) *Catalog {
	t.Helper()
	c, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // a test may have closed it
	return c
}

// fresh returns a new catalog with a root.
func fresh(t testing.TB) *Catalog {
	t.Helper()
	c := open(t, t.TempDir())
	update(t, c, func(tx *Tx) error { return tx.Put(root()) })
	return c
}

func root() *Inode {
	return &Inode{Ino: RootIno, Mode: provider.ModeDir | 0o755, Known: true, Atime: day, Mtime: day, Ctime: day}
}

var day = time.Unix(1_700_000_000, 123_456_789)

func update(t testing.TB, c *Catalog, f func(*Tx) error) {
	t.Helper()
	if err := c.Update(f); err != nil {
		t.Fatal(err)
	}
}

func view(t testing.TB, c *Catalog, f func(*Tx) error) {
	t.Helper()
	if err := c.View(f); err != nil {
		t.Fatal(err)
	}
}

// row returns a new row, not yet put.
func row(tx *Tx, parent uint64, name string, mode uint32) (*Inode, error) {
	ino, err := tx.NewIno()
	return &Inode{Ino: ino, Parent: parent, Name: name, Mode: mode, Atime: day, Mtime: day, Ctime: day}, err
}

// add puts a new row and returns it.
func add(t testing.TB, c *Catalog, parent uint64, name string, mode uint32, change ...func(*Inode)) *Inode {
	t.Helper()
	var n *Inode
	update(t, c, func(tx *Tx) (err error) {
		if n, err = row(tx, parent, name, mode); err != nil {
			return err
		}
		for _, f := range change {
			f(n)
		}
		return tx.Put(n)
	})
	return n
}

func file(t testing.TB, c *Catalog, parent uint64, name string, change ...func(*Inode)) *Inode {
	t.Helper()
	return add(t, c, parent, name, provider.ModeFile|0o644, change...)
}

func dir(t testing.TB, c *Catalog, parent uint64, name string, change ...func(*Inode)) *Inode {
	t.Helper()
	return add(t, c, parent, name, provider.ModeDir|0o755, change...)
}

func stored(key string) func(*Inode) { return func(n *Inode) { n.Key = key } }

func get(t testing.TB, c *Catalog, ino uint64) (n *Inode) {
	t.Helper()
	view(t, c, func(tx *Tx) (err error) {
		n, err = tx.Get(ino)
		return err
	})
	return n
}

func inos(list []*Inode) map[uint64]bool {
	set := map[uint64]bool{}
	for _, n := range list {
		set[n.Ino] = true
	}
	return set
}

// counted counts the rows again.
func counted(c *Catalog) (u Usage, err error) {
	err = c.View(func(tx *Tx) error {
		list, err := tx.many("SELECT " + columns + " FROM inode")
		for _, n := range list {
			if n.IsDir() && !n.Complete && (n.Parent != 0 || n.Ino == RootIno) {
				u.Unlisted++
			}
			switch {
			case n.Parent == 0:
			case n.IsDir():
				u.Dirs++
			default:
				u.Files++
				if n.IsFile() {
					u.Bytes += n.Size
				}
			}
		}
		return err
	})
	return u, err
}

var errTest = errors.New("given up by the test")

func sameUsage(c *Catalog) error {
	want, err := counted(c)
	if err != nil {
		return err
	}
	if got := c.Usage(); got != want {
		return fmt.Errorf("usage is %+v, the rows are %+v", got, want)
	}
	return nil
}

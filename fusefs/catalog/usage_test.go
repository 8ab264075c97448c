package catalog

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"sharefs/provider"
)

func TestUsageIsWhatARecountSays(t *testing.T) {
	modes := []uint32{provider.ModeFile, provider.ModeDir, provider.ModeSymlink}
	rapid.Check(t, func(rt *rapid.T) {
		at := t.TempDir()
		c, err := Open(t.Context(), at)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		var known []uint64
		step := func(tx *Tx) error {
			n := &Inode{Atime: day, Mtime: day, Ctime: day}
			if len(known) > 0 && rapid.Bool().Draw(rt, "old") {
				n.Ino = rapid.SampledFrom(known).Draw(rt, "ino")
			} else if n.Ino, err = tx.NewIno(); err != nil {
				return err
			}
			if rapid.IntRange(0, 3).Draw(rt, "delete") == 0 {
				return tx.Delete(n.Ino)
			}
			known = append(known, n.Ino)
			n.Parent = uint64(rapid.IntRange(0, 2).Draw(rt, "parent"))
			n.Name = fmt.Sprint(n.Ino)
			n.Mode = rapid.SampledFrom(modes).Draw(rt, "mode")
			n.Size = rapid.Int64Range(0, 1<<40).Draw(rt, "size")
			return tx.Put(n)
		}
		for range rapid.IntRange(1, 8).Draw(rt, "updates") {
			fail := rapid.IntRange(0, 3).Draw(rt, "fail") == 0
			err := c.Update(func(tx *Tx) error {
				for range rapid.IntRange(1, 5).Draw(rt, "steps") {
					if err := step(tx); err != nil {
						return err
					}
				}
				if fail {
					return errTest
				}
				return nil
			})
			if (err != nil) != fail {
				rt.Fatal(err)
			}
			if err := sameUsage(c); err != nil {
				rt.Fatal(err)
			}
		}
		if err := c.Close(); err != nil {
			rt.Fatal(err)
		}
		if c, err = Open(t.Context(), at); err != nil {
			rt.Fatal(err)
		}
		if err := sameUsage(c); err != nil {
			rt.Fatal("after a reopen:", err)
		}
	})
}

// TestALiveFileIsCountedAtItsLength changes files behind their rows as an open file does, and compares with the lengths of
// those that have names.
func TestALiveFileIsCountedAtItsLength(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c, err := Open(t.Context(), t.TempDir())
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		files := make([]*modelFile, 3)
		put := func(f *modelFile, more func(*Tx)) {
			err := c.Update(func(tx *Tx) error {
				if more != nil {
					more(tx)
				}
				return tx.Put(&f.row)
			})
			if err != nil {
				rt.Fatal(err)
			}
		}
		for i := range files {
			f := &modelFile{row: Inode{Ino: FirstIno + uint64(i), Parent: RootIno, Name: fmt.Sprint(i), Mode: provider.ModeFile, Atime: day, Mtime: day, Ctime: day}}
			files[i] = f
			put(f, nil)
		}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			f := rapid.SampledFrom(files).Draw(rt, "file")
			switch rapid.SampledFrom([]string{"live", "grow", "persist", "unlink", "link", "settle"}).Draw(rt, "step") {
			case "live":
				put(f, func(tx *Tx) { tx.Live(&f.row) })
				f.live = true
			case "grow":
				if f.live {
					f.size = rapid.Int64Range(0, 100).Draw(rt, "size")
					got, ok := c.Promise(f.row.Ino, 10, 1<<40)
					if !ok {
						rt.Fatal("no room")
					}
					c.Grown(f.row.Ino, got, func() int64 { return f.size })
				}
			case "persist":
				f.row.Size = f.size
				put(f, nil)
			case "unlink":
				f.row.Parent = 0
				put(f, nil)
			case "link":
				f.row.Parent = RootIno
				put(f, nil)
			case "settle":
				f.row.Size, f.live = f.size, false
				put(f, func(tx *Tx) { tx.Settled(&f.row) })
			}
			var want int64
			for _, f := range files {
				if f.row.Parent != 0 {
					want += f.size
				}
			}
			if got := c.Usage().Bytes; got != want {
				rt.Fatalf("%d bytes are counted, want %d", got, want)
			}
		}
		if c.counter.promised != 0 {
			rt.Errorf("%d bytes are promised to nobody", c.counter.promised)
		}
	})
}

// modelFile is a file with its true size.
type modelFile struct {
	row  Inode
	size int64
	live bool
}

func TestRoomIsPromisedOnce(t *testing.T) {
	c := fresh(t)
	const limit = 100
	a := file(t, c, RootIno, "a", func(n *Inode) { n.Size = 60 })
	b := file(t, c, RootIno, "b")
	update(t, c, func(tx *Tx) error {
		tx.Live(a)
		tx.Live(b)
		return nil
	})
	if got, ok := c.Promise(b.Ino, 30, limit); !ok || got != 30 {
		t.Errorf("30 of 40: %d, %v", got, ok)
	}
	if left, ok := c.Promise(a.Ino, 11, limit); ok || left != 10 {
		t.Errorf("11 of 10: %d, %v", left, ok)
	}
	c.Grown(b.Ino, 30, func() int64 { return 5 }) // less than was promised
	if left, ok := c.Promise(a.Ino, 36, limit); ok || left != 35 {
		t.Errorf("36 of 35: %d, %v", left, ok)
	}
	if got, ok := c.Promise(a.Ino, 35, limit); !ok || got != 35 {
		t.Errorf("35 of 35: %d, %v", got, ok)
	}
}

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

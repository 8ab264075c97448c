package container

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// golden is where the files are that Tahoe-LAFS 1.20 made: see test/tahoe/golden.py, whose steps are the ones below.
const golden = "../testdata/tahoe-1.20/containers"

var (
	node = NodeID([]byte("the node of goldenpy"))
	now  = time.Unix(1_800_000_000, 0)
)

func secret(kind string, n int) Secret { return sha256.Sum256(fmt.Appendf(nil, "%s %d", kind, n)) }

func body(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i * 7 % 251)
	}
	return b
}

func lease(n int, after time.Duration, owner uint32) NewLease {
	return NewLease{Owner: owner, Renew: secret("renew", n), Cancel: secret("cancel", n), Expires: now.Add(after * time.Second), Node: node}
}

// step changes what is in a buffer.
type step func(t *testing.T, b *Buffer)

func on(change func(c Container) error) step {
	return func(t *testing.T, b *Buffer) {
		c, err := Open("share", b, int64(len(b.Bytes())))
		if err == nil {
			err = change(c)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func addOrRenew(n int, after time.Duration, grow int64) step {
	return on(func(c Container) error { return c.AddOrRenewLease(lease(n, after, 1), grow) })
}

func renew(n int, after time.Duration) step {
	return on(func(c Container) error { return c.RenewLease(secret("renew", n), now.Add(after*time.Second)) })
}

// cancel cancels the lease at a place among those that there are.
func cancel(i int) step {
	return on(func(c Container) error {
		leases, err := c.Leases()
		if err != nil {
			return err
		}
		left, err := c.CancelLease(leases[i])
		if want := len(leases) - 1; left != want {
			return fmt.Errorf("%d leases are left, want %d: %w", left, want, err)
		}
		return err
	})
}

func write(at int64, data []byte) step {
	return on(func(c Container) error {
		_, err := c.(*MutableFile).WriteAt(data, at)
		return err
	})
}

func shorten(size int64) step {
	return on(func(c Container) error { return c.(*MutableFile).Shorten(size) })
}

func all(steps ...step) step {
	return func(t *testing.T, b *Buffer) {
		for _, s := range steps {
			s(t, b)
		}
	}
}

func createImmutable(t *testing.T, b *Buffer) {
	c := NewImmutable("share", b, 100)
	_, err := b.WriteAt(ImmutableHeader(100), 0)
	if err == nil {
		_, err = c.WriteAt(body(100), 0)
	}
	if err == nil {
		err = c.AddLease(lease(0, 0, 0))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func createMutable(t *testing.T, b *Buffer) {
	if _, err := NewMutable("share", b, node, secret("enabler", 0)); err != nil {
		t.Fatal(err)
	}
}

var histories = map[string][]step{
	"immutable": {
		createImmutable,
		all(addOrRenew(1, 1, 72), addOrRenew(2, 2, 72), addOrRenew(3, 3, 72)),
		renew(1, 100),
		renew(1, 50),
		cancel(0),
		addOrRenew(3, 1000, 0),
	},
	"mutable": {
		createMutable,
		write(0, body(100)),
		all(addOrRenew(0, 0, 0), addOrRenew(1, 1, 0), addOrRenew(2, 2, 0), addOrRenew(3, 3, 0), addOrRenew(4, 4, 92), addOrRenew(5, 5, 92)),
		all(write(50, body(100)), write(10, []byte("overwritten"))),
		write(400, []byte("behind a gap")),
		shorten(30),
		all(write(60, []byte("in what was cut off")), write(90, nil), shorten(1000)),
		renew(5, 100),
		cancel(1),
		cancel(3),
		addOrRenew(7, 7, 0),
		addOrRenew(8, 8, 0),
		addOrRenew(9, 9, 92),
	},
}

// TestEveryStepIsThatOfTahoe does to each file of Tahoe-LAFS what its code did next, and compares with what came of it.
func TestEveryStepIsThatOfTahoe(t *testing.T) {
	for kind, steps := range histories {
		for version := 1; version <= 2; version++ {
			t.Run(fmt.Sprintf("%s-v%d", kind, version), func(t *testing.T) {
				var before []byte
				for n, do := range steps {
					want, err := os.ReadFile(filepath.Join(golden, fmt.Sprintf("%s-v%d.%d", kind, version, n)))
					if err != nil {
						t.Fatal(err)
					}
					if n > 0 || version == mutableNewest { // others are not made any more
						b := NewBuffer(bytes.Clone(before))
						do(t, b)
						if !bytes.Equal(b.Bytes(), want) {
							t.Errorf("step %d: got\n%x\nwant\n%x", n, b.Bytes(), want)
						}
					}
					before = want
				}
			})
		}
	}
}

func TestLeasesOfTahoeAreRead(t *testing.T) {
	for _, kind := range []string{"immutable", "mutable"} {
		for version := 1; version <= 2; version++ {
			name := fmt.Sprintf("%s-v%d.2", kind, version)
			b, err := os.ReadFile(filepath.Join(golden, name))
			if err != nil {
				t.Fatal(err)
			}
			c, err := Open(name, NewBuffer(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			if c.Kind().String() != kind || c.Version() != version || c.Size() != 100 {
				t.Errorf("%s: %v, version %d, %d bytes", name, c.Kind(), c.Version(), c.Size())
			}
			leases, err := c.Leases()
			if err != nil {
				t.Fatal(err)
			}
			for n, l := range leases {
				if !l.RenewedBy(secret("renew", n)) || l.RenewedBy(secret("renew", n+1)) || l.RenewedBy(secret("cancel", n)) || l.Hashed != (version == 2) {
					t.Errorf("%s: lease %d is not renewed by its secret alone", name, n)
				}
				if kind == "mutable" && l.Node != node {
					t.Errorf("%s: lease %d is of node %v", name, n, l.Node)
				}
			}
			if l := leases[1]; kind == "immutable" && l.Expires.Sub(now) != 100*time.Second || kind == "mutable" && l.Expires.Sub(now) != time.Second {
				t.Errorf("%s: lease 1 ends %v after now", name, l.Expires.Sub(now))
			}
		}
	}
}

// counting counts what is written to a file.
type counting struct {
	*os.File
	written int
}

func (c *counting) WriteAt(p []byte, off int64) (int, error) {
	c.written += len(p)
	return c.File.WriteAt(p, off)
}

// TestAGapIsNotFilledByWriting has a share with five leases, whose data go on after a gap of a gigabyte.
func TestAGapIsNotFilledByWriting(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "share"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f := &counting{File: file}
	c, err := NewMutable("share", f, node, secret("enabler", 0))
	for n := range 5 {
		if err == nil {
			err = c.AddOrRenewLease(lease(n, 0, 1), mutableLease)
		}
	}
	const gap = 1 << 30
	if err == nil {
		_, err = c.WriteAt([]byte("behind"), gap)
	}
	if err != nil {
		t.Fatal(err)
	}
	if f.written > 4096 {
		t.Errorf("%d bytes are written", f.written)
	}
	end := make([]byte, 100)
	if n, err := c.ReadAt(end, gap-94); n != len(end) || err != nil || !bytes.Equal(end, append(make([]byte, 94), "behind"...)) {
		t.Errorf("the end is %q, %d, %v", end, n, err)
	}
	if leases, err := c.Leases(); err != nil || len(leases) != 5 || !leases[4].RenewedBy(secret("renew", 4)) {
		t.Errorf("the leases are %v, %v", leases, err)
	}
}

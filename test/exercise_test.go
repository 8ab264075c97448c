package test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"sharefs/test/harness"
	"sharefs/test/soak"
)

// TestSoakRandomAccessIsAsOnADisk reads and changes one file in every way there is, at sizes around pages, parts and
// snapshots, while it is being stored, and compares every read with the same bytes in memory.
func TestSoakRandomAccessIsAsOnADisk(t *testing.T) {
	t.Parallel()
	harness.OnEach(t, func(t *testing.T, s *harness.Store) {
		m := harness.NewMount(t, s, "--writeback", "20ms")
		r := rand.New(rand.NewPCG(soak.Seed(t), 0))
		x := &exercise{r: r, path: m.Path("file"), limit: 300_000}
		steps := s.Kind.Count(300, 10_000)
		for n := range steps {
			if n == steps*2/3 {
				x.limit = 10 << 20 // above what an upload copies to memory, and above a part
			}
			if err := x.step(); err != nil {
				t.Fatalf("step %d: %v; the last steps were %q", n, err, x.last)
			}
			if n%(steps/3) == steps/3-1 {
				x.close()
				m.Unmount()
				m.RemountEmpty()
			}
		}
		x.close()
		soak.Record(t, "random accesses compared", steps)
	})
}

// exercise is a file on a mount and what it must hold.
type exercise struct {
	r     *rand.Rand
	path  string
	limit int // of the file's size
	want  []byte
	f     *os.File
	last  []string
}

// interesting are the sizes and offsets around which filesystems go wrong.
var interesting = []int{0, 1, 4095, 4096, 4097, 65535, 65536, 131072, 131073, 1 << 20, 5<<20 - 1, 5 << 20, 5<<20 + 1, 8 << 20, 8<<20 + 1}

func (x *exercise) offset() int {
	if x.r.IntN(3) == 0 {
		if n := interesting[x.r.IntN(len(interesting))]; n < x.limit {
			return n
		}
	}
	if len(x.want) > 0 && x.r.IntN(2) == 0 {
		return x.r.IntN(len(x.want) + 1)
	}
	return x.r.IntN(x.limit)
}

func (x *exercise) length() int {
	if x.r.IntN(8) == 0 {
		return x.r.IntN(x.limit / 2)
	}
	return x.r.IntN(10_000)
}

func (x *exercise) bytes(n int) []byte {
	b := make([]byte, n)
	fill, step := byte(x.r.Uint32()), byte(x.r.Uint32())
	for i := range b {
		b[i] = fill + byte(i)*step + byte(i>>8)
	}
	return b
}

// put changes the model as a write does.
func (x *exercise) put(off int, b []byte) {
	if end := off + len(b); len(b) > 0 && end > len(x.want) {
		x.want = append(x.want, make([]byte, end-len(x.want))...)
	}
	copy(x.want[min(off, len(x.want)):], b)
}

func (x *exercise) cut(n int) {
	if n <= len(x.want) {
		x.want = x.want[:n:n]
		return
	}
	x.want = append(x.want, make([]byte, n-len(x.want))...)
}

func (x *exercise) close() {
	if x.f != nil {
		x.f.Close()
		x.f = nil
	}
}

func (x *exercise) open() error {
	if x.f != nil {
		return nil
	}
	var err error
	x.f, err = os.OpenFile(x.path, os.O_RDWR|os.O_CREATE, 0o644)
	return err
}

// step makes one random access.
func (x *exercise) step() error {
	if err := x.open(); err != nil {
		return err
	}
	accesses := []struct {
		name   string
		weight int
		do     func(off, n int) error
	}{
		{"read", 30, x.read},
		{"write", 30, x.write},
		{"append", 5, x.append},
		{"truncate", 6, func(off, _ int) error { x.cut(off); return x.f.Truncate(int64(off)) }},
		{"truncate by name", 2, func(off, _ int) error { x.cut(off); return os.Truncate(x.path, int64(off)) }},
		{"read through a mapping", 5, x.readMapped},
		{"write through a mapping", 10, x.writeMapped},
		{"read past the kernel's cache", 5, x.readDirect},
		{"punch a hole", 3, x.punch},
		{"allocate", 2, x.allocate},
		{"fsync", 1, func(int, int) error { return x.f.Sync() }},
		{"close", 10, func(int, int) error { f := x.f; x.f = nil; return f.Close() }},
		{"drop the kernel's cache", 3, func(int, int) error { return unix.Fadvise(int(x.f.Fd()), 0, 0, unix.FADV_DONTNEED) }},
		{"read all", 2, x.readAll},
		{"open with O_TRUNC", 1, func(int, int) error { x.cut(0); return os.WriteFile(x.path, nil, 0) }},
		{"replace by rename", 1, x.replace},
	}
	total := 0
	for _, a := range accesses {
		total += a.weight
	}
	off, n := x.offset(), x.length()
	n = min(n, x.limit-off)
	k := x.r.IntN(total)
	for _, a := range accesses {
		if k -= a.weight; k >= 0 {
			continue
		}
		text := fmt.Sprintf("%s %d+%d of %d", a.name, off, n, len(x.want))
		if x.last = append(x.last, text); len(x.last) > 30 {
			x.last = x.last[1:]
		}
		if err := a.do(off, n); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
		return x.size()
	}
	panic("the weights do not add up")
}

// size compares the size.
func (x *exercise) size() error {
	info, err := os.Stat(x.path)
	if err == nil && info.Size() != int64(len(x.want)) {
		err = fmt.Errorf("the size is %d, want %d", info.Size(), len(x.want))
	}
	return err
}

func (x *exercise) read(off, n int) error { return x.readFrom(x.f, off, n) }

func (x *exercise) readFrom(f *os.File, off, n int) error {
	got := make([]byte, n)
	k, err := f.ReadAt(got, int64(off))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return compare(got[:k], x.want[min(off, len(x.want)):min(off+n, len(x.want))], off)
}

func compare(got, want []byte, off int) error {
	if !bytes.Equal(got, want) {
		return fmt.Errorf("read %d bytes, want %d, and they differ at %d", len(got), len(want), off+differ(got, want))
	}
	return nil
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func (x *exercise) write(off, n int) error {
	b := x.bytes(n)
	x.put(off, b)
	_, err := x.f.WriteAt(b, int64(off))
	return err
}

func (x *exercise) append(_, n int) error {
	b := x.bytes(min(n, x.limit-min(len(x.want), x.limit)))
	x.put(len(x.want), b)
	f, err := os.OpenFile(x.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

func (x *exercise) mapped(prot int, use func([]byte) error) error {
	if len(x.want) == 0 {
		return nil
	}
	m, err := unix.Mmap(int(x.f.Fd()), 0, len(x.want), prot, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	return errors.Join(use(m), unix.Munmap(m))
}

func (x *exercise) readMapped(off, n int) error {
	return x.mapped(unix.PROT_READ, func(m []byte) error {
		return compare(m[min(off, len(m)):min(off+n, len(m))], x.want[min(off, len(m)):min(off+n, len(m))], off)
	})
}

func (x *exercise) writeMapped(off, n int) error {
	return x.mapped(unix.PROT_READ|unix.PROT_WRITE, func(m []byte) error {
		b := x.bytes(max(min(n, len(m)-off), 0))
		copy(x.want[min(off, len(m)):], b)
		copy(m[min(off, len(m)):], b)
		if x.r.IntN(2) == 0 {
			return unix.Msync(m, unix.MS_SYNC)
		}
		return nil
	})
}

func (x *exercise) readDirect(off, n int) error {
	f, err := os.OpenFile(x.path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return x.readFrom(f, off, n)
}

func (x *exercise) punch(off, n int) error {
	if n == 0 {
		return nil
	}
	clear(x.want[min(off, len(x.want)):min(off+n, len(x.want))])
	return unix.Fallocate(int(x.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n))
}

func (x *exercise) allocate(off, n int) error {
	if n == 0 {
		return nil
	}
	x.cut(max(off+n, len(x.want)))
	return unix.Fallocate(int(x.f.Fd()), 0, int64(off), int64(n))
}

func (x *exercise) readAll(int, int) error {
	got, err := os.ReadFile(x.path)
	if err != nil {
		return err
	}
	return compare(got, x.want, 0)
}

// replace puts another file in its place. The one that is open has no name from then on, and still its bytes.
func (x *exercise) replace(_, n int) error {
	b := x.bytes(n)
	if err := os.WriteFile(x.path+".new", b, 0o644); err != nil {
		return err
	}
	if err := os.Rename(x.path+".new", x.path); err != nil {
		return err
	}
	err := x.read(0, len(x.want)+1)
	x.close()
	x.want = b
	return err
}

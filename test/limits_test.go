package test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sharefs/test/harness"
	"sharefs/test/servers"
	"sharefs/test/soak"
)

// fullStall is --stall-timeout of these tests.
const fullStall = 2 * time.Second

// A workload writes more than the disk holds.
type workload struct {
	name  string
	write func(w *filler)
}

const fillStep = 256 << 10 // bytes that are written at a time

var (
	fillDisk  = int64(soak.Count(32, 64)) << 20 // what the disk has, in bytes
	fillTotal = 4 * fillDisk                    // that are written
	fillFile  = fillDisk / 5                    // of a file, where there are several
)

// workloads are ways to write four times what the disk holds.
var workloads = []workload{
	{"several files", func(w *filler) {
		for n := range int(fillTotal / fillFile) {
			w.file(fmt.Sprintf("f%03d", n), func(f *filled) { f.sequential(fillFile) })
		}
	}},
	{"one file", func(w *filler) {
		w.file("large", func(f *filled) { f.sequential(fillTotal) })
	}},
	{"at random offsets", func(w *filler) {
		for n := range 4 {
			w.file(fmt.Sprintf("r%d", n), func(f *filled) { f.random(fillTotal / 4) })
		}
	}},
}

// filler writes files and remembers what it was told is written.
type filler struct {
	t     *testing.T
	m     *harness.Mount
	r     *rand.ChaCha8
	files map[string][]byte
	full  int           // times that there was no room
	most  time.Duration // the longest write
}

func (w *filler) dice() *rand.Rand { return rand.New(w.r) }

// filled is an open file of a filler.
type filled struct {
	w    *filler
	f    *os.File
	want []byte
	full bool
}

// file makes a file, if there is room for it, and closes it. A close succeeds on a full disk, too.
func (w *filler) file(name string, write func(*filled)) {
	f, err := os.Create(w.m.Path(name))
	if errors.Is(err, syscall.ENOSPC) {
		w.full++
		return
	}
	if err != nil {
		w.t.Fatal(err)
	}
	o := &filled{w: w, f: f}
	write(o)
	if err := f.Close(); err != nil {
		w.t.Errorf("closing %s: %v", name, err)
	}
	w.files[name] = o.want
}

// at writes n random bytes; what write(2) says it took is there, and nothing else has changed.
func (f *filled) at(off int64, n int) {
	p := make([]byte, n)
	_, _ = f.w.r.Read(p) // never fails
	for len(p) > 0 && !f.full {
		began := time.Now()
		k, err := unix.Pwrite(int(f.f.Fd()), p, off)
		f.w.most = max(f.w.most, time.Since(began))
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.ENOSPC):
			f.w.full++
			f.full = true
		case err != nil:
			f.w.t.Fatalf("writing %s at %d: %v", f.f.Name(), off, err)
		default:
			if end := off + int64(k); end > int64(len(f.want)) {
				f.want = append(f.want, make([]byte, end-int64(len(f.want)))...)
			}
			copy(f.want[off:], p[:k])
			p, off = p[k:], off+int64(k)
		}
	}
}

func (f *filled) sequential(total int64) {
	for off := int64(0); off < total && !f.full; off += fillStep {
		f.at(off, fillStep)
	}
}

// random writes total bytes, over a range as large, wherever, most of it not at the ends of pages.
func (f *filled) random(total int64) {
	for done := int64(0); done < total && !f.full; {
		n := 8 * (1 + f.w.dice().IntN(int(min(fillStep, total/2)/8)))
		f.at(f.w.dice().Int64N(total-int64(n)), n)
		done += int64(n)
	}
}

// check reads everything through the mount.
func (w *filler) check() {
	w.t.Helper()
	for name, want := range w.files {
		if err := readBack(w.m.Path(name), want); err != nil {
			w.t.Error(err)
		}
	}
}

// inStore compares the bucket with what was written.
func (w *filler) inStore(s *harness.Store) {
	w.t.Helper()
	if keys := s.Keys(w.t); len(keys) != len(w.files) {
		w.t.Errorf("%d objects, want %d: %.200s", len(keys), len(w.files), strings.Join(keys, " "))
	}
	for name, want := range w.files {
		if got := s.Object(w.t, name).Body; !bytes.Equal(got, want) {
			w.t.Errorf("%s: %d bytes in the store differ from the %d that were written", name, len(got), len(want))
		}
	}
}

// usable does what must work on a full disk: looking, renaming, deleting.
func (w *filler) usable() {
	w.t.Helper()
	began := time.Now()
	var st unix.Statfs_t
	if err := unix.Statfs(w.m.Dir, &st); err != nil {
		w.t.Errorf("df: %v", err)
	}
	if _, err := os.ReadDir(w.m.Dir); err != nil {
		w.t.Errorf("ls: %v", err)
	}
	var names []string
	for name := range w.files {
		names = append(names, name)
	}
	w.rename(names[0], names[0]+"-renamed")
	if len(names) > 2 {
		w.remove(names[1])
	}
	if took := time.Since(began); took > busy {
		w.t.Errorf("looking, renaming and deleting on a full disk took %v", took)
	}
}

// store states under which a workload runs.
var storeStates = []struct {
	name  string
	stall time.Duration // --stall-timeout; that of a store which takes everything passes on no machine
	down  func(*servers.ReverseProxy) error
}{
	{"reachable", 5 * time.Minute, func(*servers.ReverseProxy) error { return nil }},
	{"stalled", fullStall, func(p *servers.ReverseProxy) error { p.Stall(); return nil }},
	{"away", fullStall, func(p *servers.ReverseProxy) error { return p.GoAway() }},
}

// answered is a time in which a store answers if it does: a Swift of one process takes seconds for ten requests at once.
func answered(s *harness.Store) string {
	if s.Swift != nil || s.Kind == harness.SwiftS3 {
		return "1m"
	}
	return "5s"
}

// TestSoakASmallDiskTakesAllOrSaysItIsFull writes four times what the disk of the cache directory has.
func TestSoakASmallDiskTakesAllOrSaysItIsFull(t *testing.T) {
	t.Parallel()
	for _, state := range storeStates {
		for _, load := range workloads {
			t.Run(load.name+", store "+state.name, func(t *testing.T) {
				t.Parallel()
				disk := harness.NewDisk(t, harness.Ext4, fillDisk)
				s, proxy := harness.NewStore(t, harness.InsteadOf(harness.MinIO)).Behind(t)
				m := harness.NewMountOn(t, s, disk, "--stall-timeout", state.stall.String(), "--io-timeout", answered(s), "--writeback", "100ms")
				if _, err := os.ReadDir(m.Dir); err != nil { // what is not known cannot be changed without the store
					t.Fatal(err)
				}
				if err := state.down(proxy); err != nil {
					t.Fatal(err)
				}
				w := &filler{t: t, m: m, r: rand.NewChaCha8([32]byte(fmt.Appendf(nil, "%032d", soak.Seed(t)))), files: map[string][]byte{}}
				load.write(w)
				t.Logf("full %d times, the longest write took %v, %d bytes free", w.full, w.most, disk.Free(t))
				if w.most > state.stall+busy {
					t.Errorf("a write took %v", w.most)
				}
				if state.name == "reachable" && w.full > 0 {
					t.Errorf("no room, %d times, although the store took everything", w.full)
				}
				if state.name != "reachable" && w.full == 0 {
					t.Error("the disk never was full")
				}
				if state.name != "reachable" {
					w.usable()
					w.check()
				}
				if err := proxy.ComeBack(); err != nil {
					t.Fatal(err)
				}
				proxy.Resume()
				m.Flush()
				w.inStore(s)
				w.file("after", func(f *filled) { f.sequential(1 << 20) })
				if len(w.files["after"]) != 1<<20 {
					t.Error("there is no room after everything was stored")
				}
				w.check()
				m.Flush()
				w.inStore(s)
				soak.Record(t, "no room, times; longest write", fmt.Sprintf("%d; %v", w.full, w.most.Round(time.Millisecond)))
			})
		}
	}
}

// TestADiskThatOthersHaveFilledStillStoresAndDeletes fills the disk of the cache directory to the last block.
func TestADiskThatOthersHaveFilledStillStoresAndDeletes(t *testing.T) {
	t.Parallel()
	for _, kind := range []harness.Filesystem{harness.Ext4, harness.Tmpfs} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			disk := harness.NewDisk(t, kind, 48<<20)
			s, proxy := harness.NewStore(t, harness.InsteadOf(harness.MinIO)).Behind(t)
			m := harness.NewMountOn(t, s, disk, "--stall-timeout", "1s", "--io-timeout", answered(s), "--writeback", "100ms")
			w := &filler{t: t, m: m, r: rand.NewChaCha8([32]byte(fmt.Appendf(nil, "%032d", soak.Seed(t)))), files: map[string][]byte{}}
			if _, err := os.ReadDir(m.Dir); err != nil {
				t.Fatal(err)
			}
			if err := proxy.GoAway(); err != nil {
				t.Fatal(err)
			}
			for n := range soak.Count(120, 1000) {
				w.file(fmt.Sprintf("f%03d", n), func(f *filled) { f.at(0, 4096) })
			}
			ballast := filepath.Join(disk.Dir, "ballast")
			fillUp(t, ballast)
			for what, do := range map[string]func() error{
				"a new file":      func() error { return os.WriteFile(m.Path("new"), nil, 0o644) },
				"a new directory": func() error { return os.Mkdir(m.Path("dir"), 0o755) },
				"a new symlink":   func() error { return os.Symlink("target", m.Path("link")) },
			} {
				if err := do(); !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("%s on a full disk: %v", what, err)
				}
			}
			for n := range 60 {
				w.rename(fmt.Sprintf("f%03d", n), fmt.Sprintf("renamed%03d", n))
			}
			fillUp(t, ballast) // what the reserve gave back, and what deleting will give
			for n := range 30 {
				w.remove(fmt.Sprintf("renamed%03d", n))
			}
			w.check()
			if err := proxy.ComeBack(); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			m.Flush() // the catalog takes down what is stored, still on a full disk
			t.Logf("storing it took %v; %d bytes free", time.Since(began), disk.Free(t))
			w.inStore(s)
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			w.file("after", func(f *filled) { f.sequential(1 << 20) })
			m.Flush()
			w.inStore(s)
			if n := len(w.files["after"]); n != 1<<20 {
				t.Errorf("%d bytes were written when there was room again", n)
			}
		})
	}
}

// fillUp appends to a file until the disk has no room.
func fillUp(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for n := 1 << 20; n > 0; {
		if _, err = f.Write(make([]byte, n)); err != nil {
			n /= 2
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func (w *filler) rename(from, to string) {
	w.t.Helper()
	if err := os.Rename(w.m.Path(from), w.m.Path(to)); err != nil {
		w.t.Errorf("mv on a full disk: %v", err)
		return
	}
	w.files[to] = w.files[from]
	delete(w.files, from)
}

func (w *filler) remove(name string) {
	w.t.Helper()
	if err := os.Remove(w.m.Path(name)); err != nil {
		w.t.Errorf("rm on a full disk: %v", err)
		return
	}
	delete(w.files, name)
}

// TestSoakASmallDiskWithRandomSizes fills small disks with files of all sizes while the store comes and goes.
func TestSoakASmallDiskWithRandomSizes(t *testing.T) {
	t.Parallel()
	for n := range soak.Count(1, 16) {
		kind := []harness.Filesystem{harness.Tmpfs, harness.Ext4}[n%2]
		t.Run(fmt.Sprint(kind, n), func(t *testing.T) {
			r := rand.NewChaCha8([32]byte(fmt.Appendf(nil, "%032d", soak.Seed(t))))
			dice := rand.New(r)
			size := int64(24+dice.IntN(72)) << 20
			disk := harness.NewDisk(t, kind, size)
			s, proxy := harness.NewStore(t, harness.InsteadOf(harness.MinIO)).Behind(t)
			m := harness.NewMountOn(t, s, disk, "--stall-timeout", "1s", "--io-timeout", answered(s), "--writeback", "100ms",
				"--stage-size", fmt.Sprint(16<<20+dice.Int64N(size)))
			w := &filler{t: t, m: m, r: r, files: map[string][]byte{}}
			if _, err := os.ReadDir(m.Dir); err != nil {
				t.Fatal(err)
			}
			total := int64(0)
			for n := 0; total < size*int64(soak.Count(2, 6)); n++ {
				w.weather(proxy)
				large := int64(8) << (7 + dice.IntN(13)) // 1 KiB to 4 MiB
				if dice.IntN(8) == 0 {
					large = size / int64(1+dice.IntN(4)) // to more than the disk has
				}
				w.file(fmt.Sprintf("f%04d", n), func(f *filled) {
					if dice.IntN(3) == 0 {
						f.random(large)
					} else {
						f.sequential(large)
					}
				})
				total += large
				if len(w.files) > 20 {
					for name := range w.files {
						w.remove(name)
						break
					}
				}
			}
			if err := proxy.ComeBack(); err != nil {
				t.Fatal(err)
			}
			proxy.Resume()
			m.Flush()
			w.inStore(s)
			w.check()
			soak.Record(t, "disk, written, no room", fmt.Sprintf("%d MiB, %d MiB, %d times", size>>20, total>>20, w.full))
		})
	}
}

// weather lets the store come and go.
func (w *filler) weather(p *servers.ReverseProxy) {
	w.t.Helper()
	switch w.dice().IntN(12) {
	case 0:
		p.Stall()
	case 1:
		if err := p.GoAway(); err != nil {
			w.t.Fatal(err)
		}
	case 2, 3, 4, 5:
		if err := p.ComeBack(); err != nil {
			w.t.Fatal(err)
		}
		p.Resume()
	}
}

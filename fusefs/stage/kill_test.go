package stage

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sharefs/test/soak"
)

// childEnv is the environment that makes the test binary the child of TestSoakAKilledProcessLosesNoChangeThatReturned: "seed
// directory".
const childEnv = "STAGE_TEST_CHILD"

func TestMain(m *testing.M) {
	soak.FixRapid()
	if args := os.Getenv(childEnv); args != "" {
		if err := killedChild(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

const killPages = 300

func killObject(seed uint64) []byte { return pattern(seed, killPages*page+123) }

// change is one random change of a file. apply does it to the model, do to a File.
type change struct {
	kind     int
	off, len int64
	bytes    uint64
}

func drawChange(r *rand.Rand) change {
	return change{r.IntN(10), r.Int64N((killPages + 4) * page), 1 + r.Int64N(12*page), r.Uint64()}
}

// normal draws a change with whole pages in a third of the cases.
func (c change) normal() change {
	if c.bytes%3 == 0 {
		c.off, c.len = c.off/page*page, pageUp(c.len)
	}
	return c
}

func (c change) apply(content []byte) []byte {
	switch c = c.normal(); c.kind {
	case 0:
		return resize(content, c.off)
	case 1:
		content = bytes.Clone(content)
		if end := min(c.off+c.len, int64(len(content))); c.off < end {
			clear(content[c.off:end])
		}
		return content
	default:
		return put(bytes.Clone(content), pattern(c.bytes, c.len), c.off)
	}
}

func (c change) do(f *File) error {
	switch c = c.normal(); c.kind {
	case 0:
		return f.Truncate(bg, c.off)
	case 1:
		return f.Allocate(bg, c.off, c.len, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE)
	default:
		_, err := f.WriteAt(bg, pattern(c.bytes, c.len), c.off)
		return err
	}
}

// killedChild changes a partly present file until it is killed, and says so on stdout after each change. Readers make
// it fetch at the same time.
func killedChild(args string) error {
	var seed uint64
	var dir string
	if _, err := fmt.Sscanf(args, "%d %s", &seed, &dir); err != nil {
		return err
	}
	s, err := Open(dir, Options{FillSize: 4 * page})
	if err != nil {
		return err
	}
	s.limits.smallFile, s.limits.fillChunk = 0, 4*page
	f, err := s.Load(1, (&memBase{content: killObject(seed)}).load)
	if err != nil {
		return err
	}
	go func() {
		for p := make([]byte, 2*page); ; {
			f.ReadAt(bg, p, rand.Int64N(killPages*page))
		}
	}()
	r := rand.New(rand.NewPCG(seed, 2))
	for n := 1; ; n++ {
		if err := drawChange(r).do(f); err != nil {
			return err
		}
		if _, err := fmt.Println(n); err != nil {
			return err
		}
	}
}

func TestSoakAKilledProcessLosesNoChangeThatReturned(t *testing.T) {
	kills := soak.Count(4, 200)
	start := soak.Seed(t)
	for i := range kills {
		seed := start + uint64(i)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { killOnce(t, seed) })
	}
}

func killOnce(t *testing.T, seed uint64) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	object := killObject(seed)
	f, err := s.Adopt(1, int64(len(object)), nil, &memBase{content: object})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	aim := rand.New(rand.NewPCG(seed, 3)).IntN(400)
	returned := killChild(t, seed, dir, aim)

	// The change after the last one that returned may be there, wholly or in part.
	r := rand.New(rand.NewPCG(seed, 2))
	before := object
	for range returned {
		before = drawChange(r).apply(before)
	}
	last := drawChange(r)
	after := last.apply(before)

	f, err = s.Load(1, (&memBase{content: object}).load)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, f)
	size := f.Size()
	if low, high := min(len(before), len(after)), max(len(before), len(after)); size < int64(low) || size > int64(high) {
		t.Fatalf("after %d changes and %+v the size is %d, want %d or %d", returned, last, size, len(before), len(after))
	}
	got := make([]byte, size)
	if n, err := f.ReadAt(bg, got, 0); err != nil || int64(n) != size {
		t.Fatalf("read: %d, %v", n, err)
	}
	for i, b := range got {
		if (i >= len(before) || b != before[i]) && (i >= len(after) || b != after[i]) {
			t.Fatalf("after %d changes byte %d (page %d) is %#x, want that of before or after %+v", returned, i, i/page, b, last)
		}
	}
	t.Logf("%d changes, then %+v", returned, last.normal())
}

// killChild runs the child, kills it after aim changes, and returns how many changes have returned in it.
func killChild(t *testing.T, seed uint64, dir string, aim int) int {
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0])
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", childEnv, seed, dir))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	returned := 0
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if returned, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatal(err)
		}
		if returned == aim || aim == 0 {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil || ctx.Err() != nil {
		t.Fatalf("the child was not killed by us: %v", err)
	}
	if returned < aim {
		t.Fatalf("the child ended after %d changes, before it was killed", returned)
	}
	return returned
}

package test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"sharefs/test/harness"
	"sharefs/test/soak"
)

// bigEntry is an entry of a directory as getdents64(2) tells it.
type bigEntry struct {
	name string
	next int64 // the offset to go on after it
}

// readSome reads entries of a directory from where it stands; none at its end.
func readSome(t *testing.T, fd int) []bigEntry {
	t.Helper()
	buf := make([]byte, 32<<10)
	n, err := unix.Getdents(fd, buf)
	if err != nil {
		t.Fatal(err)
	}
	var list []bigEntry
	for buf = buf[:n]; len(buf) > 0; {
		size := binary.NativeEndian.Uint16(buf[16:])
		name, _, _ := strings.Cut(string(buf[19:size]), "\x00")
		list = append(list, bigEntry{name, int64(binary.NativeEndian.Uint64(buf[8:]))})
		buf = buf[size:]
	}
	return list
}

// TestSoakALargeDirectoryIsReadWhileItChanges reads a large directory (100,000 files in make soak) in small pieces while others make, rename and
// remove files in it. What is there all the time is seen once; and an offset that was told stays good.
func TestSoakALargeDirectoryIsReadWhileItChanges(t *testing.T) {
	t.Parallel()
	files := soak.Count(20_000, 100_000)
	soak.Record(t, "entries", files)
	s := harness.NewStore(t, harness.File)
	dir := filepath.Join(s.Dir, "big")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("stays-%06d", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m := harness.NewMount(t, s)
	fd, err := unix.Open(m.Path("big"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	writers.Go(func() { churn(t, m.Path("big"), stop) })
	marks := readAll(t, fd, files)
	for i := range 5 {
		mark := marks[(2*i+1)*len(marks)/10]
		if _, err := unix.Seek(fd, mark.at, 0); err != nil {
			t.Fatal(err)
		}
		if got := nextStaying(t, fd); got != mark.name {
			t.Errorf("from the offset %d the next file is %s, was %s", mark.at, got, mark.name)
		}
	}
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		t.Fatal(err)
	}
	readAll(t, fd, files)
	close(stop)
	writers.Wait()
}

// mark is an offset in a directory and the next file that stays.
type mark struct {
	at   int64
	name string
}

// readAll reads a directory to its end, checks that it sees every file that stays once, and returns offsets with the name of
// the next of those.
func readAll(t *testing.T, fd, files int) (marks []mark) {
	t.Helper()
	seen := make(map[string]int, files)
	at := int64(-1) // of the last entry of the piece before
	for {
		list := readSome(t, fd)
		if len(list) == 0 {
			break
		}
		for _, e := range list {
			if !strings.HasPrefix(e.name, "stays-") {
				continue
			}
			seen[e.name]++
			if at >= 0 {
				marks = append(marks, mark{at, e.name})
				at = -1
			}
		}
		at = list[len(list)-1].next
	}
	if len(seen) != files {
		t.Errorf("%d of %d files were seen", len(seen), files)
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("%s was seen %d times", name, n)
		}
	}
	return marks
}

// nextStaying returns the next file that stays.
func nextStaying(t *testing.T, fd int) string {
	t.Helper()
	for {
		list := readSome(t, fd)
		if len(list) == 0 {
			return ""
		}
		for _, e := range list {
			if strings.HasPrefix(e.name, "stays-") {
				return e.name
			}
		}
	}
}

// churn makes, renames and removes files in a directory.
func churn(t *testing.T, dir string, stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		name := filepath.Join(dir, fmt.Sprintf("goes-%d", i))
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Error(err)
			return
		}
		if err := os.Rename(name, name+"-renamed"); err != nil {
			t.Error(err)
			return
		}
		if i%2 == 0 {
			if err := os.Remove(name + "-renamed"); err != nil {
				t.Error(err)
				return
			}
		}
	}
}

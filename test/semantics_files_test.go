package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sharefs/test/harness"
)

// open opens a file of a place for reading and writing, making it when it is missing.
func (p *place) open(t *testing.T, name string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(p.path(name), os.O_RDWR|os.O_CREATE|flags, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

var contentsSection = map[string]statement{
	"F1": {do: func(t *testing.T, p *place) {
		p.write(t, "f", "0123456789")
		f := p.open(t, "f", 0)
		mapped, err := unix.Mmap(int(f.Fd()), 0, 10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		harness.Script(t, p.path(""), "printf X | dd of=f bs=1 seek=3 conv=notrunc status=none")
		if string(mapped) != "012X456789" {
			t.Errorf("the mapping has %q", mapped)
		}
		mapped[5] = 'Y'
		if got := harness.Script(t, p.path(""), "cat f"); got != "012X4Y6789" {
			t.Errorf("another process reads %q", got)
		}
		if err := unix.Munmap(mapped); err != nil {
			t.Error(err)
		}
	}, see: []string{"test.TestSoakRandomAccessIsAsOnADisk"}},
	"F2": {do: func(t *testing.T, p *place) {
		a, b := p.open(t, "f", os.O_APPEND), p.open(t, "f", os.O_APPEND)
		for i := range 6 {
			f := []*os.File{a, b}[i%2]
			if _, err := fmt.Fprint(f, i); err != nil {
				t.Fatal(err)
			}
		}
		p.has(t, "f", "012345")
	}},
	"F3": {do: func(t *testing.T, p *place) {
		f := p.open(t, "f", 0)
		if _, err := f.WriteAt([]byte("x"), 1<<20); err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(2 << 20); err != nil {
			t.Fatal(err)
		}
		wantSeek(t, f, 0, unix.SEEK_DATA, 1<<20)
		wantSeek(t, f, 0, unix.SEEK_HOLE, 0)
		wantSeek(t, f, 1<<20, unix.SEEK_HOLE, 1<<20+4096)
		if _, err := unix.Seek(int(f.Fd()), 1<<20+4096, unix.SEEK_DATA); err != unix.ENXIO {
			t.Errorf("behind the last data: %v, want ENXIO", err)
		}
		if st := lstat(t, p.path("f")); st.Blocks != 8 {
			t.Errorf("it takes %d blocks of 512 bytes", st.Blocks)
		}
	}, later: func(t *testing.T, p *place) {
		f := p.open(t, "f", 0)
		wantSeek(t, f, 0, unix.SEEK_DATA, 0)
		wantSeek(t, f, 0, unix.SEEK_HOLE, 2<<20)
		want := make([]byte, 2<<20)
		want[1<<20] = 'x'
		if b, err := os.ReadFile(p.path("f")); err != nil || !bytes.Equal(b, want) {
			t.Errorf("the file is another one: %v", err)
		}
		if p.stored(t, "f") != string(want) {
			t.Error("the object is another one")
		}
	}},
	"F4": {do: checkFallocate},
	"F5": {do: func(t *testing.T, p *place) {
		f, err := os.OpenFile(p.path(""), unix.O_TMPFILE|os.O_RDWR, 0o640)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString("content"); err != nil {
			t.Fatal(err)
		}
		if entries, err := os.ReadDir(p.path("")); err != nil || len(entries) != 0 {
			t.Errorf("the directory has %v, %v", entries, err)
		}
		link := func(name string) error {
			return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, p.path(name), unix.AT_SYMLINK_FOLLOW)
		}
		p.write(t, "taken", "")
		fails(t, "a name that is taken", link("taken"), unix.EEXIST)
		if err := link("name"); err != nil {
			t.Error(err)
		}
		fails(t, "a second name", link("second"), unix.EPERM)
		p.has(t, "name", "content")
		if st := lstat(t, p.path("name")); st.Mode != unix.S_IFREG|0o640 || st.Nlink != 1 {
			t.Errorf("mode %o, %d links", st.Mode, st.Nlink)
		}
		g, err := os.OpenFile(p.path(""), unix.O_TMPFILE|unix.O_EXCL|os.O_RDWR, 0o640)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", g.Fd()), unix.AT_FDCWD, p.path("never"), unix.AT_SYMLINK_FOLLOW)
		fails(t, "with O_EXCL", err, unix.ENOENT)
	}, later: func(t *testing.T, p *place) {
		p.has(t, "name", "content")
		if entries, err := os.ReadDir(p.path("")); err != nil || len(entries) != 2 {
			t.Errorf("the directory has %v, %v", entries, err)
		}
	}},
	"F6": {do: func(t *testing.T, p *place) {
		f := p.open(t, "f", 0)
		if err := os.Remove(p.path("f")); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("still there"), 0); err != nil {
			t.Error(err)
		}
		b := make([]byte, 11)
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != "still there" {
			t.Errorf("%q, %v", b, err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Nlink != 0 || st.Size != 11 {
			t.Errorf("%d links, %d bytes, %v", st.Nlink, st.Size, err)
		}
	}, later: func(t *testing.T, p *place) {
		if keys := keysBelow(t, p); len(keys) != 0 {
			t.Errorf("the store has %q", keys)
		}
	}, see: []string{"fusefs/tree.TestAnUnlinkedFileIsReadToItsEnd"}},
	"F7": {do: func(t *testing.T, p *place) {
		f := p.open(t, "f", unix.O_DIRECT)
		if _, err := f.WriteAt([]byte("odd"), 7); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 3)
		if _, err := f.ReadAt(b, 7); err != nil || string(b) != "odd" {
			t.Errorf("%q, %v", b, err)
		}
	}},
	"F8": {do: func(t *testing.T, p *place) {
		p.write(t, "f", "content")
		from, to := p.open(t, "f", 0), p.open(t, "g", 0)
		if n, err := unix.CopyFileRange(int(from.Fd()), nil, int(to.Fd()), nil, 100, 0); n != 7 || err != nil {
			t.Errorf("copied %d bytes, %v", n, err)
		}
		p.has(t, "g", "content")
		fails(t, "clone", unix.IoctlFileClone(int(to.Fd()), int(from.Fd())), unix.EOPNOTSUPP)
	}},
	"F9": {do: func(t *testing.T, p *place) {
		f := p.open(t, "f", 0)
		want := unix.EFBIG
		if p.m.Store.Kind == harness.File {
			want = unix.ENOSPC // its largest object is larger than any disk
		}
		fails(t, "a long file", f.Truncate(1<<52), want)
		if st := lstat(t, p.path("f")); st.Size != 0 {
			t.Errorf("it has %d bytes now", st.Size)
		}
	}},
	"F10": {do: func(t *testing.T, p *place) {
		harness.Script(t, p.path(""), "cp /bin/sleep run; chmod +x run")
		cmd := exec.Command(p.path("run"), "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
		_, err := os.OpenFile(p.path("run"), os.O_WRONLY, 0)
		fails(t, "writing to a running program", err, unix.ETXTBSY)
	}},
	"F11": {do: func(t *testing.T, p *place) {
		f := p.open(t, "f", 0)
		_, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
		fails(t, "lsattr", err, unix.ENOTTY)
		const fiemap = 0xc020660b // FS_IOC_FIEMAP. The kernel refuses it before it looks at the argument.
		fails(t, "filefrag", unix.IoctlSetInt(int(f.Fd()), fiemap, 0), unix.EOPNOTSUPP)
	}},
	"F12": {do: func(t *testing.T, p *place) {
		f := p.open(t, "f", 0)
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		fails(t, "flock", unix.Flock(int(p.open(t, "f", 0).Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
		lock := unix.Flock_t{Type: unix.F_WRLCK, Len: 10}
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
			t.Fatal(err)
		}
		fails(t, "fcntl", unix.FcntlFlock(p.open(t, "f", 0).Fd(), unix.F_OFD_SETLK, &lock), unix.EAGAIN)
	}},
	"F13": {do: func(t *testing.T, p *place) {
		watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(watch)
		if _, err := unix.InotifyAddWatch(watch, p.path(""), unix.IN_CREATE); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		p.m.Flush() // so that the store has the directory
		p.m.Store.Seed(t, p.dir+"/foreign", false, []byte("x"))
		time.Sleep(50 * time.Millisecond)
		if n, err := unix.Read(watch, buf); err != unix.EAGAIN {
			t.Errorf("an event of %d bytes for what another program made, %v", n, err)
		}
		p.write(t, "own", "")
		if n, err := unix.Read(watch, buf); err != nil || !strings.Contains(string(buf[:n]), "own") {
			t.Errorf("no event for what was made here: %v", err)
		}
	}},
	"F14": {do: func(t *testing.T, p *place) {
		most := strings.TrimSpace(string(must(os.ReadFile("/proc/sys/fs/nr_open"))))
		if exec.Command("/bin/sh", "-c", "ulimit -n "+most).Run() != nil { // not even root may, as in some containers
			most = strings.TrimSpace(harness.Script(t, "/", "ulimit -Hn"))
		}
		limits := string(must(os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.m.Status().PID))))
		_, line, _ := strings.Cut(limits, "Max open files")
		if f := strings.Fields(line); len(f) < 2 || f[0] != most || f[1] != most {
			t.Errorf("the daemon may have %.20s files open, want %s", line, most)
		}
	}, see: []string{"fusefs.TestErrorsBecomeTheErrnoThatProgramsExpect"}},
}

// must returns a value whose error cannot be.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func wantSeek(t *testing.T, f *os.File, off int64, whence int, want int64) {
	t.Helper()
	if got, err := unix.Seek(int(f.Fd()), off, whence); err != nil || got != want {
		t.Errorf("lseek(%d, %d): %d, %v; want %d", off, whence, got, err, want)
	}
}

// checkFallocate tries all modes on a file of 64 KiB.
func checkFallocate(t *testing.T, p *place) {
	const size = 64 << 10
	f := p.open(t, "f", 0)
	content := bytes.Repeat([]byte("x"), size)
	if _, err := f.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name     string
		mode     uint32
		off, len int64
		want     error
		size     int64 // afterwards
	}{
		{"keep size", unix.FALLOC_FL_KEEP_SIZE, size, 4096, nil, size},
		{"punch", unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, 5000, 10_000, nil, size},
		{"zero", unix.FALLOC_FL_ZERO_RANGE, 30_000, 1000, nil, size},
		{"zero beyond the end", unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE, size - 10, 1000, nil, size},
		{"grow", 0, size, 4096, nil, size + 4096},
		{"collapse", unix.FALLOC_FL_COLLAPSE_RANGE, 0, 4096, unix.EOPNOTSUPP, size + 4096},
		{"insert", unix.FALLOC_FL_INSERT_RANGE, 0, 4096, unix.EOPNOTSUPP, size + 4096},
		{"unshare", unix.FALLOC_FL_UNSHARE_RANGE, 0, 4096, unix.EOPNOTSUPP, size + 4096},
	} {
		if err := unix.Fallocate(int(f.Fd()), tc.mode, tc.off, tc.len); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
		if st := lstat(t, p.path("f")); st.Size != tc.size {
			t.Errorf("%s: %d bytes, want %d", tc.name, st.Size, tc.size)
		}
	}
	clear(content[5000:15_000])
	clear(content[30_000:31_000])
	clear(content[size-10:])
	p.has(t, "f", string(append(content, make([]byte, 4096)...)))
}

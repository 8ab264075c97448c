package test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"sharefs/test/harness"
	"sharefs/test/soak"
)

// user is who makes a call.
type user struct {
	id     int
	groups []uint32
}

var users = []user{{0, nil}, {4001, nil}, {4002, []uint32{4001, 4003}}, {4003, []uint32{7}}}

// become makes the thread somebody else in the eyes of filesystems. It is root for a moment, which it must have been once.
func (u user) become() error {
	groups := append([]uint32{0}, u.groups...)[1:]
	for _, call := range [][4]uintptr{
		{unix.SYS_SETRESUID, keep, 0, keep},
		{unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups)))},
		{unix.SYS_SETRESGID, keep, uintptr(u.id), keep},
		{unix.SYS_SETRESUID, keep, uintptr(u.id), keep},
	} {
		if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
			return errno
		}
	}
	runtime.KeepAlive(groups)
	return nil
}

// keep is the id that setresuid(2) and setresgid(2) leave as it is.
const keep = ^uintptr(0)

// call is one call on a path or two, and what it tells besides an error.
type call struct {
	name string
	do   func(a, b string) (string, error)
}

// randomCall draws a call with its arguments, the same for both sides.
func randomCall(r *rand.Rand) call {
	mode := uint32([]int{0, 0o600, 0o640, 0o644, 0o755, 0o777, 0o1777, 0o2755, 0o2777, 0o4711, 0o6777, 0o311, 0o444}[r.IntN(13)])
	uid, gid := []int{-1, 0, 4001, 4002, 4003}[r.IntN(5)], []int{-1, 0, 4001, 4002, 4003}[r.IntN(5)]
	size := []int64{0, 1, 100, 4096, 5000}[r.IntN(5)]
	flags := []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR | unix.O_APPEND, unix.O_WRONLY | unix.O_TRUNC, unix.O_RDWR | unix.O_CREAT, unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL,
		unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC, unix.O_DIRECTORY, unix.O_NOFOLLOW, unix.O_CREAT | unix.O_NOFOLLOW | unix.O_WRONLY}[r.IntN(10)]
	times := []unix.Timespec{{Sec: r.Int64N(longAgo), Nsec: r.Int64N(1e9)}, {Sec: -r.Int64N(1_000_000), Nsec: r.Int64N(1e9)}, {Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_NOW}}
	atime, mtime := times[r.IntN(4)], times[r.IntN(4)]
	renameFlags := []uint{0, 0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE, unix.RENAME_EXCHANGE | unix.RENAME_NOREPLACE}[r.IntN(6)]
	attr, value := []string{"user.a", "user.b", "user.", "user"}[r.IntN(4)], strings.Repeat("v", r.IntN(40))
	xattrFlags := []int{0, unix.XATTR_CREATE, unix.XATTR_REPLACE}[r.IntN(3)]
	target := []string{"a", "b", "c", "a/b", "./c"}[r.IntN(5)]
	plain := func(f func(string) error) func(a, b string) (string, error) {
		return func(a, _ string) (string, error) { return "", f(a) }
	}
	calls := []call{
		{fmt.Sprintf("mkdir %o", mode), plain(func(a string) error { return unix.Mkdir(a, mode) })},
		{fmt.Sprintf("open %x %o", flags, mode), plain(func(a string) error { return openWrite(a, flags, mode, size) })},
		{"unlink", plain(unix.Unlink)},
		{"rmdir", plain(unix.Rmdir)},
		{fmt.Sprintf("rename %d", renameFlags), func(a, b string) (string, error) { return "", rename2(a, b, renameFlags) }},
		{"symlink to " + target, plain(func(a string) error { return unix.Symlink(target, a) })},
		{"readlink", func(a, _ string) (string, error) { return os.Readlink(a) }},
		{fmt.Sprintf("chmod %o", mode), plain(func(a string) error { return unix.Chmod(a, mode) })},
		{fmt.Sprintf("chown %d %d", uid, gid), plain(func(a string) error { return unix.Chown(a, uid, gid) })},
		{fmt.Sprintf("lchown %d %d", uid, gid), plain(func(a string) error { return unix.Lchown(a, uid, gid) })},
		{fmt.Sprintf("truncate %d", size), plain(func(a string) error { return unix.Truncate(a, size) })},
		{fmt.Sprintf("utimens %v %v", atime, mtime), plain(func(a string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, a, []unix.Timespec{atime, mtime}, 0) })},
		{fmt.Sprintf("setxattr %s %d", attr, xattrFlags), plain(func(a string) error { return unix.Setxattr(a, attr, []byte(value), xattrFlags) })},
		{"getxattr " + attr, func(a, _ string) (string, error) { return xattr(a, attr) }},
		{"removexattr " + attr, plain(func(a string) error { return unix.Removexattr(a, attr) })},
		{"readdir", func(a, _ string) (string, error) { return names(a) }},
		{fmt.Sprintf("access %o", mode&7), plain(func(a string) error { return unix.Faccessat(unix.AT_FDCWD, a, mode&7, unix.AT_EACCESS) })},
	}
	return calls[r.IntN(len(calls))]
}

// openWrite opens a file, and writes to it if that is how it is opened.
func openWrite(path string, flags int, mode uint32, size int64) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, mode)
	if err != nil {
		return err
	}
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		_, err = unix.Write(fd, make([]byte, size))
	}
	return errors.Join(err, unix.Close(fd))
}

func xattr(path, name string) (string, error) {
	buf := make([]byte, 100)
	n, err := unix.Getxattr(path, name, buf)
	return string(buf[:max(n, 0)]), err
}

func names(path string) (string, error) {
	d, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer d.Close()
	list, err := d.Readdirnames(0)
	slices.Sort(list)
	return fmt.Sprint(list), err
}

// randomPath draws one of few paths, so that calls meet each other.
func randomPath(r *rand.Rand) string {
	path := []string{"a", "b", "c"}[r.IntN(3)]
	for r.IntN(3) > 0 && len(path) < 6 {
		path += "/" + []string{"a", "b", "c"}[r.IntN(3)]
	}
	return path + []string{"", "", "", "", "", "", "/", "/.", "/.."}[r.IntN(9)]
}

// longAgo is before all times that are not set by the test, in seconds.
const longAgo = 1_000_000_000

// described tells all that both sides must have alike of a name. A directory's links and size are its filesystem's own, and
// so are the times of access of what is read.
func described(path string) string {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("mode %o of %d:%d", st.Mode, st.Uid, st.Gid)
	times := []unix.Timespec{st.Mtim}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		times = append(times, st.Atim)
		fallthrough
	case unix.S_IFLNK:
		text += fmt.Sprintf(", %d bytes, %d links", st.Size, st.Nlink)
	}
	for _, at := range times {
		if at.Sec < longAgo {
			text += fmt.Sprintf(", %d.%09d", at.Sec, at.Nsec)
		}
	}
	return text
}

// TestSoakCallsAreAnsweredAsOnADisk makes random calls, by several users, in a mount and in a directory of the local disk,
// and compares the answers and what came of them.
func TestSoakCallsAreAnsweredAsOnADisk(t *testing.T) {
	t.Parallel()
	steps := soak.Count(2000, 100_000)
	for _, kind := range harness.KindsOr(harness.MinIO) {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			seed := soak.Seed(t)
			m := harness.NewMount(t, harness.NewStore(t, kind), "--allow-other", "--writeback", "50ms")
			letOthersReach(t, m.Dir)
			disk := t.TempDir()
			letOthersReach(t, disk)
			for _, dir := range []string{m.Dir, disk} {
				if err := os.Chmod(dir, 0o777); err != nil {
					t.Fatal(err)
				}
			}
			done := make(chan error)
			go func() {
				runtime.LockOSThread() // it ends with the goroutine
				done <- compareCalls(rand.New(rand.NewPCG(seed, 0)), steps, m.Dir, disk)
			}()
			if err := <-done; err != nil {
				t.Error(err)
			}
			soak.Record(t, "calls by four users", steps)
		})
	}
}

func compareCalls(r *rand.Rand, steps int, mounted, disk string) error {
	var log []string
	for range steps {
		who, c, a, b := users[r.IntN(len(users))], randomCall(r), randomPath(r), randomPath(r)
		line := fmt.Sprintf("%d: %s %s (%s)", who.id, c.name, a, b)
		log = append(log, line)
		if len(log) > 30 {
			log = log[1:]
		}
		if err := who.become(); err != nil {
			return err
		}
		got, gotErr := c.do(mounted+"/"+a, mounted+"/"+b)
		want, wantErr := c.do(disk+"/"+a, disk+"/"+b)
		if err := users[0].become(); err != nil {
			return err
		}
		if got != want || errno(gotErr) != errno(wantErr) {
			return fmt.Errorf("%s: %q, %v; on the disk %q, %v\nbefore:\n%s", line, got, gotErr, want, wantErr, strings.Join(log, "\n"))
		}
		for _, p := range []string{a, b} {
			if got, want := described(mounted+"/"+p), described(disk+"/"+p); got != want {
				return fmt.Errorf("%s: then %s is %s; on the disk %s\nbefore:\n%s", line, p, got, want, strings.Join(log, "\n"))
			}
		}
	}
	return nil
}

func errno(err error) unix.Errno {
	var e unix.Errno
	errors.As(err, &e)
	return e
}

package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWhatTheKernelKnowsCostsNoRequest(t *testing.T) {
	m := mountModel(t, serveSpec{})
	file := filepath.Join(m.dir, "file")
	write(t, file, "content")
	stat(t, file)
	read(t, file)
	if err := os.Symlink("file", filepath.Join(m.dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		want map[string]int
		do   func()
	}{
		{"stat of a known file", nil, func() { stat(t, file) }},
		{"a name that is known to be missing", nil, func() {
			for range 5 {
				if _, err := os.Stat(filepath.Join(m.dir, "missing")); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("got %v", err)
				}
			}
		}},
		{"reading what was read", map[string]int{"open": 1, "release": 1}, func() { read(t, file) }},
		{"a symlink that was followed", map[string]int{"open": 1, "release": 1}, func() { read(t, filepath.Join(m.dir, "link")) }},
		{"a directory that was read", nil, func() {
			if _, err := os.ReadDir(m.dir); err != nil {
				t.Error(err)
			}
		}},
		{"opening with O_TRUNC", map[string]int{"open": 1, "flush": 1, "release": 1}, func() {
			f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}},
		{"labels and access control lists", nil, func() {
			for _, name := range []string{"security.capability", "security.selinux", "system.posix_acl_access", "trusted.x"} {
				if _, err := unix.Getxattr(file, name, nil); err != unix.EOPNOTSUPP {
					t.Errorf("getxattr %s: %v", name, err)
				}
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			// The first time the kernel may have to ask.
			tc.do()
			m.costs(t, tc.want, tc.do)
		})
	}
}

func TestAttributesFollowOurOwnChanges(t *testing.T) {
	m := mountModel(t, serveSpec{})
	file := filepath.Join(m.dir, "file")
	write(t, file, "")
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	old := stat(t, file)
	for i := 1; i <= 3; i++ {
		if _, err := f.Write(make([]byte, 10_000)); err != nil {
			t.Fatal(err)
		}
		st := stat(t, file)
		if want := int64(i * 10_000); st.Size != want || st.Blocks != (want+511)/512 {
			t.Errorf("after %d bytes: size %d, blocks %d", want, st.Size, st.Blocks)
		}
		if st.Mtim.Nano() <= old.Mtim.Nano() || st.Ctim.Nano() <= old.Ctim.Nano() {
			t.Errorf("the times did not advance: %v, %v", st.Mtim, st.Ctim)
		}
		old = st
	}
	if err := f.Truncate(5); err != nil {
		t.Fatal(err)
	}
	if st := stat(t, file); st.Size != 5 || st.Blocks != 1 {
		t.Errorf("after truncation: size %d, blocks %d", st.Size, st.Blocks)
	}
	dir := stat(t, m.dir)
	if err := os.Mkdir(filepath.Join(m.dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if st := stat(t, m.dir); st.Nlink != dir.Nlink+1 || st.Mtim.Nano() <= dir.Mtim.Nano() {
		t.Errorf("after mkdir: %d links, modified %v", st.Nlink, st.Mtim)
	}
}

var nobody = &syscall.Credential{Uid: 65534, Gid: 65534}

// asNobody runs a shell command as an unprivileged user.
func asNobody(t *testing.T, script string) {
	t.Helper()
	asUser(t, nobody, script)
}

// asUser runs a shell command as somebody.
func asUser(t *testing.T, who *syscall.Credential, script string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// asNobodys makes a system call on a thread of that user, which ends with it.
func asNobodys(t *testing.T, call func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		for _, id := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, errno := unix.RawSyscall(id, 65534, 65534, 65534); errno != 0 {
				done <- errno
				return
			}
		}
		done <- call()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// publicDir returns a temporary directory that every user can reach.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fusefs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSetUserIDIsCleared(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root, to be another user")
	}
	m := mountModel(t, serveSpec{Dir: publicDir(t), AllowOther: true})
	file := filepath.Join(m.dir, "file")
	for _, tc := range []struct {
		name     string
		mode     uint32
		do       func()
		wantMode uint32
	}{
		{"write by a user", 0o6777, func() { asNobody(t, "echo more >> "+file) }, 0o777},
		{"truncation at open by a user", 0o6777, func() { asNobody(t, ": > "+file) }, 0o777},
		{"truncate by a user", 0o6777, func() { asNobody(t, "truncate -s 3 "+file) }, 0o777},
		{"write by a user of another group", 0o6767, func() { asNobody(t, "echo more >> "+file) }, 0o767},
		{"set-group-id without execution stays for its group", 0o6767, func() {
			if err := os.Chown(file, 0, 65534); err != nil {
				t.Fatal(err)
			}
			if err := unix.Chmod(file, 0o6767); err != nil {
				t.Fatal(err)
			}
			asNobody(t, "echo more >> "+file)
		}, 0o2767},
		{"and for those who have it as another group", 0o6767, func() {
			if err := os.Chown(file, 0, 4711); err != nil {
				t.Fatal(err)
			}
			if err := unix.Chmod(file, 0o6767); err != nil {
				t.Fatal(err)
			}
			asUser(t, &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{7, 4711}}, "echo more >> "+file)
		}, 0o2767},
		{"allocation by a user", 0o6777, func() { asNobody(t, "fallocate -l 10 "+file) }, 0o777},
		{"write by root keeps it", 0o6777, func() { write(t, file, "root") }, 0o6777},
		{"chown", 0o6777, func() { chown(t, file, 65534) }, 0o777},
		{"chown that changes nothing", 0o6777, func() {
			if err := os.Chown(file, -1, -1); err != nil {
				t.Fatal(err)
			}
		}, 0o777},
		{"chown that changes nothing, by another user", 0o6777, func() {
			asNobodys(t, func() error { return unix.Chown(file, -1, -1) })
		}, 0o6777},
		{"creation that would truncate", 0o777, func() {
			if err := errors.Join(os.Remove(file), os.Chmod(m.dir, 0o777)); err != nil {
				t.Fatal(err)
			}
			asNobodys(t, func() error {
				fd, err := unix.Open(file, unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY, 0o2770)
				return errors.Join(err, unix.Close(fd))
			})
		}, 0o2750},
		{"reading keeps it", 0o6777, func() { asNobody(t, "cat "+file) }, 0o6777},
	} {
		t.Run(tc.name, func(t *testing.T) {
			write(t, file, "content")
			chown(t, file, 0)
			if err := unix.Chmod(file, tc.mode); err != nil {
				t.Fatal(err)
			}
			stat(t, file)
			tc.do()
			// The mode alone: the kernel must not answer from what it knew before.
			var stx unix.Statx_t
			if err := unix.Statx(unix.AT_FDCWD, file, 0, unix.STATX_MODE, &stx); err != nil {
				t.Fatal(err)
			}
			if got := uint32(stx.Mode) & 0o7777; got != tc.wantMode {
				t.Errorf("mode %o, want %o", got, tc.wantMode)
			}
		})
	}
}

func chown(t *testing.T, file string, uid int) {
	t.Helper()
	if err := os.Chown(file, uid, 0); err != nil {
		t.Fatal(err)
	}
}

func TestUserWritesWithoutCostInChanges(t *testing.T) {
	m := mountModel(t, serveSpec{Dir: publicDir(t), AllowOther: true})
	file := filepath.Join(m.dir, "file")
	write(t, file, "content")
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	before := m.calls(t)
	asNobody(t, "echo more >> "+file)
	if n := m.calls(t)["setattr"] - before["setattr"]; n != 0 {
		t.Errorf("a write changed attributes %d times", n)
	}
}

func TestPermissionsAreTheKernels(t *testing.T) {
	m := mountModel(t, serveSpec{Dir: publicDir(t), AllowOther: true})
	file := filepath.Join(m.dir, "secret")
	write(t, file, "secret")
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	asNobody(t, "! cat "+file+" && ! touch "+m.dir+"/new")
}

func TestNewFilesHaveOwnerAndMaskedMode(t *testing.T) {
	m := mountModel(t, serveSpec{Dir: publicDir(t), AllowOther: true})
	if err := os.Chmod(m.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	asNobody(t, "umask 027; cd "+m.dir+"; echo > file; mkdir dir; ln -s x link")
	for name, mode := range map[string]uint32{"file": unix.S_IFREG | 0o640, "dir": unix.S_IFDIR | 0o750, "link": unix.S_IFLNK | 0o777} {
		st := stat(t, filepath.Join(m.dir, name))
		if st.Mode != mode || st.Uid != 65534 || st.Gid != 65534 {
			t.Errorf("%s: mode %o of %d:%d, want %o of 65534:65534", name, st.Mode, st.Uid, st.Gid, mode)
		}
	}
}

func TestMappedFiles(t *testing.T) {
	m := mountModel(t, serveSpec{})
	file := filepath.Join(m.dir, "file")
	content := strings.Repeat("0123456789abcdef", 1024)
	write(t, file, content)
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	shared, err := unix.Mmap(int(f.Fd()), 0, len(content), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	private, err := unix.Mmap(int(f.Fd()), 0, len(content), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	if string(shared) != content || string(private) != content {
		t.Error("a mapping does not show the file")
	}
	copy(shared[5000:], "SHARED")
	copy(private[9000:], "PRIVATE")
	if _, err := f.WriteAt([]byte("WRITTEN"), 100); err != nil {
		t.Fatal(err)
	}
	if got := string(shared[100:107]); got != "WRITTEN" {
		t.Errorf("a write shows in the shared mapping as %q", got)
	}
	if err := errors.Join(unix.Munmap(shared), unix.Munmap(private), f.Close()); err != nil {
		t.Fatal(err)
	}
	want := content[:100] + "WRITTEN" + content[107:5000] + "SHARED" + content[5006:]
	if read(t, file) != want {
		t.Error("the file has not what was stored to the shared mapping")
	}
	d, err := unix.Open(file, unix.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(d)
	direct := make([]byte, len(content))
	if n, err := unix.Read(d, direct); err != nil || string(direct[:n]) != want {
		t.Errorf("past the kernel's cache: %d bytes, %v, as wanted: %v", n, err, string(direct[:n]) == want)
	}
}

func TestCallsThatAreNotOffered(t *testing.T) {
	m := mountModel(t, serveSpec{})
	file := filepath.Join(m.dir, "file")
	write(t, file, "content")
	fd, err := unix.Open(file, unix.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, tc := range []struct {
		name string
		do   func() error
		want error
	}{
		{"ioctl", func() error { _, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS); return err }, unix.ENOTTY},
		{"device", func() error { return unix.Mknod(filepath.Join(m.dir, "null"), unix.S_IFCHR|0o600, 1<<8|3) }, unix.EPERM},
		{"exchange", func() error {
			return unix.Renameat2(unix.AT_FDCWD, file, unix.AT_FDCWD, file+"2", unix.RENAME_EXCHANGE)
		}, unix.ENOENT},
		{"no replacement", func() error {
			return unix.Renameat2(unix.AT_FDCWD, file, unix.AT_FDCWD, file, unix.RENAME_NOREPLACE)
		}, unix.EEXIST},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.do(); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
	t.Run("copy_file_range copies", func(t *testing.T) {
		out, err := unix.Open(filepath.Join(m.dir, "copy"), unix.O_CREAT|unix.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		n, err := unix.CopyFileRange(fd, nil, out, nil, 100, 0)
		if err := errors.Join(err, unix.Close(out)); err != nil || n != len("content") {
			t.Errorf("copied %d: %v", n, err)
		}
		if got := read(t, filepath.Join(m.dir, "copy")); got != "content" {
			t.Errorf("the copy has %q", got)
		}
	})
}

func TestAFileWithoutANameGetsOne(t *testing.T) {
	for _, ns := range namespaces {
		t.Run(ns.name, func(t *testing.T) {
			dir := ns.mount(t).dir
			f, err := os.OpenFile(dir, unix.O_TMPFILE|unix.O_RDWR, 0o640)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteString("content"); err != nil {
				t.Fatal(err)
			}
			link := func(name string) error {
				return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, filepath.Join(dir, name), unix.AT_SYMLINK_FOLLOW)
			}
			if err := link("name"); err != nil {
				t.Fatal(err)
			}
			if got := read(t, filepath.Join(dir, "name")); got != "content" {
				t.Errorf("it has %q", got)
			}
			if st := stat(t, filepath.Join(dir, "name")); st.Nlink != 1 || st.Mode != unix.S_IFREG|0o640 {
				t.Errorf("it has %d links and the mode %o", st.Nlink, st.Mode)
			}
			if err := link("second"); err != unix.EPERM {
				t.Errorf("a second name: %v, want EPERM", err)
			}
		})
	}
}

func TestXattrs(t *testing.T) {
	m := mountModel(t, serveSpec{})
	file := filepath.Join(m.dir, "file")
	write(t, file, "")
	big := bytes.Repeat([]byte("v"), 65536)
	for _, step := range []struct {
		name string
		do   func() error
		want error
	}{
		{"replace a missing one", func() error { return unix.Setxattr(file, "user.a", nil, unix.XATTR_REPLACE) }, unix.ENODATA},
		{"create", func() error { return unix.Setxattr(file, "user.a", []byte("1"), unix.XATTR_CREATE) }, nil},
		{"create again", func() error { return unix.Setxattr(file, "user.a", []byte("2"), unix.XATTR_CREATE) }, unix.EEXIST},
		{"a label", func() error { return unix.Setxattr(file, "security.selinux", []byte("x"), 0) }, unix.EOPNOTSUPP},
		{"a trusted one", func() error { return unix.Setxattr(file, "trusted.x", []byte("x"), 0) }, unix.EOPNOTSUPP},
		{"the largest that Linux has", func() error { return unix.Setxattr(file, "user.big", big, 0) }, nil},
		{"too small a buffer", func() error { _, err := unix.Getxattr(file, "user.big", make([]byte, 10)); return err }, unix.ERANGE},
		{"too small a buffer for the names", func() error { _, err := unix.Listxattr(file, make([]byte, 3)); return err }, unix.ERANGE},
		{"an empty value", func() error { return unix.Setxattr(file, "user.empty", nil, 0) }, nil},
	} {
		if err := step.do(); err != step.want {
			t.Errorf("%s: got %v, want %v", step.name, err, step.want)
		}
	}
	buf := make([]byte, 1<<17)
	if n, err := unix.Getxattr(file, "user.big", buf); err != nil || !bytes.Equal(buf[:n], big) {
		t.Errorf("the big value: %d bytes, %v", n, err)
	}
	if n, err := unix.Getxattr(file, "user.empty", buf); err != nil || n != 0 {
		t.Errorf("the empty value: %d bytes, %v", n, err)
	}
	if n, err := unix.Listxattr(file, buf); err != nil || string(buf[:n]) != "user.a\x00user.big\x00user.empty\x00" {
		t.Errorf("names: %q, %v", buf[:n], err)
	}
}

func TestLocksExcludeOtherProcesses(t *testing.T) {
	m := mountModel(t, serveSpec{})
	file := filepath.Join(m.dir, "file")
	write(t, file, "")
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	other := func() error { return exec.Command("flock", "-n", "-x", file, "true").Run() }
	if err := other(); err != nil {
		t.Fatalf("unlocked: %v", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := other(); err == nil {
		t.Error("another process got a lock that is held")
	}
	if calls := m.calls(t); calls["read"] != 0 || calls["write"] != 0 {
		t.Errorf("locking cost %v", calls)
	}
}

func TestStatfsIsTheTrees(t *testing.T) {
	m := mountModel(t, serveSpec{})
	var st unix.Statfs_t
	if err := unix.Statfs(m.dir, &st); err != nil {
		t.Fatal(err)
	}
	if st.Bsize != 4096 || st.Blocks != 1<<20 || st.Bavail != 1<<19 || st.Files != 1000 || st.Ffree != 900 || st.Namelen != 255 {
		t.Errorf("got %+v", st)
	}
}

func TestForgottenFilesAreToldOnce(t *testing.T) {
	m := mountModel(t, serveSpec{})
	file := filepath.Join(m.dir, "file")
	write(t, file, "")
	for range 3 { // each lookup counts, however it is made
		rawEntries(t, m.dir)
		stat(t, file)
	}
	before := m.calls(t)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if m.calls(t)["forget"] == before["forget"]+1 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d inodes forgotten, want the removed one", m.calls(t)["forget"]-before["forget"])
}

func TestReadOnlyMountRefusesChanges(t *testing.T) {
	m := mountModel(t, serveSpec{ReadOnly: true})
	if err := os.Mkdir(filepath.Join(m.dir, "dir"), 0o755); !errors.Is(err, unix.EROFS) {
		t.Errorf("mkdir: %v, want EROFS", err)
	}
	for range 2 { // what there is, and that there is no more
		m.costs(t, map[string]int{"readdir": 2}, func() {
			if _, err := os.ReadDir(m.dir); err != nil {
				t.Error(err)
			}
		})
	}
}

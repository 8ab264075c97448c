package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sharefs/test/harness"
)

// as runs a shell script in a place as somebody, who needs not be root.
func (p *place) as(t *testing.T, uid uint32, groups []uint32, script string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-euc", script)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "D="+p.path(""))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: groups}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as %d: %s: %v\n%s", uid, script, err, out)
	}
}

// mode returns the permission bits of a name, as asked for alone.
func (p *place) mode(t *testing.T, name string) uint32 {
	t.Helper()
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, p.path(name), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MODE, &st); err != nil {
		t.Fatal(err)
	}
	return uint32(st.Mode) & 0o7777
}

// stamp is a time with nanoseconds.
func stamp(seconds int64) unix.Timespec { return unix.Timespec{Sec: seconds, Nsec: 123_456_789} }

func setTimes(t *testing.T, path string, atime, mtime unix.Timespec) {
	t.Helper()
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{atime, mtime}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		t.Fatal(err)
	}
}

var attributesSection = map[string]statement{
	"A1": {do: func(t *testing.T, p *place) {
		f := p.write(t, "f", "secret")
		harness.Script(t, p.path(""), "chown 4001:4002 f; chmod 0640 f; mkdir -m 0700 d; chown 4001 d")
		p.as(t, 4001, nil, "grep -q secret $D/f; echo more >>$D/f; : >$D/d/x")
		p.as(t, 4003, []uint32{7, 4002}, "grep -q secret $D/f; ! echo more 2>/dev/null >>$D/f")
		p.as(t, 4003, []uint32{7}, "! cat $D/f 2>/dev/null; ! ls $D/d 2>/dev/null; ! chmod 666 $D/f 2>/dev/null; ! chown 4003 $D/f 2>/dev/null")
		fails(t, "a group that one is not in", asThread(4001, func() error { return unix.Chown(f, -1, 4005) }), unix.EPERM)
	}},
	"A2": {do: func(t *testing.T, p *place) {
		harness.Script(t, p.path(""), "chmod 1777 .; echo >f; chown 4001 f")
		p.as(t, 4002, nil, "! rm -f $D/f 2>/dev/null; ! mv $D/f $D/g 2>/dev/null")
		p.as(t, 4001, nil, "mv $D/f $D/g; rm $D/g")
	}},
	"A3": {do: checkPrivileges, see: []string{"fusefs.TestSetUserIDIsCleared"}},
	"A4": {do: func(t *testing.T, p *place) {
		harness.Script(t, p.path(""), "mkdir d; chown :4002 d; chmod 2777 d")
		p.as(t, 4001, nil, "cd $D/d; echo >f; mkdir sub; ln -s x link")
		for name, mode := range map[string]uint32{"d/f": 0o644, "d/sub": 0o2755, "d/link": 0o777} {
			if st := lstat(t, p.path(name)); st.Gid != 4002 || st.Uid != 4001 || st.Mode&0o7777 != mode {
				t.Errorf("%s has mode %o of %d:%d", name, st.Mode&0o7777, st.Uid, st.Gid)
			}
		}
	}},
	"A5": {do: func(t *testing.T, p *place) {
		p.write(t, "f", "content")
		p.write(t, "old", "")
		harness.Script(t, p.path(""), "chown 4001:4002 f; chmod 4751 f; ln -s f link; chown -h 4003:4004 link")
		setTimes(t, p.path("f"), stamp(1_000_000_000), stamp(1_234_567_890))
		setTimes(t, p.path("old"), stamp(-100), stamp(-1_000_000))
		setTimes(t, p.path("link"), stamp(5), stamp(6))
		p.write(t, "time of change", fmt.Sprint(lstat(t, p.path("f")).Ctim))
	}, later: func(t *testing.T, p *place) {
		st := lstat(t, p.path("f"))
		if st.Mode != unix.S_IFREG|0o4751 || st.Uid != 4001 || st.Gid != 4002 || st.Size != 7 ||
			st.Atim != stamp(1_000_000_000) || st.Mtim != stamp(1_234_567_890) {
			t.Errorf("f came back as %+v", st)
		}
		p.has(t, "time of change", fmt.Sprint(st.Ctim))
		if st := lstat(t, p.path("old")); st.Atim != stamp(-100) || st.Mtim != stamp(-1_000_000) {
			t.Errorf("old came back as %+v", st)
		}
		if st := lstat(t, p.path("link")); st.Mode != unix.S_IFLNK|0o777 || st.Uid != 4003 || st.Gid != 4004 || st.Mtim != stamp(6) {
			t.Errorf("link came back as %+v", st)
		}
	}, see: []string{"fusefs/tree.TestAttributesComeBackOnANewMachine", "test.TestSoakACopiedSourceTreeIsTheSameOnAnotherMachine"}},
	"A6": {do: checkTimes},
	"A7": {do: func(t *testing.T, p *place) {
		setTimes(t, p.write(t, "f", "content"), stamp(1_000_000), stamp(2_000_000))
		p.has(t, "f", "content")
		if st := lstat(t, p.path("f")); st.Atim != stamp(1_000_000) {
			t.Errorf("after a read the time of access is %v", st.Atim)
		}
	}},
	"A8": {do: func(t *testing.T, p *place) {
		for _, script := range []string{"mkdir d", "echo >d/f", "mkdir d/e", "ln -s x d/l", "mv d/f d/g", "mv d/g .", "mv g d/f", "rm d/f", "rmdir d/e"} {
			if script != "mkdir d" {
				setTimes(t, p.path("d"), stamp(1), stamp(2))
			}
			before := time.Now().Add(-time.Second)
			harness.Script(t, p.path(""), script)
			if st := lstat(t, p.path("d")); time.Unix(st.Mtim.Unix()).Before(before) || st.Mtim != st.Ctim {
				t.Errorf("after %s: mtime %v, ctime %v", script, st.Mtim, st.Ctim)
			}
		}
	}},
	"A9": {see: []string{"test.TestInodeNumbersAndDirectoryTimesStay"}, do: func(t *testing.T, p *place) {
		harness.Script(t, p.path(""), "mkdir full empty; echo >full/f; chown 4001:4002 full empty; chmod 1770 full; chmod 2705 empty")
	}, later: func(t *testing.T, p *place) {
		for name, mode := range map[string]uint32{"full": 0o1770, "empty": 0o2705} {
			if st := lstat(t, p.path(name)); st.Mode != unix.S_IFDIR|mode || st.Uid != 4001 || st.Gid != 4002 {
				t.Errorf("%s came back as %+v", name, st)
			}
		}
	}},
	"A10": {do: checkXattrs, later: func(t *testing.T, p *place) {
		for name, value := range map[string]string{"f": "a\x00value", "d": "of a directory"} {
			buf := make([]byte, 100)
			if n, err := unix.Getxattr(p.path(name), "user.kept", buf); err != nil || string(buf[:n]) != value {
				t.Errorf("%s: %q, %v", name, buf[:max(n, 0)], err)
			}
		}
		buf := make([]byte, 100)
		if n, err := unix.Listxattr(p.path("f"), buf); err != nil || string(buf[:n]) != "user.kept\x00" {
			t.Errorf("names: %q, %v", buf[:max(n, 0)], err)
		}
	}},
	"A11": {do: func(t *testing.T, p *place) {
		f := p.write(t, "f", "")
		// user::rw-, user:4001:rw-, group::r--, mask::rw-, other::r--
		acl := []byte("\002\000\000\000" + "\001\000\006\000\377\377\377\377" + "\002\000\006\000\241\017\000\000" + "\004\000\004\000\377\377\377\377" +
			"\020\000\006\000\377\377\377\377" + "\040\000\004\000\377\377\377\377")
		capability := append([]byte{1, 0, 0, 2}, make([]byte, 16)...)
		for name, value := range map[string][]byte{"trusted.x": nil, "security.selinux": nil, "security.capability": capability, "system.posix_acl_access": acl} {
			fails(t, name, unix.Setxattr(f, name, value, 0), unix.EOPNOTSUPP)
		}
	}},
	"A12": {see: []string{"test.TestListedAttributesStayOnThisMachine"}},
	"A13": {see: []string{"test.TestInodeNumbersAndDirectoryTimesStay"}},
	"A14": {do: func(t *testing.T, p *place) {
		p.write(t, "f", strings.Repeat("x", 10_000))
		st := lstat(t, p.path("f"))
		var stx unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, p.path("f"), 0, unix.STATX_ALL, &stx); err != nil {
			t.Fatal(err)
		}
		if st.Blocks != 24 || st.Blksize != 4096 || stx.Mask&unix.STATX_BTIME != 0 {
			t.Errorf("%d blocks, block size %d, time of birth %v", st.Blocks, st.Blksize, stx.Btime)
		}
	}, later: func(t *testing.T, p *place) {
		if st := lstat(t, p.path("f")); st.Blocks != 24 {
			t.Errorf("%d blocks", st.Blocks)
		}
	}},
}

// asThread makes a call as another user.
func asThread(uid int, call func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // it ends with the goroutine
		for _, id := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, errno := unix.RawSyscall(id, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
				done <- errno
				return
			}
		}
		done <- call()
	}()
	return <-done
}

func checkPrivileges(t *testing.T, p *place) {
	f := p.path("f")
	for _, tc := range []struct {
		name       string
		mode, want uint32
		do         func()
	}{
		{"write", 0o6777, 0o777, func() { p.as(t, 4001, nil, "echo more >>$D/f") }},
		{"write by root", 0o6777, 0o6777, func() { p.as(t, 0, nil, "echo more >>$D/f") }},
		{"truncate", 0o6777, 0o777, func() { p.as(t, 4001, nil, "truncate -s 1 $D/f") }},
		{"open with O_TRUNC", 0o6777, 0o777, func() { p.as(t, 4001, nil, ": >$D/f") }},
		{"allocate", 0o6777, 0o777, func() { p.as(t, 4001, nil, "fallocate -l 10 $D/f") }},
		{"chown", 0o6777, 0o777, func() { p.as(t, 0, nil, "chown 4001 $D/f") }},
		{"read", 0o6777, 0o6777, func() { p.as(t, 4001, nil, "cat $D/f") }},
		{"write by a member of the group", 0o6767, 0o2767, func() { p.as(t, 4001, []uint32{0}, "echo more >>$D/f") }},
		{"write by another", 0o6767, 0o767, func() { p.as(t, 4001, []uint32{7}, "echo more >>$D/f") }},
		{"chmod by who is not in the group", 0o777, 0o777, func() { p.as(t, 0, nil, "chown 4001:4002 $D/f"); p.as(t, 4001, []uint32{7}, "chmod 2777 $D/f") }},
	} {
		p.write(t, "f", "content")
		if err := os.Chown(f, 0, 0); err != nil {
			t.Fatal(err)
		}
		if err := unix.Chmod(f, tc.mode); err != nil {
			t.Fatal(err)
		}
		tc.do()
		if got := p.mode(t, "f"); got != tc.want {
			t.Errorf("%s: mode %o, want %o", tc.name, got, tc.want)
		}
	}
}

func checkTimes(t *testing.T, p *place) {
	f := p.write(t, "f", "content")
	omit, now := unix.Timespec{Nsec: unix.UTIME_OMIT}, unix.Timespec{Nsec: unix.UTIME_NOW}
	setTimes(t, f, stamp(1), stamp(2))
	start := lstat(t, f)
	setTimes(t, f, omit, omit)
	if st := lstat(t, f); st != start {
		t.Errorf("omitting both changes %+v to %+v", start, st)
	}
	setTimes(t, f, omit, stamp(3))
	if st := lstat(t, f); st.Atim != stamp(1) || st.Mtim != stamp(3) {
		t.Errorf("omitting one: %v %v", st.Atim, st.Mtim)
	}
	setTimes(t, f, now, omit)
	if st := lstat(t, f); time.Since(time.Unix(st.Atim.Unix())) > time.Minute || st.Mtim != stamp(3) {
		t.Errorf("now: %v %v", st.Atim, st.Mtim)
	}
	for _, script := range []string{"chmod 600 f", "chown 4001 f", "mv f g; mv g f", "echo more >>f", "truncate -s 3 f", "touch -d 2001-01-01 f"} {
		before := lstat(t, f).Ctim
		harness.Script(t, p.path(""), script)
		if after := lstat(t, f).Ctim; after.Nano() <= before.Nano() {
			t.Errorf("%s: the time of change is %v, was %v", script, after, before)
		}
	}
	before := lstat(t, f).Ctim
	if err := unix.Setxattr(f, "user.a", nil, 0); err != nil {
		t.Error(err)
	}
	if after := lstat(t, f).Ctim; after.Nano() <= before.Nano() {
		t.Errorf("setxattr: the time of change is %v, was %v", after, before)
	}
	fails(t, "of a file of somebody else", asThread(4002, func() error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, f, []unix.Timespec{stamp(1), stamp(1)}, 0)
	}), unix.EPERM)
}

func checkXattrs(t *testing.T, p *place) {
	f := p.write(t, "f", "")
	if err := os.Mkdir(p.path("d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		do   func() error
		want unix.Errno
	}{
		{"a value", func() error { return unix.Setxattr(f, "user.kept", []byte("a\x00value"), 0) }, 0},
		{"of a directory", func() error { return unix.Setxattr(p.path("d"), "user.kept", []byte("of a directory"), 0) }, 0},
		{"another", func() error { return unix.Setxattr(f, "user.gone", []byte("x"), unix.XATTR_CREATE) }, 0},
		{"made twice", func() error { return unix.Setxattr(f, "user.gone", []byte("y"), unix.XATTR_CREATE) }, unix.EEXIST},
		{"removed", func() error { return unix.Removexattr(f, "user.gone") }, 0},
		{"removed twice", func() error { return unix.Removexattr(f, "user.gone") }, unix.ENODATA},
		{"replaced, and not there", func() error { return unix.Setxattr(f, "user.gone", nil, unix.XATTR_REPLACE) }, unix.ENODATA},
	} {
		if err := tc.do(); err != tc.want && (tc.want != 0 || err != nil) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
	if err := os.Symlink("f", p.path("link")); err != nil {
		t.Fatal(err)
	}
	fails(t, "of a symlink", unix.Lsetxattr(p.path("link"), "user.a", []byte("x"), 0), unix.EPERM)
	if p.m.Store.Kind == harness.MinIO {
		fails(t, "more than the store takes", unix.Setxattr(f, "user.large", bytes.Repeat([]byte("x"), 3000), 0), unix.ENOSPC)
	}
}

// TestListedAttributesStayOnThisMachine checks the statement A12.
func TestListedAttributesStayOnThisMachine(t *testing.T) {
	t.Parallel()
	m := harness.NewMount(t, harness.NewStore(t, harness.InsteadOf(harness.MinIO)), "--attributes", "listed")
	f := m.Path("f")
	if err := os.WriteFile(f, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, "symlink", os.Symlink("f", m.Path("link")), unix.EPERM)
	fails(t, "setxattr", unix.Setxattr(f, "user.a", nil, 0), unix.EOPNOTSUPP)
	setTimes(t, f, stamp(1), stamp(2))
	m.Unmount()
	m.Remount()
	if st := lstat(t, f); st.Mode != unix.S_IFREG|0o600 || st.Mtim != stamp(2) {
		t.Errorf("on this machine it is %+v", st)
	}
	m.Unmount()
	m.RemountEmpty()
	if st := lstat(t, f); st.Mode != unix.S_IFREG|0o644 || st.Mtim == stamp(2) {
		t.Errorf("on another machine it is %+v", st)
	}
}

// TestInodeNumbersAndDirectoryTimesStay checks the statements A9 and A13.
func TestInodeNumbersAndDirectoryTimesStay(t *testing.T) {
	t.Parallel()
	m := harness.NewMount(t, harness.NewStore(t, harness.InsteadOf(harness.MinIO)))
	names := []string{"d", "d/f", "g", "empty"}
	harness.Script(t, m.Dir, "mkdir d empty; echo >d/f; echo >g")
	for _, name := range names {
		setTimes(t, m.Path(name), stamp(1000), stamp(2000))
	}
	before := map[string]unix.Stat_t{}
	for _, name := range names {
		before[name] = lstat(t, m.Path(name))
	}
	m.Unmount()
	m.Remount()
	for _, name := range names {
		if st, old := lstat(t, m.Path(name)), before[name]; st.Ino != old.Ino || st.Mtim != old.Mtim || st.Atim != old.Atim || st.Ctim != old.Ctim {
			t.Errorf("%s is %+v, was %+v", name, st, old)
		}
	}
	harness.Script(t, m.Dir, "rm g; echo >h")
	if ino := lstat(t, m.Path("h")).Ino; ino == before["g"].Ino {
		t.Errorf("inode %d is used twice", ino)
	}
}

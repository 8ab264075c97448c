package file_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inChild tells a child process of the test binary that the test that it runs is to do its work there.
const inChild = "SHAREFS_FILE_TEST_CHILD"

// runChild runs the calling test again in a process with other privileges.
func runChild(t *testing.T, binary, tmp string, attr *syscall.SysProcAttr) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), inChild+"=yes", "TMPDIR="+tmp)
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("in the child process: %v\n%s", err, out)
	}
}

// asOrdinaryUser runs the test without the privileges of root.
func asOrdinaryUser(t *testing.T, run func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() != 0 {
		run(t)
		return
	}
	const nobody = 65534
	tmp, err := os.MkdirTemp("", "sharefs-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	binary := filepath.Join(tmp, "file.test") // the original lies where nobody may not go
	copyFile(t, os.Args[0], binary)
	for _, path := range []string{tmp, binary} {
		if err := errors.Join(os.Chmod(path, 0o755), os.Chown(path, nobody, nobody)); err != nil {
			t.Fatal(err)
		}
	}
	runChild(t, binary, tmp, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}})
}

// inMountNamespace runs the test where it may mount, unseen by anybody else.
func inMountNamespace(t *testing.T, run func(t *testing.T)) {
	t.Helper()
	if os.Getenv(inChild) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		run(t)
		return
	}
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	runChild(t, os.Args[0], t.TempDir(), attr)
}

// mountTmpfs mounts a small file system in memory until the end of the test.
func mountTmpfs(t *testing.T, dir, size string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

func copyFile(t *testing.T, src, dst string) {
	t.Helper()
	in, err := os.Open(src)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(dst)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

package test

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"sharefs/test/harness"
	"sharefs/test/servers"
)

// TestWithCommitSyncTheStoreHasItWhenTheCallReturns looks into the store after every call. Nothing is ever stored by itself.
func TestWithCommitSyncTheStoreHasItWhenTheCallReturns(t *testing.T) {
	t.Parallel()
	steps := []struct{ what, script string }{
		{"a new file", "echo one >f"},
		{"an empty one", "touch empty"},
		{"new content", "echo two >f"},
		{"an append", "echo three >>f"},
		{"a truncation by name", "truncate -s 3 f"},
		{"a growing one", "truncate -s 10000 f"},
		{"a directory", "mkdir d"},
		{"a directory in it", "mkdir d/e"},
		{"a file in that", "echo g >d/e/g"},
		{"a symlink", "ln -s target link"},
		{"a mode", "chmod 600 f"},
		{"a directory's mode", "chmod 700 d"},
		{"times", "touch -d 2001-02-03T04:05:06Z f"},
		{"a rename", "mv f h"},
		{"a rename over a file", "mv h d/e/g"},
		{"a rename of a directory", "mv d/e x"},
		{"an unlink", "rm x/g"},
		{"an rmdir", "rmdir x"},
		{"an unlink of a symlink", "rm link"},
		{"many at once", "mkdir m; for i in 1 2 3 4 5 6 7 8; do echo $i >m/$i & done; wait"},
		{"a rename of all of them", "mv m n"},
		{"removing all", "rm -r n d"},
	}
	harness.OnEach(t, func(t *testing.T, s *harness.Store) {
		m := harness.NewMount(t, s, "--commit", "sync", "--writeback", "1h")
		for _, step := range steps {
			harness.Script(t, m.Dir, step.script)
			want, got := harness.ReadTree(t, m.Dir), s.Tree(t)
			for _, dir := range s.Phantoms(t) {
				if _, wanted := want[dir]; !wanted {
					delete(got, dir)
				}
			}
			harness.MustEqual(t, step.what+": the store", want, got, harness.Times)
		}
	})
}

// TestWithCommitSyncAnOpenFileGoesWithItsClose changes a file that is open for writing: what is between two writes is no
// version of it.
func TestWithCommitSyncAnOpenFileGoesWithItsClose(t *testing.T) {
	t.Parallel()
	s := harness.NewStore(t, harness.InsteadOf(harness.MinIO))
	m := harness.NewMount(t, s, "--commit", "sync", "--writeback", "1h")
	f, err := os.Create(m.Path("f"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("half")
	if err := errors.Join(err, f.Chmod(0o600), os.Chmod(m.Path("f"), 0o640)); err != nil {
		t.Fatal(err)
	}
	if keys := s.Keys(t); len(keys) > 0 {
		t.Errorf("before the close the bucket has %q", keys)
	}
	if _, err := f.WriteString(" whole"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	harness.MustEqual(t, "the store after the close", harness.ReadTree(t, m.Dir), s.Tree(t))

	f, err = os.OpenFile(m.Path("f"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(4), f.Close()); err != nil {
		t.Fatal(err)
	}
	harness.MustEqual(t, "the store after a truncation through a handle and its close", harness.ReadTree(t, m.Dir), s.Tree(t))
}

// TestWithCommitSyncTheErrorOfStoringIsTheCalls lets the store refuse: each call fails, and what it has done is seen in the
// mount at once and stored later.
func TestWithCommitSyncTheErrorOfStoringIsTheCalls(t *testing.T) {
	t.Parallel()
	s, proxy := harness.NewStore(t, harness.InsteadOf(harness.MinIO)).Behind(t)
	m := harness.NewMount(t, s, "--commit", "sync", "--writeback", "1h", "--io-timeout", "5s")
	harness.Script(t, m.Dir, "mkdir old; echo a >a; echo b >b; echo c >c; ls -l nothing made link 2>/dev/null || true; stat a b c old >/dev/null")
	proxy.Deny(servers.Refusal{Status: http.StatusForbidden, Code: "AccessDenied"})
	for what, call := range map[string]func() error{
		"close": func() error {
			f, err := os.Create(m.Path("new"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString("new"); err != nil {
				t.Fatal(err)
			}
			return f.Close()
		},
		"mkdir":    func() error { return os.Mkdir(m.Path("made"), 0o755) },
		"symlink":  func() error { return os.Symlink("target", m.Path("link")) },
		"rename":   func() error { return os.Rename(m.Path("a"), m.Path("renamed")) },
		"unlink":   func() error { return syscall.Unlink(m.Path("b")) },
		"rmdir":    func() error { return syscall.Rmdir(m.Path("old")) },
		"chmod":    func() error { return os.Chmod(m.Path("c"), 0o600) },
		"truncate": func() error { return os.Truncate(m.Path("c"), 1) },
	} {
		if err := call(); !errors.Is(err, syscall.EACCES) {
			t.Errorf("%s: %v, want %v", what, err, syscall.EACCES)
		}
	}
	want := "c\nlink\nmade\nnew\nrenamed\n"
	await(t, "the mount to show what was done", func() bool {
		out, err := exec.Command("bash", "-c", "cd "+m.Dir+` && ls && stat -c %a/%s c && ! stat a && ! stat b && ! stat old && test -d made -a -L link -a -f renamed`).Output()
		return err == nil && strings.HasPrefix(string(out), want+"600/1\n")
	})
	proxy.Permit()
	m.Flush()
	harness.MustEqual(t, "the store when it is mended", harness.ReadTree(t, m.Dir), s.Tree(t), harness.Times)
}

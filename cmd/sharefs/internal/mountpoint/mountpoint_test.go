package mountpoint

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRootIsAMountpointAndANewDirectoryIsNot(t *testing.T) {
	if _, ok, err := Top("/"); !ok || err != nil {
		t.Errorf("/: %v, %v", ok, err)
	}
	if _, ok, err := Top(t.TempDir()); ok || err != nil {
		t.Errorf("a new directory: %v, %v", ok, err)
	}
}

func TestResolveFollowsSymlinks(t *testing.T) {
	tmp, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	real := filepath.Join(tmp, "real", "dir")
	if err := os.MkdirAll(real, 0o755); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"parent": "real", "itself": "real/dir", "dangling": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(tmp, link)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(tmp)
	for _, name := range []string{"real/dir", "real/dir/", "./real/../real/dir", "parent/dir", "itself", real} {
		if got, err := Resolve(name); err != nil || got != real {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, real)
		}
	}
	for _, name := range []string{"missing", "dangling", "missing/dir"} {
		if _, err := Resolve(name); !os.IsNotExist(err) {
			t.Errorf("%s: %v, want that it does not exist", name, err)
		}
	}
}

func TestUsersOfADirectoryAreNamed(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name, script string
		used         bool
	}{
		{"by its working directory", `cd "$1" && echo && read x`, true},
		{"by an open file", `exec 7>"$1/f" && echo && read x`, true},
		{"by nothing", `echo && read x`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command("sh", "-c", c.script, "sh", dir)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := out.Read(make([]byte, 1)); err != nil { // it is where it shall be
				t.Fatal(err)
			}
			users := Users(dir)
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // read fails at the end of its input
			if used := slices.ContainsFunc(users, func(u string) bool { return strings.HasPrefix(u, "sh (") }); used != c.used {
				t.Errorf("users %v", users)
			}
		})
	}
	if users := Users(dir[:len(dir)-1]); len(users) > 0 {
		t.Errorf("a directory whose name begins alike: %v", users)
	}
}

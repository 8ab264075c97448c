package test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sharefs/test/harness"
)

// onServers runs a test on a bucket of each server, with objects as large as the other programs make them.
func onServers(t *testing.T, test func(t *testing.T, s *harness.Store)) {
	for _, kind := range harness.Served() {
		if kind == harness.SwiftSmall {
			kind = harness.Swift
		}
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(t, harness.NewStore(t, kind))
		})
	}
}

// sharedTree makes a tree of files and directories as all programs can store it.
func sharedTree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shared")
	copySource(t, dir, 100)
	for name, size := range map[string]int{"empty": 0, "name with spaces": 100, "ünïcödé-名前": 5000, "plus+percent%20": 10, "big": 6 << 20} {
		if err := os.WriteFile(filepath.Join(dir, name), step{Seed: uint64(size), Size: size}.bytes(), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Date(2001, 2, 3, 4, 5, 6, 123456789, time.UTC)
	if err := os.Chtimes(filepath.Join(dir, "big"), old, old); err != nil {
		t.Fatal(err)
	}
	return dir
}

// withoutEmpty leaves out directories without files, which no bucket has by itself.
func withoutEmpty(tree harness.Tree) harness.Tree {
	used := harness.Tree{}
	for path, n := range tree {
		if n.Type == harness.Directory {
			continue
		}
		used[path] = n
		for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
			used[dir] = tree[dir]
		}
	}
	return used
}

// rclone runs rclone with the bucket in the remote "other:", by the protocol that the mount speaks.
func rclone(t *testing.T, s *harness.Store, args ...string) {
	t.Helper()
	env := []string{"RCLONE_CONFIG=" + os.DevNull}
	if s.Swift != nil {
		env = append(env, "RCLONE_CONFIG_OTHER_TYPE=swift", "RCLONE_CONFIG_OTHER_AUTH="+s.Swift.Auth,
			"RCLONE_CONFIG_OTHER_USER="+s.Swift.User, "RCLONE_CONFIG_OTHER_KEY="+s.Swift.Key)
	} else {
		env = append(env, "RCLONE_CONFIG_OTHER_TYPE=s3", "RCLONE_CONFIG_OTHER_PROVIDER=Other",
			"RCLONE_CONFIG_OTHER_ENDPOINT="+s.Server.Endpoint, "RCLONE_CONFIG_OTHER_REGION="+s.Server.Region,
			"RCLONE_CONFIG_OTHER_ACCESS_KEY_ID="+s.Server.AccessKey, "RCLONE_CONFIG_OTHER_SECRET_ACCESS_KEY="+s.Server.SecretKey,
			"RCLONE_CONFIG_OTHER_FORCE_PATH_STYLE=true")
	}
	harness.Run(t, "/", "env", append(append(env, "rclone", "--retries=1"), args...)...)
}

func TestABucketFilledByRcloneIsReadable(t *testing.T) {
	t.Parallel()
	source := sharedTree(t)
	want := withoutEmpty(harness.ReadTree(t, source))
	onServers(t, func(t *testing.T, s *harness.Store) {
		rclone(t, s, "copy", source, "other:"+s.Bucket+"/from rclone")
		m := harness.NewMount(t, s)
		harness.MustEqual(t, "the mount", want, harness.ReadTree(t, m.Path("from rclone")), harness.Modes)
	})
}

func TestFilesWrittenThroughTheMountAreReadByRclone(t *testing.T) {
	t.Parallel()
	source := sharedTree(t)
	want := withoutEmpty(harness.ReadTree(t, source))
	onServers(t, func(t *testing.T, s *harness.Store) {
		m := harness.NewMount(t, s)
		harness.Run(t, "/", "cp", "-a", source, m.Path("copy"))
		m.Unmount()
		out := t.TempDir()
		rclone(t, s, "copy", "other:"+s.Bucket+"/copy", out)
		harness.MustEqual(t, "what rclone reads", want, withoutEmpty(harness.ReadTree(t, out)), harness.Modes)
		rclone(t, s, "check", "--download", source, "other:"+s.Bucket+"/copy")
	})
}

func TestABucketFilledByTheSDKIsReadable(t *testing.T) {
	t.Parallel()
	bodies := map[string][]byte{
		"top": []byte("at the top"), "a/b/c/deep": []byte("deep"), "a/b/other": nil,
		"with space/ünï+%20": []byte("odd"), "big": step{Seed: 1, Size: 9 << 20}.bytes(),
	}
	onServers(t, func(t *testing.T, s *harness.Store) {
		began := time.Now().Add(-2 * time.Second)
		for key, body := range bodies {
			s.Put(t, key, body, nil)
		}
		s.Put(t, "marked/", nil, nil)
		m := harness.NewMount(t, s)
		got := harness.ReadTree(t, m.Dir)
		paths := []string{"a", "a/b", "a/b/c", "a/b/c/deep", "a/b/other", "big", "marked", "top", "with space", "with space/ünï+%20"}
		if found := slices.Sorted(maps.Keys(got)); !slices.Equal(found, paths) {
			t.Fatalf("found %q, want %q", found, paths)
		}
		for key, body := range bodies {
			n := got[key]
			if n.Type != harness.Regular || n.Mode != 0o644 || n.Mtime.Before(began) || n.Mtime.After(time.Now().Add(2*time.Second)) {
				t.Errorf("%s is a %s with mode %04o of %v", key, n.Type, n.Mode, n.Mtime)
			}
			if err := readBack(m.Path(key), body); err != nil {
				t.Error(err)
			}
		}
		if n := got["marked"]; n.Type != harness.Directory || n.Mode != 0o755 {
			t.Errorf("the directory of a marker is a %s with mode %04o", n.Type, n.Mode)
		}
	})
}

func TestFilesAreNamedAsObjectsAndCarryTheirAttributes(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, s *harness.Store) {
		m := harness.NewMount(t, s)
		harness.Script(t, m.Dir, `
			mkdir -p a/b 'with space'; echo content >a/b/file; echo odd >'with space/ünï+%20'; ln -s a/b/file link
			chmod 640 a/b/file; touch -d '2001-02-03 04:05:06.5 UTC' a/b/file; mkdir empty; touch zero`)
		m.Unmount()
		want := []string{"a/b/file", "empty/", "link", "with space/ünï+%20", "zero"}
		if keys := s.Keys(t); !slices.Equal(keys, want) {
			t.Errorf("the bucket has %q, want %q", keys, want)
		}
		file, link := s.Object(t, "a/b/file"), s.Object(t, "link")
		if string(file.Body) != "content\n" || file.Metadata["mode"] != "33184" || !strings.HasPrefix(file.Metadata["mtime"], "981173106.5") {
			t.Errorf("a/b/file is %q with %v", file.Body, file.Metadata)
		}
		if string(link.Body) != "a/b/file" || link.Metadata["mode"] != "41471" {
			t.Errorf("link is %q with %v", link.Body, link.Metadata)
		}
	})
}

func TestFilesWrittenThroughTheMountAreReadByS3fs(t *testing.T) {
	t.Parallel()
	source := sharedTree(t)
	if err := errors.Join(os.Symlink("big", filepath.Join(source, "link")), os.Chmod(filepath.Join(source, "empty"), 0o600)); err != nil {
		t.Fatal(err)
	}
	want := withoutEmpty(harness.ReadTree(t, source))
	onServers(t, func(t *testing.T, s *harness.Store) {
		m := harness.NewMount(t, s)
		harness.Run(t, "/", "cp", "-a", source, m.Path("copy"))
		m.Unmount()
		other := mountS3fs(t, s)
		got := withoutEmpty(harness.ReadTree(t, filepath.Join(other, "copy")))
		harness.MustEqual(t, "what s3fs reads", inSeconds(want), inSeconds(got), harness.DirectoryModes)
	})
}

func TestFilesWrittenByS3fsAreReadThroughTheMount(t *testing.T) {
	t.Parallel()
	source := sharedTree(t)
	if err := errors.Join(os.Symlink("big", filepath.Join(source, "link")), os.Mkdir(filepath.Join(source, "private"), 0o700)); err != nil {
		t.Fatal(err)
	}
	want := harness.ReadTree(t, source)
	onServers(t, func(t *testing.T, s *harness.Store) {
		other := mountS3fs(t, s)
		harness.Run(t, "/", "cp", "-a", source, filepath.Join(other, "copy"))
		m := harness.NewMount(t, s)
		harness.MustEqual(t, "the mount", inSeconds(want), inSeconds(harness.ReadTree(t, m.Path("copy"))))
	})
}

// inSeconds cuts times off to what s3fs keeps.
func inSeconds(tree harness.Tree) harness.Tree {
	cut := harness.Tree{}
	for path, n := range tree {
		if !n.Mtime.IsZero() {
			n.Mtime = n.Mtime.Truncate(time.Second)
		}
		cut[path] = n
	}
	return cut
}

// mountS3fs mounts the bucket with s3fs until the end of the test and returns the mountpoint.
func mountS3fs(t *testing.T, s *harness.Store) string {
	t.Helper()
	program, err := exec.LookPath("s3fs")
	if err != nil {
		t.Fatalf("the program s3fs is missing: test/setup.sh installs it (%v)", err)
	}
	base := t.TempDir()
	dir, secret := filepath.Join(base, "mnt"), filepath.Join(base, "secret")
	keys := "AWSAccessKeyId=" + s.Server.AccessKey + "\nAWSSecretKey=" + s.Server.SecretKey + "\n" // a Swift's key has a colon in it
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(secret, []byte(keys), 0o600)); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(program, s.Bucket, dir, "-f", "-o", "url="+s.Server.Endpoint+",use_path_request_style,endpoint="+s.Server.Region+
		",passwd_file="+secret+",tmpdir="+base)
	cmd.Stdout, cmd.Stderr = io.Discard, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil && harness.Mounted(dir) {
			t.Errorf("unmounting s3fs: %v", err)
			_ = cmd.Process.Kill()
		}
		if err := <-ended; err != nil { // it may abort when it ends; all that is asked of it was compared before
			t.Logf("s3fs: %v\n%s", err, &said)
		}
	})
	await(t, "the mount of s3fs", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("s3fs ended: %v\n%s", err, &said)
		default:
		}
		return harness.Mounted(dir)
	})
	return dir
}

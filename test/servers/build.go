package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// software is a server program, pinned: the facts that tests rest on were measured with this version.
type software struct {
	name    string // of the program, too
	pkg     string
	version string
	command func(s *Server) (args, env []string)
}

func minio() software {
	return software{
		name:    "minio",
		pkg:     "github.com/minio/minio",
		version: "v0.0.0-20260212201848-7aac2a2c5b7c",
		command: func(s *Server) (args, env []string) {
			args = []string{
				"server", "--quiet", "--anonymous", "--certs-dir", filepath.Join(s.dir, "certs"),
				"--address", s.addr, s.DataDir,
			}
			env = []string{
				"MINIO_ROOT_USER=" + s.AccessKey, "MINIO_ROOT_PASSWORD=" + s.SecretKey,
				"MINIO_BROWSER=off", "MINIO_UPDATE=off",
			}
			return args, env
		},
	}
}

func versitygw() software {
	return software{
		name:    "versitygw",
		pkg:     "github.com/versity/versitygw/cmd/versitygw",
		version: "v1.8.0",
		command: func(s *Server) (args, env []string) {
			args = []string{"--port", s.addr, "--region", s.Region, "--keep-alive", "--quiet", "posix", s.DataDir}
			env = []string{"ROOT_ACCESS_KEY_ID=" + s.AccessKey, "ROOT_SECRET_ACCESS_KEY=" + s.SecretKey}
			return args, env
		},
	}
}

// Build builds every server program that is not built yet, and returns the paths of all. It needs the Go module proxy and takes
// minutes the first time, nothing later.
func Build(ctx context.Context) ([]string, error) {
	var paths []string
	for _, sw := range []software{minio(), versitygw()} {
		path, err := sw.binary(ctx)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// binary returns the program's path below the user's cache directory, building it when it is missing. Processes that want
// it at the same time build it once.
func (sw software) binary(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for the program %s: %w", sw.name, err)
	}
	root := filepath.Join(cache, "sharefs-test", "servers")
	dir := filepath.Join(root, sw.name+"-"+sw.version)
	path := filepath.Join(dir, sw.name)
	if built(path) {
		return path, nil
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return "", fmt.Errorf("waiting for another build of %s: %w", sw.name, err)
	}
	defer unlock()
	if built(path) {
		return path, nil
	}
	return path, sw.install(ctx, root, dir)
}

func built(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0
}

// install builds into a directory of its own and renames it to dir, so that a build that was cut off leaves nothing
// that looks like a program.
func (sw software) install(ctx context.Context, root, dir string) error {
	tmp, err := os.MkdirTemp(root, ".build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	cmd := exec.CommandContext(ctx, "go", "install", sw.pkg+"@"+sw.version)
	cmd.Dir = tmp // outside of any module
	cmd.Env = append(goEnv(os.Environ()), "GOBIN="+tmp)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go install %s@%s: %w\n%s", sw.pkg, sw.version, err, tail(out.Bytes(), 2000))
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

// goEnv leaves out what a surrounding go command set for its own build.
func goEnv(env []string) []string {
	var kept []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "GOFLAGS", "GOBIN", "GOOS", "GOARCH", "GOWORK":
		default:
			kept = append(kept, kv)
		}
	}
	return kept
}

// lockFile takes an exclusive lock on the file, which the kernel drops when the process ends. It looks again every 200 ms,
// since flock(2) itself cannot be cancelled.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("flock %s: %w", path, err)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		}
	}
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		b = b[len(b)-n:]
	}
	return bytes.TrimSpace(b)
}

// Package cached keeps what tests need and what takes minutes to make: directories below the user's cache directory, each
// made once.
package cached

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Dir returns the directory sharefs-test/NAME of the user's cache directory. When it is not there, fill fills it: in another
// place, from where it is renamed, so that what was cut off leaves nothing that looks whole. Processes that want a directory
// at the same time fill it once.
func Dir(ctx context.Context, name string, fill func(dir string) error) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for %s: %w", name, err)
	}
	dir := filepath.Join(cache, "sharefs-test", name)
	if isDir(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return "", fmt.Errorf("waiting for another process that makes %s: %w", name, err)
	}
	defer unlock()
	if isDir(dir) {
		return dir, nil
	}
	return dir, install(dir, fill)
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

// install is for who holds the lock.
func install(dir string, fill func(dir string) error) error {
	half := dir + ".half"
	if err := os.RemoveAll(half); err != nil { // of a process that was killed
		return err
	}
	if err := os.Mkdir(half, 0o755); err != nil {
		return err
	}
	if err := fill(half); err != nil {
		return errors.Join(err, os.RemoveAll(half))
	}
	return os.Rename(half, dir)
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

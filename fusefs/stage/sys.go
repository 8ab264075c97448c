package stage

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// errno returns the system's error number that is in err, or err.
func errno(err error) error {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}

// again calls a system call until no signal interrupts it.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// pwrite writes p at off. Unlike os.File.WriteAt it tells how many bytes the disk took before it failed.
func pwrite(file *os.File, p []byte, off int64) (int, error) {
	fd, done := int(file.Fd()), 0
	for done < len(p) {
		n, err := unix.Pwrite(fd, p[done:], off+int64(done))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return done, err
		case n == 0:
			return done, unix.EIO // an endless loop otherwise
		default:
			done += n
		}
	}
	return done, nil
}

func fallocate(file *os.File, mode uint32, off, length int64) error {
	return again(func() error { return unix.Fallocate(int(file.Fd()), mode, off, length) })
}

// fsync is safe beside a Close.
func fsync(file *os.File) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var sync error
	if conn.Control(func(fd uintptr) { sync = again(func() error { return unix.Fsync(int(fd)) }) }) != nil {
		return os.ErrClosed // its only error
	}
	return sync
}

// syncDir makes the entries of a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// writeZeros writes zeros to the bytes [off, end).
func writeZeros(file *os.File, off, end int64) error {
	zeros := make([]byte, min(end-off, 1<<16))
	for off < end {
		n, err := file.WriteAt(zeros[:min(end-off, int64(len(zeros)))], off)
		if err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// seekData returns where the file has data, from off on; ENXIO when there is none.
func seekData(file *os.File, off int64) (int64, error) {
	return unix.Seek(int(file.Fd()), off, unix.SEEK_DATA)
}

// seekHole returns where the file has a hole, from off on; its end counts as one. ENXIO when off is not before the end.
func seekHole(file *os.File, off int64) (int64, error) {
	return unix.Seek(int(file.Fd()), off, unix.SEEK_HOLE)
}

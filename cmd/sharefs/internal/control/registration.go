package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Registration is a daemon's place in the runtime directory: DIR.pid, locked for as long as the daemon lives and
// holding its Entry, and DIR.sock. Because the lock ends with the process, a socket without a lock is a stale one.
type Registration struct {
	file *os.File
	base string // path without ending
}

// TakenError says that a daemon for the same directory lives.
type TakenError struct{ Entry Entry }

// Error names the daemon.
func (e *TakenError) Error() string {
	return fmt.Sprintf("%s is mounted already, by the sharefs daemon with pid %d: unmount it first with: sharefs umount %s", e.Entry.Dir, e.Entry.PID, e.Entry.Dir)
}

// Register takes the place of the mount on e.Dir, and removes what a daemon that was killed has left there. It fails
// with *TakenError when a daemon that lives has the place.
func Register(runtimeDir string, e Entry) (*Registration, error) {
	if err := makePrivate(runtimeDir); err != nil {
		return nil, err
	}
	r := &Registration{base: filepath.Join(runtimeDir, fileName(e.Dir))}
	f, err := lock(r.base + ".pid")
	if err != nil {
		return nil, err
	}
	r.file = f
	if err := errors.Join(ignoreMissing(os.Remove(r.base+".sock")), r.Update(e)); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// lockTries and lockPause let a command that just looks (inspect) give the lock back.
const (
	lockTries = 10
	lockPause = 20 * time.Millisecond
)

// lock opens and locks the file, whoever removes it at the same time.
func lock(name string) (*os.File, error) {
	for try := 1; ; {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			if errors.Is(err, syscall.EWOULDBLOCK) {
				e, readErr := readEntry(f)
				f.Close()
				if try++; try <= lockTries {
					time.Sleep(lockPause)
					continue
				}
				if readErr != nil {
					return nil, fmt.Errorf("another sharefs is mounting there at this moment (it holds %s)", name)
				}
				return nil, &TakenError{e}
			}
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if current(f, name) {
			return f, nil
		}
		f.Close() // the daemon before removed it between our open and our lock
	}
}

// current reports whether the open file is still what the name stands for.
func current(f *os.File, name string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(name)
	return err == nil && os.SameFile(open, named)
}

// Update replaces what the file says of the daemon.
func (r *Registration) Update(e Entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := r.file.Truncate(0); err != nil {
		return err
	}
	_, err = r.file.WriteAt(append(b, '\n'), 0)
	return err
}

// Close gives the place up.
func (r *Registration) Close() error {
	err := ignoreMissing(os.Remove(r.base + ".sock"))
	err = errors.Join(err, ignoreMissing(os.Remove(r.base+".pid"))) // while it is still locked
	return errors.Join(err, r.file.Close())
}

func readEntry(f io.ReaderAt) (Entry, error) {
	var e Entry
	err := json.NewDecoder(io.NewSectionReader(f, 0, 1<<16)).Decode(&e)
	return e, err
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Daemon is a daemon that was found in a runtime directory.
type Daemon struct {
	Entry
	Alive bool   // it holds its lock; false: it was killed, and its files are still there
	base  string // path of its files without ending
}

// Find returns the daemons of all runtime directories, in no order, those that were killed too, until they are
// forgotten. Directories that this user may not see, or that are not there, count as empty.
func (r Runtime) Find() ([]Daemon, error) {
	var all []Daemon
	for _, dir := range r.Search {
		files, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, file := range files {
			if filepath.Ext(file.Name()) != ".pid" {
				continue
			}
			d, ok, err := inspect(filepath.Join(dir, file.Name()))
			if err != nil {
				return nil, err
			}
			if ok {
				all = append(all, d)
			}
		}
	}
	return all, nil
}

// inspect reads the file of a daemon. Not ok means that there is none any more, or that it is not readable yet.
func inspect(name string) (d Daemon, ok bool, err error) {
	f, err := openFile(name)
	if err != nil {
		return Daemon{}, false, ignoreMissing(err)
	}
	defer f.Close()
	d.base = strings.TrimSuffix(name, ".pid")
	var readErr error
	d.Entry, readErr = readEntry(f)
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		d.Alive = true
		return d, readErr == nil, nil
	case err != nil:
		return Daemon{}, false, fmt.Errorf("lock %s: %w", name, err)
	}
	return d, readErr == nil && current(f, name), nil
}

// Lives reports whether the daemon that was found still lives.
func (d Daemon) Lives() bool {
	now, ok, err := inspect(d.base + ".pid")
	return err != nil || ok && now.Alive && now.PID == d.PID
}

// openFile opens the file of a daemon; root does that in directories of users, so nothing is followed or waited for.
func openFile(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}

// Forget removes the files of a daemon that was killed.
func (d Daemon) Forget() error {
	f, err := openFile(d.base + ".pid")
	if err != nil {
		return ignoreMissing(err)
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil || !current(f, d.base+".pid") {
		return nil // a new daemon has the place
	}
	return errors.Join(ignoreMissing(os.Remove(d.base+".sock")), ignoreMissing(os.Remove(d.base+".pid")))
}

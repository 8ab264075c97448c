package file

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// scratch is this provider's own directory below .sharefs/tmp, where new objects are made before they are renamed into
// place. It is locked as long as the provider is open; what another finds unlocked there was left by a process that
// died, and is removed.
type scratch struct {
	store  *Store
	parent fd // .sharefs/tmp
	dir    fd
	name   string
	last   atomic.Uint64
}

func (s *Store) newScratch() (*scratch, error) {
	for try := 0; ; try++ {
		sc, err := s.tryScratch()
		if err == nil {
			sc.removeStale()
			return sc, nil
		}
		// Another provider removes the directories when it is closed, and takes new ones that are not yet locked for stale.
		if (err != unix.ENOENT && err != unix.EWOULDBLOCK) || try == 100 {
			return nil, err
		}
	}
}

func (s *Store) tryScratch() (*scratch, error) {
	parent, err := s.makeDir(scratchDir)
	if err != nil {
		return nil, err
	}
	sc := &scratch{store: s, parent: parent, dir: -1, name: rand.Text()}
	if err := sc.lockNew(); err != nil {
		if sc.dir >= 0 {
			sc.dir.close()
		}
		parent.close()
		return nil, err
	}
	return sc, nil
}

func (sc *scratch) lockNew() error {
	if err := unix.Mkdirat(int(sc.parent), sc.name, 0o700); err != nil {
		return err
	}
	n, err := unix.Openat(int(sc.parent), sc.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	sc.dir = fd(n)
	if err := unix.Flock(n, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(n, &st); err != nil {
		return err
	}
	if st.Nlink == 0 {
		return unix.ENOENT
	}
	return nil
}

// removeStale removes the scratch directories of processes that died. What cannot be removed stays for the next one.
func (sc *scratch) removeStale() {
	entries, err := os.ReadDir(sc.parent.path())
	if err != nil {
		sc.store.log.Warn("temporary files cannot be listed", "store", sc.store.String(), "error", err)
		return
	}
	for _, entry := range entries {
		if !entry.IsDir() || entry.Name() == sc.name {
			continue
		}
		n, err := unix.Openat(int(sc.parent), entry.Name(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if unix.Flock(n, unix.LOCK_EX|unix.LOCK_NB) == nil {
			err := os.RemoveAll(filepath.Join(sc.parent.path(), entry.Name()))
			sc.store.log.Info("removed temporary files of a process that ended", "store", sc.store.String(), "directory", entry.Name(), "error", err)
		}
		fd(n).close()
	}
}

// newName returns a name that nothing in the directory has.
func (sc *scratch) newName() string { return strconv.FormatUint(sc.last.Add(1), 10) }

// create makes a new file.
func (sc *scratch) create() (*os.File, string, error) {
	name := sc.newName()
	n, err := unix.Openat(int(sc.dir), name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o666)
	if err != nil {
		return nil, "", err
	}
	return os.NewFile(uintptr(n), name), name, nil
}

// remove removes whatever has the name; nothing is no error.
func (sc *scratch) remove(name string) {
	if err := os.RemoveAll(filepath.Join(sc.dir.path(), name)); err != nil {
		sc.store.log.Warn("a temporary file cannot be removed", "store", sc.store.String(), "error", err)
	}
}

// probe finds out whether the file system keeps extended attributes, without which there is no store, and whether it
// can rename without replacing.
func (sc *scratch) probe() (noReplace bool, err error) {
	f, name, err := sc.create()
	if err != nil {
		return false, err
	}
	defer sc.remove(name)
	defer func() { _ = f.Close() }()
	if err := unix.Fsetxattr(int(f.Fd()), recordAttr, []byte("probe"), 0); err != nil {
		return false, fmt.Errorf("the file system does not keep user.* extended attributes: %w", err)
	}
	other := sc.newName()
	err = unix.Renameat2(int(sc.dir), name, int(sc.dir), other, unix.RENAME_NOREPLACE)
	sc.remove(other)
	return err == nil, nil
}

func (sc *scratch) close() {
	if err := os.RemoveAll(filepath.Join(sc.parent.path(), sc.name)); err != nil {
		sc.store.log.Warn("temporary files cannot be removed", "store", sc.store.String(), "error", err)
	}
	sc.dir.close()
	sc.parent.close()
}

// tidy removes the store's own directories where they are empty.
func (s *Store) tidy() {
	for _, dir := range []string{scratchDir, uploadsDir, linksDir, ownDir} {
		_ = unix.Unlinkat(int(s.root), dir, unix.AT_REMOVEDIR)
	}
}

package cache

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sharefs/cache/internal/blockfile"
)

// The directory of a cache holds the files lock, format, owner and CACHEDIR.TAG, and the directory objects.
const (
	lockName    = "lock"
	formatName  = "format"
	objectsName = "objects"
	ownerName   = "owner"
	tagName     = "CACHEDIR.TAG"

	formatPrefix  = "sharefs read cache, format "
	currentFormat = 1

	// The signature is fixed by https://bford.info/cachedir/.
	tagText = "Signature: 8a477f597d28d172789f06886806bc55\n" +
		"# The read cache of sharefs. Everything here can be fetched again; backups may leave it out.\n"
)

// dirLock is the directory of a cache, locked for this process.
type dirLock struct {
	path string
	file *os.File
}

func (l *dirLock) objects() string { return filepath.Join(l.path, objectsName) }

// close gives the directory free. The lock file stays: removing it would race with the next to open it.
func (l *dirLock) close() error { return l.file.Close() }

// openDir makes or checks a cache's directory and locks it.
func openDir(path string) (*dirLock, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	if err := checkOurs(path); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	l := &dirLock{path: path, file: file}
	if err := l.take(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if err := l.checkFormat(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return l, nil
}

// checkOurs refuses a directory with other things in it, which cleaning up could destroy.
func checkOurs(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch e.Name() {
		case formatName:
			return nil
		case lockName, tagName, formatName + ".new", "lost+found":
		default:
			return fmt.Errorf("%s is not empty and no read cache (it holds %q): name an empty directory", path, e.Name())
		}
	}
	return nil
}

func (l *dirLock) take() error {
	err := unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder := make([]byte, 64)
		n, _ := l.file.ReadAt(holder, 0) // only for the message
		return fmt.Errorf("%w: %s is locked by %s; end that process or use another directory",
			ErrLocked, l.path, cmp.Or(strings.TrimSpace(string(holder[:n])), "an unknown process"))
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", l.path, err)
	}
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err = l.file.WriteAt(fmt.Appendf(nil, "process %d\n", os.Getpid()), 0)
	return err
}

func (l *dirLock) checkFormat() error {
	name := filepath.Join(l.path, formatName)
	text, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return l.initialise(name)
	case err != nil:
		return err
	}
	var format int
	if _, err := fmt.Sscanf(string(text), formatPrefix+"%d\n", &format); err != nil {
		return fmt.Errorf("%s is not what a read cache has there (%q): remove the directory or name another", name, firstLine(text))
	}
	if format > currentFormat {
		return fmt.Errorf("%s has format %d, this version of sharefs knows %d: use a newer version, or remove the directory, which loses nothing but time",
			l.path, format, currentFormat)
	}
	return nil
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(string(text[:min(len(text), 80)]), "\n")
	return line
}

// initialise marks an empty directory as a cache. The format comes last: it makes the rest valid.
func (l *dirLock) initialise(name string) error {
	if err := os.WriteFile(filepath.Join(l.path, tagName), []byte(tagText), 0o600); err != nil {
		return err
	}
	return replaceFile(name, fmt.Appendf(nil, formatPrefix+"%d\n", currentFormat))
}

// replaceFile gives a file a content, all of it or none, after a power loss too: an empty format would end every mount.
func replaceFile(name string, content []byte) error {
	file, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// setOwner empties the cache if it is of another owner.
func (l *dirLock) setOwner(owner string, log *slog.Logger) error {
	name := filepath.Join(l.path, ownerName)
	had, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if owner == "" || string(had) == owner {
		return nil
	}
	if err := os.RemoveAll(l.objects()); err != nil {
		return err
	}
	if len(had) > 0 {
		log.Warn("the read cache is of another catalog and was emptied", "dir", l.path)
	}
	return replaceFile(name, []byte(owner))
}

// restore takes up what an earlier run left.
func (c *Cache) restore() error {
	var all []blockfile.Found
	if err := c.dir.Scan(func(f blockfile.Found) { all = append(all, f) }); err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b blockfile.Found) int { return a.Used.Compare(b.Used) })
	for _, f := range all {
		c.restoreObject(f)
	}
	c.shrink()
	return nil
}

// restoreObject puts a content into the index. What it has counts as ends if it is nothing else.
func (c *Cache) restoreObject(f blockfile.Found) {
	o := newObject(c, Object{ID: ID(f.ID), Size: f.Size})
	o.state, o.trust = diskClosed, trustUnchecked
	o.present, o.side = f.Count, f.Side
	t, others := body, f.Count
	for _, b := range f.Ends {
		if bit := o.endBit(b); bit != 0 {
			o.charged |= bit
			others--
		}
	}
	if others == 0 && f.Count < o.blocks {
		t, o.marked = ends, o.charged
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o.entry[t] = c.room.tiers[t].Restore(o.id, f.Cost)
	c.room.used += f.Cost + f.Side
	c.index[o.id] = o
}

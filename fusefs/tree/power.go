package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/stage"
)

// After a restart of the system, which the boot id in the catalog shows, a staged file whose row is not synced may hold
// anything. It is not uploaded: the store's version stands. A file that was never stored is gone; one that was shows
// what is stored. What is left of its bytes goes to the directory conflicts, with a note; Status names it until somebody
// removes it. Names, renames and unlinks are as the catalog has them.

// bootID returns the id of the running kernel, or the given one.
func bootID(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot tell one boot from another: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// restarted reports whether the catalog was last used before this boot, and notes this boot.
func (t *Tree) restarted(tx *catalog.Tx) (bool, error) {
	was, err := tx.Boot()
	if err != nil || was == t.o.BootID {
		return false, err
	}
	return was != "", tx.SetBoot(t.o.BootID)
}

// giveUp makes the stored content that of a file whose staged one cannot be trusted.
func (t *Tree) giveUp(tx *catalog.Tx, n *catalog.Inode) error {
	path := tx.Path(n)
	never := n.Key == "" && n.PutKey == ""
	kept, err := t.setAside(path, stage.ID(n.Stage), whyUnsafe(never))
	if err != nil {
		return fmt.Errorf("%s, which was not durable when the system went down: %w", path, err)
	}
	if err := t.stage.Remove(stage.ID(n.Stage)); err != nil { // what is left of it, and its share of the room
		return err
	}
	t.o.Logger.Warn("the system went down before a file was durable: the store's version stands", "path", path,
		"stored", !never, "kept", kept)
	if never {
		return t.forgetFile(tx, n)
	}
	if n.Content, err = tx.NewID(); err != nil {
		return err
	}
	n.Stage, n.StageMtime, n.Size = 0, time.Time{}, n.StoredSz
	if n.Key == "" || !n.MetaDirty { // its times are those of the stored object
		n.Known = false
	}
	if n.Dirty.IsZero() {
		n.Dirty = t.o.Now()
	}
	return tx.Put(n)
}

// forgetFile removes a row, and notes that the directory may need a marker now.
func (t *Tree) forgetFile(tx *catalog.Tx, n *catalog.Inode) error {
	if err := tx.Delete(n.Ino); err != nil {
		return err
	}
	dir, err := tx.Get(n.Parent)
	if err != nil || dir.Ino == Root || !dir.Dirty.IsZero() {
		return err
	}
	dir.Dirty = t.o.Now()
	return tx.Put(dir)
}

// Conflict is content that is kept aside, for a person to look at and to remove.
type Conflict struct {
	Path string    `json:"path"` // of the file that it was to be the content of
	Why  string    `json:"why"`  // it was not stored
	Kept string    `json:"kept"` // where it is
	Size int64     `json:"size"` // bytes
	Time time.Time `json:"time"` // when it was put there
}

const (
	conflictsName = "conflicts" // the directory, in the cache directory
	noteSuffix    = ".txt"
	stampFormat   = "20060102T150405Z"
	fileLine      = "File:  " // begins the line of a note that names the file
	whyLine       = "Why:   " // and the next, that says why the content was not stored
)

// reason is why content was not stored.
type reason struct{ short, text string }

const unsafeShort = "was not safe on the disk when the system went down"

// whyUnsafe is the reason of a power loss. never: there is nothing of the file in the store.
func whyUnsafe(never bool) reason {
	stands := "The file now has the content that the store has."
	if never {
		stands = "The file had never been stored and is gone."
	}
	return reason{unsafeShort, `The system went down (power loss, crash, reset) before this content was safe on the disk and before it was stored. It
may be whole, torn, or partly zeros, so it was not stored. ` + stands}
}

// setAside moves a staged file to the conflicts and writes a note beside it. It returns where; empty when there is
// nothing worth keeping. It is done before the row changes: interrupted, it finds nothing left to move the next time.
func (t *Tree) setAside(path string, id stage.ID, why reason) (string, error) {
	info, err := os.Stat(t.stage.Path(id))
	if errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return "", nil // what is left of it is removed with all that no row names
	}
	if err != nil {
		return "", err
	}
	dir := t.ConflictsDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	now := t.o.Now().UTC()
	kept := filepath.Join(dir, fmt.Sprintf("%s-%s-%d", now.Format(stampFormat), plainName(path), id))
	note := t.note(path, id, info, why, now)
	if err := os.WriteFile(kept+noteSuffix, []byte(note), 0o600); err != nil {
		t.o.Logger.Warn("a conflict has no note", "path", path, "kept", kept, "err", err) // a full disk: its name tells enough
	}
	if err := os.Rename(t.stage.Path(id), kept); err != nil {
		return "", err
	}
	return kept, syncFiles(kept, kept+noteSuffix, dir)
}

// syncFiles makes files and directories durable. One that is not there is none.
func syncFiles(names ...string) error {
	for _, name := range names {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// plainName makes a path a file name that every shell and filesystem takes, of at most 100 bytes.
func plainName(path string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-':
			return r
		}
		return '_'
	}, strings.Trim(path, "/"))
	return name[max(0, len(name)-100):]
}

// note is what a conflict's text says.
func (t *Tree) note(path string, id stage.ID, info os.FileInfo, why reason, now time.Time) string {
	partial := ""
	if f, err := t.stage.Load(id, t.base(0)); err == nil {
		if !f.Present() {
			partial = "\nOnly a part of the file was on this disk: the rest is zeros here. It is as it was in the store, but for what had gone there\nwhile the file was written: that is lost.\n"
		}
		_ = f.Close()
	}
	return fmt.Sprintf(`%s%s
%s%s
Store: %s
Size:  %d bytes
Last changed: %s
Kept since:   %s

%s
%s
If it is good, copy it to its place in the mount. Remove it and this note when you are done: until then sharefs
status names it.
`, fileLine, strconv.Quote(path), whyLine, why.short, t.o.StoreName, info.Size(), info.ModTime().UTC().Format(time.RFC3339),
		now.Format(time.RFC3339), why.text, partial)
}

// ConflictsDir returns the directory of what is kept aside. It is made with the first.
func (t *Tree) ConflictsDir() string { return filepath.Join(t.o.CacheDir, conflictsName) }

// conflicts lists what was set aside and not removed yet.
func (t *Tree) conflicts() []Conflict {
	list, err := conflictsIn(t.o.CacheDir)
	if err != nil {
		t.o.Logger.Warn("the conflicts cannot be listed", "err", err)
	}
	return list
}

func conflictsIn(cacheDir string) ([]Conflict, error) {
	dir := filepath.Join(cacheDir, conflictsName)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var list []Conflict
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), noteSuffix) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // removed just now
		}
		c := Conflict{Path: e.Name(), Why: unsafeShort, Kept: filepath.Join(dir, e.Name()), Size: info.Size(), Time: info.ModTime()}
		if stamp, _, ok := strings.Cut(e.Name(), "-"); ok {
			if at, err := time.Parse(stampFormat, stamp); err == nil {
				c.Time = at
			}
		}
		if note, err := os.ReadFile(c.Kept + noteSuffix); err == nil {
			first, rest, _ := strings.Cut(string(note), "\n")
			if path, err := strconv.Unquote(strings.TrimPrefix(first, fileLine)); err == nil {
				c.Path = path
			}
			second, _, _ := strings.Cut(rest, "\n")
			if why, ok := strings.CutPrefix(second, whyLine); ok {
				c.Why = why
			}
		}
		list = append(list, c)
	}
	return list, nil
}

// tellConflicts reminds of them at every mount.
func (t *Tree) tellConflicts() {
	if n := len(t.conflicts()); n > 0 {
		t.o.Logger.Warn("contents that could not be stored wait to be looked at", "number", n,
			"dir", t.ConflictsDir())
	}
}

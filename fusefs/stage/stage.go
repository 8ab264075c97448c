// Package stage keeps the contents of changed files on local disk until the store has them.
//
// A Store is a directory with one sparse data file for each content. A File is one of them, open: it may start from an
// object of the store (its Base), of which it fetches what is read and what a change needs, at the grain of 4 KiB
// pages; a sidecar beside the data file says which pages are present and which were changed (sidecar.go).
//
// What it promises:
//   - A change that returned survives a killed process: Load finds it.
//   - A page that is not present never reads as something else than the base's bytes, and never reaches a snapshot.
//   - Bytes that a truncation cut off never come back from the base.
//   - No lock is held while the base is read, and every wait ends with the context.
//
// What it is not: it does not know names, attributes or versions, decides nothing about uploads, and does not fsync by
// itself (Sync does). It expects to be alone in its directory, and one File at a time for an ID.
//
// A data file without a sidecar counts as wholly present. A file that is moved to Path is therefore not staged before
// Adopt has returned: whoever keeps the list of what is staged adds it afterwards, and removes what it does not list.
package stage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sharefs/fusefs/failpoint"
)

// ID names a content.
type ID uint64

// Base reads the bytes of the object that a staged file started from. Fewer bytes than asked are an error; ranges beyond
// the object's size are not asked for.
type Base interface {
	ReadAt(ctx context.Context, p []byte, off int64) (int, error)
}

// Range is a range of bytes.
type Range struct {
	Off, Len int64
}

// ErrAbsent is the error of what needs a wholly present file, when pages are absent. Fill brings them.
var ErrAbsent = errors.New("staged file is not wholly present")

// Options are the options of Open. The zero value works.
type Options struct {
	Logger   *slog.Logger     // default: slog.Default()
	Now      func() time.Time // default: time.Now
	FillSize int64            // bytes that a read fetches at least, aligned to them; default 1 MiB; rounded up to pages
	BootID   string           // of the running kernel; default: as Linux tells it. See sidecar.go
	Room     RoomOptions      // default: no bounds
	Memory   int64            // bytes of contents in memory at most; default 64 MiB. See memory.go
}

// Store is a directory of staged files. Its methods are safe for concurrent use.
type Store struct {
	dir    string
	log    *slog.Logger
	now    func() time.Time
	boot   bootID
	limits limits
	room   room
	memory memory
}

// limits are sizes in bytes. Tests make them small.
type limits struct {
	fill      int64 // a read fetches at least so much, aligned to it; a multiple of the page size
	fillChunk int64 // Fill asks for so much at once
	// A file that starts from at most so much is uploaded as a whole: a change that needs one absent page fetches the
	// others with it, in the same request.
	smallFile     int64
	smallSnapshot int64 // up to here a snapshot is a copy in memory
	ahead         int64 // what is sent from the base is read so much at a time
}

const (
	mapSuffix  = ".map" // a sidecar
	tempSuffix = ".tmp" // not in place yet, or a snapshot; no use after the process
)

// Open opens the directory and makes it if it does not exist. What a killed process left there unfinished is removed.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{dir: dir, log: o.Logger, now: o.Now}
	s.limits = limits{fill: 1 << 20, fillChunk: 8 << 20, smallFile: 8 << 20, smallSnapshot: 8 << 20, ahead: 1 << 20}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if o.FillSize > 0 {
		s.limits.fill = pageUp(o.FillSize)
	}
	var err error
	if s.boot, err = newBootID(o.BootID); err != nil {
		return nil, fmt.Errorf("stage: open %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("stage: make the directory: %w", err)
	}
	if err := s.removeTemps(); err != nil {
		return nil, fmt.Errorf("stage: open %s: %w", dir, err)
	}
	s.memory.init(o.Memory)
	s.limits.fill, s.limits.fillChunk = min(s.limits.fill, s.memory.limit), min(s.limits.fillChunk, s.memory.limit)
	s.room.init(o.Room, dir, s.now)
	if err := s.room.scan(); err != nil {
		return nil, fmt.Errorf("stage: open %s: %w", dir, err)
	}
	return s, nil
}

// Path returns where the data file of id lies.
func (s *Store) Path(id ID) string { return filepath.Join(s.dir, fmt.Sprintf("%016x", uint64(id))) }

func (s *Store) mapPath(id ID) string { return s.Path(id) + mapSuffix }

// Create makes a new, empty file. An ID that has one already is fs.ErrExist.
func (s *Store) Create(id ID) (*File, error) {
	data, err := os.OpenFile(s.Path(id), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("stage: create: %w", err)
	}
	failpoint.Hit("stage.create")
	// A sidecar here belongs to a file whose removal was cut short.
	if err := removeIfThere(s.mapPath(id)); err != nil {
		data.Close()
		return nil, fmt.Errorf("stage: create: %w", err)
	}
	return s.newFile(id, data, 0, wholePages(0), nil), nil
}

// Adopt makes a staged file of size bytes that starts from an object: of the data file that already lies at Path(id), of
// which the bytes in present are those of the object, or of no file, with nothing present. The other bytes come from
// base, which may be nil when everything is present. After an error what lies at Path(id) is of no use: Remove it.
func (s *Store) Adopt(id ID, size int64, present []Range, base Base) (*File, error) {
	f, err := s.adopt(id, size, present, base)
	if err != nil {
		return nil, fmt.Errorf("stage: adopt %s: %w", s.Path(id), err)
	}
	return f, nil
}

func (s *Store) adopt(id ID, size int64, present []Range, base Base) (*File, error) {
	have := presentPages(size, present)
	if base == nil && !covers(have, size) {
		return nil, errors.New("not wholly present, and no base to read the rest from")
	}
	data, err := s.adoptData(id, size, present)
	if err != nil {
		return nil, err
	}
	if covers(have, size) && size <= s.limits.smallFile {
		if err := s.markUnchanged(id); err != nil {
			data.Close()
			return nil, err
		}
		return s.newFile(id, data, size, wholePages(size), nil), nil
	}
	failpoint.Hit("stage.adopt")
	pages, err := s.createSidecar(id, sideState{size: size, present: have})
	if err != nil {
		data.Close()
		return nil, err
	}
	return s.newFile(id, data, size, pages, base), nil
}

// adoptData opens or makes the data file and gives it its size.
func (s *Store) adoptData(id ID, size int64, present []Range) (*os.File, error) {
	data, err := os.OpenFile(s.Path(id), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	st, err := data.Stat()
	if err == nil {
		for _, r := range present {
			if r.Len > 0 && r.Off+r.Len > st.Size() {
				err = fmt.Errorf("the file ends at %d, before what is said to be present (%d, %d bytes)", st.Size(), r.Off, r.Len)
			}
		}
	}
	if err == nil && st.Size() != size {
		err = data.Truncate(size)
	}
	if err != nil {
		data.Close()
		return nil, err
	}
	return data, nil
}

// markUnchanged gives the data file the modification time zero, which any change replaces: a later process learns from it
// whether a file without a sidecar was changed.
func (s *Store) markUnchanged(id ID) error {
	if err := removeIfThere(s.mapPath(id)); err != nil {
		return err
	}
	return os.Chtimes(s.Path(id), time.Time{}, time.Unix(0, 0))
}

// Load opens the file that an earlier process left. base is called, with the size of the object that the file started
// from, when the file is not wholly present. An ID without a data file is fs.ErrNotExist.
func (s *Store) Load(id ID, base func(size int64) Base) (*File, error) {
	f, err := s.load(id, base)
	if err != nil {
		return nil, fmt.Errorf("stage: load %s: %w", s.Path(id), err)
	}
	return f, nil
}

func (s *Store) load(id ID, base func(size int64) Base) (*File, error) {
	data, err := os.OpenFile(s.Path(id), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	st, err := data.Stat()
	if err != nil {
		data.Close()
		return nil, err
	}
	pages, err := s.openSidecar(id, st.Size())
	if errors.Is(err, fs.ErrNotExist) {
		whole := wholePages(0) // what was changed is not known any more: all of it
		if st.ModTime().Equal(time.Unix(0, 0)) {
			whole = wholePages(st.Size())
		}
		return s.newFile(id, data, st.Size(), whole, nil), nil
	}
	if err != nil {
		data.Close()
		return nil, err
	}
	var b Base
	if pages.absent.Load() > 0 {
		if base != nil {
			b = base(pages.side.baseSize)
		}
		if b == nil {
			pages.close()
			data.Close()
			return nil, errors.New("not wholly present, and no base to read the rest from")
		}
	}
	return s.newFile(id, data, st.Size(), pages, b), nil
}

// IDs returns the contents of which anything lies on disk, in order.
func (s *Store) IDs() ([]ID, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("stage: list: %w", err)
	}
	var ids []ID
	for _, e := range entries {
		if id, ok := parseName(e.Name()); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// parseName returns the ID of a data file or a sidecar.
func parseName(name string) (ID, bool) {
	digits := strings.TrimSuffix(name, mapSuffix)
	if len(digits) != 16 || strings.ToLower(digits) != digits {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 64)
	return ID(n), err == nil
}

// Remove removes what lies on disk of id; nothing there is no error. A File of it goes on working until it is closed.
func (s *Store) Remove(id ID) error {
	// The data goes first: without its sidecar it would pass for wholly present.
	if err := removeIfThere(s.Path(id)); err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	failpoint.Hit("stage.remove")
	if err := removeIfThere(s.mapPath(id)); err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	s.room.forget(id)
	return nil
}

func (s *Store) removeTemps() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), tempSuffix) {
			continue
		}
		s.log.Info("stage: removing what a killed process left unfinished", "file", e.Name())
		if err := removeIfThere(filepath.Join(s.dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// temp makes a new file in the directory.
func (s *Store) temp() (*os.File, error) { return os.CreateTemp(s.dir, "*"+tempSuffix) }

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

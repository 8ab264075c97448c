package blockfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	dataSuffix = ".data"
	sideSuffix = ".meta"
	scanners   = 8 // directories that Scan reads at a time
)

// Dir is a directory of contents: XX/<id>.data and XX/<id>.meta, the id in 16 hexadecimal digits, XX its last two.
type Dir struct {
	Path string
	// Fault, when set, is asked before each "create", "read" and "write" of a file; an error is taken for the disk's.
	Fault func(op, path string) error
}

func (d Dir) fault(op, path string) error {
	if d.Fault == nil {
		return nil
	}
	return d.Fault(op, path)
}

func (d Dir) paths(id uint64) (data, side string) {
	base := fmt.Sprintf("%016x", id)
	base = filepath.Join(d.Path, base[14:], base)
	return base + dataSuffix, base + sideSuffix
}

// Create makes the files of a content, without blocks. What was there is lost.
func (d Dir) Create(m Meta) (*File, error) {
	data, side := d.paths(m.ID)
	if err := d.fault("create", data); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(data), 0o700); err != nil {
		return nil, err
	}
	f, err := d.open(data, side, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	f.meta, f.entriesAt = m, m.entriesOffset()
	err = f.data.Truncate(m.Size)
	if err == nil {
		err = f.write(f.side, m.header(f.entriesAt), 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), d.Remove(m.ID))
	}
	return f, nil
}

// Open opens the files of a content. An error that is fs.ErrNotExist means that there is none; any other that what is
// there cannot be used.
func (d Dir) Open(id uint64) (*File, error) {
	data, side := d.paths(id)
	f, err := d.open(data, side, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	if err := f.load(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if f.meta.ID != id {
		err := fmt.Errorf("%w: %s is of content %d", ErrDamaged, side, f.meta.ID)
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (d Dir) open(data, side string, flag int) (*File, error) {
	df, err := os.OpenFile(data, flag, 0o600)
	if err != nil {
		return nil, err
	}
	sf, err := os.OpenFile(side, flag, 0o600)
	if err != nil {
		return nil, errors.Join(err, df.Close())
	}
	return &File{dir: d, data: df, side: sf, pages: make(map[int64]*page)}, nil
}

// Sums are the entries of all blocks of a content.
type Sums []uint64

// Sum reads a local file that is the whole content.
func (d Dir) Sum(m Meta, path string) (Sums, error) {
	if err := d.fault("read", path); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	f := &File{meta: m}
	sums := make(Sums, 0, Blocks(m.Size))
	buf := make([]byte, 16*BlockSize)
	for off := int64(0); off < m.Size; off += int64(len(buf)) {
		p := buf[:min(int64(len(buf)), m.Size-off)]
		if _, err := io.ReadFull(file, p); err != nil {
			return nil, err
		}
		for len(p) > 0 {
			n := min(len(p), BlockSize)
			sums = append(sums, f.newEntry(int64(len(sums)), crc32.Checksum(p[:n], castagnoli)))
			p = p[n:]
		}
	}
	return sums, nil
}

// Import renames a local file, which is the whole content and has the sums, into the directory. The caller has made
// sure that nothing is there of that id. After an error the file may be at its old place or nowhere.
func (d Dir) Import(m Meta, from string, sums Sums) (*File, error) {
	data, side := d.paths(m.ID)
	if err := d.fault("create", data); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(data), 0o700); err != nil {
		return nil, err
	}
	// A data file without a sidecar is nothing, so whatever happens in between leaves nothing false.
	if err := os.Rename(from, data); err != nil {
		return nil, err
	}
	f, err := d.open(data, side, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, errors.Join(err, d.Remove(m.ID))
	}
	f.meta, f.entriesAt = m, m.entriesOffset()
	text := make([]byte, f.entriesAt, f.entryAt(int64(len(sums))))
	copy(text, m.header(f.entriesAt))
	for block, e := range sums {
		text = binary.LittleEndian.AppendUint64(text, e)
		f.setEntry(int64(block), e)
	}
	if err := f.write(f.side, text, 0); err != nil {
		return nil, errors.Join(err, f.Close(), d.Remove(m.ID))
	}
	return f, nil
}

// Remove removes the files of a content. None is no error.
func (d Dir) Remove(id uint64) error {
	data, side := d.paths(id)
	return errors.Join(remove(data), remove(side))
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Export renames the data file of a content to another place and forgets the content.
func (d Dir) Export(id uint64, to string) error {
	data, side := d.paths(id)
	if err := os.Rename(data, to); err != nil {
		return err
	}
	return remove(side)
}

// Found is a content that Scan found.
type Found struct {
	ID    uint64
	Used  time.Time // when its sidecar was last written
	Size  int64     // of the content
	Side  int64     // cost of the sidecar
	Ends  []int64   // which of the first and the last two blocks are present
	Cost  int64     // of all present blocks
	Count int64     // present blocks
}

// Scan calls found for each content in the directory, in no order, from one goroutine at a time. What is no good content is removed.
func (d Dir) Scan(found func(Found)) error {
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return err
	}
	subs, err := os.ReadDir(d.Path)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(scanners)
	results := make(chan Found)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for f := range results {
			found(f)
		}
	}()
	for _, sub := range subs {
		g.Go(func() error { return d.scanSub(sub, results) })
	}
	err = g.Wait()
	close(results)
	<-done
	return err
}

func (d Dir) scanSub(sub fs.DirEntry, results chan<- Found) error {
	path := filepath.Join(d.Path, sub.Name())
	if _, err := strconv.ParseUint(sub.Name(), 16, 8); err != nil || len(sub.Name()) != 2 || !sub.IsDir() {
		return os.RemoveAll(path)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	have := make(map[uint64]int)
	for _, e := range entries {
		id, ok := contentID(e, sub.Name())
		if !ok {
			if err := os.RemoveAll(filepath.Join(path, e.Name())); err != nil {
				return err
			}
			continue
		}
		have[id]++
	}
	for id, files := range have {
		f, ok := d.inspect(id, files)
		if !ok {
			if err := d.Remove(id); err != nil {
				return err
			}
			continue
		}
		results <- f
	}
	return nil
}

// contentID returns the id that a file's name gives.
func contentID(e fs.DirEntry, sub string) (uint64, bool) {
	name, ok := strings.CutSuffix(e.Name(), dataSuffix)
	if !ok {
		name, ok = strings.CutSuffix(e.Name(), sideSuffix)
	}
	if !ok || len(name) != 16 || name[14:] != sub || !e.Type().IsRegular() || strings.ToLower(name) != name {
		return 0, false
	}
	id, err := strconv.ParseUint(name, 16, 64)
	return id, err == nil
}

// inspect reads what is there of a content that has so many files; false when that is nothing good.
func (d Dir) inspect(id uint64, files int) (Found, bool) {
	if files != 2 {
		return Found{}, false
	}
	f, err := d.Open(id)
	if err != nil {
		return Found{}, false
	}
	defer f.Close()
	st, err := f.side.Stat()
	if err != nil || f.present == 0 || f.Reclaim() != nil {
		return Found{}, false
	}
	r := Found{ID: id, Used: st.ModTime(), Size: f.meta.Size, Side: f.SideCost(), Count: f.present}
	f.Each(func(block int64) {
		r.Cost += Cost(f.meta.Size, block)
		if block == 0 || block >= Blocks(f.meta.Size)-2 {
			r.Ends = append(r.Ends, block)
		}
	})
	return r, true
}

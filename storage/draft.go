package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sharefs/storage/container"
)

// maxReplaced is the largest file of a slot that an update replaces. Larger ones are changed in place.
const maxReplaced = 8 << 20

// draft is a share of a slot that is being changed. One of three:
//
//	replaced   the new contents are in memory, then in a file in incoming, then have the share's name
//	new        the same, but those that are too large for memory are in the file from the start
//	in place   the file is the share's
type draft struct {
	store  *Store
	name   shareName
	share  *container.MutableFile
	buffer *container.Buffer // nil: not in memory
	file   File              // nil: none, or closed
	temp   string            // the file's name in incoming; empty: none, or it has the share's name
}

// draftOf returns the draft of a share, new or not, that can take what an update brings.
func (s *Store) draftOf(name shareName, secrets SlotSecrets, update ShareUpdate) (*draft, error) {
	f, c, size, err := s.openMutable(name, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return s.newDraft(name, secrets, update)
	}
	if err != nil {
		return nil, err
	}
	after := size
	for _, w := range update.Writes {
		after = max(after, c.SizeAfter(w.Offset, int64(len(w.Data))))
	}
	return s.edit(name, f, c, size, after)
}

// edit returns the draft of a share that is there. The file has one size and will have another; it is the draft's from then on.
func (s *Store) edit(name shareName, f File, c *container.MutableFile, size, after int64) (*draft, error) {
	d := &draft{store: s, name: name, share: c, file: f}
	err := s.checkGrowth(name, after-size)
	if err == nil && after <= maxReplaced {
		err = d.load(size)
	}
	if err != nil {
		return nil, errors.Join(err, d.discard())
	}
	return d, nil
}

// checkGrowth refuses what the disk has no room for, before zeros fill it.
func (s *Store) checkGrowth(name shareName, grow int64) error {
	if grow > s.freeSpace() {
		return fmt.Errorf("share %v grows by %d bytes: %w", name, grow, ErrNoSpace)
	}
	return nil
}

// load reads the share into memory, where it is changed.
func (d *draft) load(size int64) error {
	contents := make([]byte, size)
	if n, err := d.file.ReadAt(contents, 0); n < len(contents) {
		return fmt.Errorf("share %v: reading %d bytes of %d: %w", d.name, n, size, err)
	}
	if err := d.closeFile(); err != nil {
		return err
	}
	d.buffer = container.NewBuffer(contents)
	var err error
	d.share, err = container.OpenMutable(d.store.sharePath(d.name), d.buffer, size)
	return err
}

// newDraft returns the draft of a share that is not yet there.
func (s *Store) newDraft(name shareName, secrets SlotSecrets, update ShareUpdate) (*draft, error) {
	d := &draft{store: s, name: name}
	var f container.File
	size := int64(0)
	for _, w := range update.Writes {
		size = max(size, w.Offset+int64(len(w.Data)))
	}
	if err := s.checkGrowth(name, size); err != nil {
		return nil, err
	}
	if size <= maxReplaced {
		d.buffer = container.NewBuffer(nil)
		f = d.buffer
	} else {
		if err := d.create(); err != nil {
			return nil, err
		}
		f = d.file
	}
	var err error
	d.share, err = container.NewMutable(s.sharePath(name), f, s.o.NodeID, secrets.WriteEnabler)
	if err != nil {
		return nil, errors.Join(err, d.discard())
	}
	return d, nil
}

// create makes the file in incoming.
func (d *draft) create() error {
	temp := filepath.Join(d.store.incomingDir(), fmt.Sprintf("%v.%d", d.name.index, d.name.number))
	open := func() (File, error) {
		return d.store.fs.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
	}
	f, err := open()
	if errors.Is(err, fs.ErrNotExist) { // of a read-only store, whose incoming is not made before
		if err := mkdirAll(d.store.fs, d.store.incomingDir()); err != nil {
			return err
		}
		f, err = open()
	}
	if err != nil {
		return err
	}
	d.file, d.temp = f, temp
	return nil
}

// finish brings the contents to the disk. A draft that is not in place can still be discarded.
func (d *draft) finish() error {
	least := Durable
	if d.buffer != nil {
		if !d.buffer.Changed() {
			return nil
		}
		if err := d.create(); err != nil {
			return err
		}
		if _, err := d.file.WriteAt(d.buffer.Bytes(), 0); err != nil {
			return err
		}
		d.buffer, d.share = nil, nil // an update may have many shares
	}
	if d.temp != "" {
		least = Ordered
	}
	if err := d.store.sync(d.file, least); err != nil {
		return err
	}
	return d.closeFile()
}

// commit gives the new contents the share's name.
func (d *draft) commit() error {
	if d.temp == "" {
		return nil
	}
	if err := d.store.install(d.temp, d.name); err != nil {
		return err
	}
	d.temp = ""
	return nil
}

// discard removes what commit has not made a share.
func (d *draft) discard() error {
	err := d.closeFile()
	if d.temp != "" {
		err = errors.Join(err, d.store.fs.Remove(d.temp))
	}
	return err
}

func (d *draft) closeFile() error {
	f := d.file
	d.file = nil
	if f == nil {
		return nil
	}
	return f.Close()
}

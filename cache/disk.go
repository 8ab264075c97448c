package cache

import (
	"errors"
	"io/fs"

	"sharefs/cache/internal/blockfile"
	"sharefs/provider"
)

func (o *object) closeFiles() {
	o.io.Lock()
	defer o.io.Unlock()
	o.closeLocked()
}

// closeLocked closes the files. io is locked.
func (o *object) closeLocked() {
	if o.state != diskOpen {
		return
	}
	if err := o.file.Close(); err != nil {
		o.c.trouble("closing a content", err)
	}
	o.file, o.state = nil, diskClosed
}

// attach opens the files of a content that has some.
func (o *object) attach() {
	o.io.RLock()
	closed := o.state == diskClosed
	o.io.RUnlock()
	if closed {
		o.io.Lock()
		o.open()
		o.io.Unlock()
	}
}

// open opens the files, if there are some that are not open, and removes those that are damaged or of another content.
// io is locked.
func (o *object) open() {
	if o.state != diskClosed {
		return
	}
	file, err := o.c.dir.Open(uint64(o.id))
	if err != nil {
		o.countUnusable(err)
		o.forget(leftBad)
		return
	}
	o.file, o.state = file, diskOpen
	at := o.place()
	if o.trust == trustChecked || at == nil {
		return
	}
	m := file.Meta()
	if m.Size != o.size || m.Key != at.key || m.Version != string(at.version) {
		o.c.opts.Logger.Debug("the read cache has an old content under this id; it is removed", "id", o.id, "had", m.Key, "is", at.key)
		o.forget(leftBad)
		return
	}
	o.trust = trustChecked
}

// countUnusable counts files that could not be opened.
func (o *object) countUnusable(err error) {
	switch {
	case errors.Is(err, blockfile.ErrDamaged):
		o.c.stats.corrupt.Add(o.blocks)
		o.c.opts.Logger.Warn("a cached content has a damaged sidecar and is fetched again", "id", o.id, "error", err)
	case errors.Is(err, fs.ErrNotExist):
		o.c.opts.Logger.Warn("somebody removed a cached content", "id", o.id)
	default:
		o.c.trouble("opening a content", err)
	}
}

func (o *object) place() *place {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	return o.at
}

// create makes the files of a content that has none.
func (o *object) create() {
	o.io.Lock()
	defer o.io.Unlock()
	if o.state != diskNone {
		return
	}
	file, err := o.c.dir.Create(o.meta())
	if err != nil {
		o.c.trouble("making a content", err)
		return
	}
	o.file, o.state, o.trust = file, diskOpen, trustChecked
}

func (o *object) meta() blockfile.Meta {
	at := o.place()
	return blockfile.Meta{ID: uint64(o.id), Key: at.key, Version: string(at.version), Size: o.size}
}

// forget removes what is on disk. io is locked.
func (o *object) forget(why leaving) {
	o.closeLocked()
	if o.state == diskClosed {
		if err := o.c.dir.Remove(uint64(o.id)); err != nil {
			o.c.trouble("removing a content", err)
		}
	}
	o.gone(why)
}

// gone accounts for files that are no more there. io is locked, the files are closed.
func (o *object) gone(why leaving) {
	c := o.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uncharge(o, why)
	switch {
	case why == leftForGood:
		o.state = diskOff
		c.unindex(o)
	case o.state != diskOff:
		o.state, o.trust = diskNone, trustChecked
	}
}

func (o *object) retarget(key string, v provider.Version) {
	o.io.Lock()
	defer o.io.Unlock()
	o.open() // compares with the place before this one, if somebody named it
	if o.state == diskOpen && o.trust == trustUnchecked && o.c.opts.Owner == "" {
		o.forget(leftBad)
	}
	o.c.mu.Lock()
	o.at = &place{key, v}
	o.c.mu.Unlock()
	if o.state != diskOpen {
		return
	}
	if err := o.file.SetMeta(key, string(v)); err != nil {
		o.c.trouble("renaming a content", err)
		o.forget(leftBad)
		return
	}
	o.trust = trustChecked
}

// run returns how many blocks from block on, up to limit, are on disk.
func (o *object) run(block, limit int64) int64 {
	o.io.RLock()
	defer o.io.RUnlock()
	if o.state != diskOpen {
		return 0
	}
	return o.file.Run(block, limit)
}

// read fills p with whole blocks from disk, from block on, and returns how many of them are good. A block that is not
// is forgotten.
func (o *object) read(p []byte, block int64) (good int64) {
	o.io.RLock()
	if o.state != diskOpen {
		o.io.RUnlock()
		return 0
	}
	good, err := o.file.Read(p, block)
	ok := good > 0 || err == nil || o.clearBad(block, err)
	o.io.RUnlock()
	if !ok {
		o.io.Lock()
		o.forget(leftBad)
		o.io.Unlock()
	}
	return good
}

// clearBad forgets a block that could not be read; false when not even that works. io is locked for reading.
func (o *object) clearBad(block int64, cause error) bool {
	c := o.c
	o.countBad(block, cause)
	freed, err := o.file.Clear(block, block+1)
	if freed > 0 {
		c.refund(o, block, freed)
	}
	if err != nil {
		c.trouble("clearing a block", err)
	}
	return err == nil
}

// countBad counts a block that could not be read.
func (o *object) countBad(block int64, cause error) {
	if !errors.Is(cause, blockfile.ErrCorrupt) {
		o.c.trouble("reading a block", cause)
		return
	}
	o.c.stats.corrupt.Add(1)
	o.c.opts.Logger.Warn("a cached block does not match its checksum and is fetched again", "id", o.id, "block", block)
}

// store puts a block on disk, in room that was reserved, and says whether that worked.
func (o *object) store(r *reservation, block int64, data []byte) landedState {
	if r == nil || !o.tryStore(r, block, data) {
		o.c.stats.unkept.Add(1)
		return landedUnkept
	}
	return landedKept
}

func (o *object) tryStore(r *reservation, block int64, data []byte) bool {
	o.io.RLock()
	if o.state == diskNone {
		o.io.RUnlock()
		o.create()
		o.io.RLock()
	}
	defer o.io.RUnlock()
	if o.state != diskOpen {
		return false
	}
	added, err := o.file.Write(block, data)
	if err != nil {
		o.c.trouble("writing a block", err)
		return false
	}
	r.commit(o, block, added, o.file.SideCost())
	return true
}

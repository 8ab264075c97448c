package cache

import (
	"errors"
	"fmt"
	"os"

	"sharefs/cache/internal/blockfile"
)

// verifyBlocks is how many blocks are read at a time to verify them.
const verifyBlocks = 16

// take is Cache.Take of a content that nobody else holds.
func (o *object) take(to string) ([]Range, bool, error) {
	o.abandon()
	o.awaitStored()
	o.io.Lock()
	defer o.io.Unlock()
	o.open()
	if o.state != diskOpen {
		return nil, false, nil
	}
	present := o.verify()
	if len(present) == 0 {
		o.forget(leftBad)
		return nil, false, nil
	}
	o.closeLocked()
	if err := o.c.dir.Export(uint64(o.id), to); err != nil {
		return nil, false, fmt.Errorf("take content %d out of the read cache: %w", o.id, err)
	}
	o.gone(leftForGood)
	return present, true, nil
}

// verify returns the ranges whose blocks match their checksums. io is locked.
func (o *object) verify() (present []Range) {
	buf := make([]byte, verifyBlocks*blockfile.BlockSize)
	for b := int64(0); b < o.blocks; {
		n := o.file.Run(b, min(verifyBlocks, o.blocks-b))
		if n == 0 {
			b++
			continue
		}
		off := b * blockfile.BlockSize
		p := buf[:min(n*blockfile.BlockSize, o.size-off)]
		good, err := o.file.Read(p, b)
		if good > 0 {
			present = appendRange(present, Range{off, min(good*blockfile.BlockSize, int64(len(p)))})
		}
		b += good
		if err != nil {
			o.countBad(b, err)
			b++
		}
	}
	return present
}

// appendRange adds a range that lies behind the others, and joins it to the last when they touch.
func appendRange(to []Range, r Range) []Range {
	if n := len(to); n > 0 && to[n-1].Off+to[n-1].Len == r.Off {
		to[n-1].Len += r.Len
		return to
	}
	return append(to, r)
}

// give is Cache.Give.
func (c *Cache) give(obj Object, from string) error {
	st, err := os.Stat(from)
	switch {
	case err != nil:
		return fmt.Errorf("give content %d to the read cache: %w", obj.ID, err)
	case !st.Mode().IsRegular() || st.Size() != obj.Size:
		return fmt.Errorf("give content %d to the read cache: %s is no file of %d bytes", obj.ID, from, obj.Size)
	}
	if obj.Size == 0 {
		return os.Remove(from)
	}
	o := c.hold(obj)
	defer o.release()
	if c.receive(o, place{obj.Key, obj.Version}, from) {
		return nil
	}
	if err := os.Remove(from); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove what the read cache does not keep: %w", err)
	}
	return nil
}

// receive takes a file over, if there is room for it. What was there of the content goes.
func (c *Cache) receive(o *object, at place, from string) bool {
	room := c.reserve(o, body, o.wholeCost())
	if room == nil {
		return false
	}
	defer room.release()
	sums, err := c.dir.Sum(o.meta(), from)
	if err != nil {
		c.trouble("reading a file to keep", err)
		return false
	}
	o.io.Lock()
	defer o.io.Unlock()
	if o.state == diskOff {
		return false
	}
	o.forget(leftBad)
	c.mu.Lock()
	o.at = &at
	c.mu.Unlock()
	file, err := c.dir.Import(o.meta(), from, sums)
	if err != nil {
		c.trouble("keeping a file", err)
		return false
	}
	o.file, o.state = file, diskOpen
	for b := range o.blocks {
		room.commit(o, b, true, 0)
	}
	room.commit(o, 0, false, file.SideCost())
	return true
}

// wholeCost returns what all blocks take.
func (o *object) wholeCost() int64 {
	if o.blocks == 0 {
		return 0
	}
	return (o.blocks-1)*blockfile.BlockSize + blockfile.Cost(o.size, o.blocks-1)
}

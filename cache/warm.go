package cache

import (
	"slices"
	"sync"
)

// warmContents is how many contents that nobody holds keep their files open: opening them again costs more than a read.
const warmContents = 64

// warm is the list of those, the one that was used last at the end.
type warm struct {
	mu   sync.Mutex
	list []*object // guarded by mu
}

// add puts an object at the end, and returns the one that falls out for it, or nil.
func (w *warm) add(o *object) *object {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = slices.DeleteFunc(w.list, func(x *object) bool { return x == o })
	w.list = append(w.list, o)
	if len(w.list) <= warmContents {
		return nil
	}
	out := w.list[0]
	w.list = slices.Delete(w.list, 0, 1)
	return out
}

// rest keeps the files warm if nobody needs them, and closes those of the object that was warm longest.
func (o *object) rest() {
	if o.needed() {
		return // and no waiting for the disk: the last flight comes here again
	}
	o.io.Lock()
	warm := o.idle() && o.state == diskOpen
	o.io.Unlock()
	if !warm {
		return
	}
	if out := o.c.warm.add(o); out != nil {
		out.io.Lock()
		if out.idle() {
			out.closeLocked()
		}
		out.io.Unlock()
	}
}

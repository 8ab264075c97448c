package commit

import "slices"

// Hurry makes everything due that only waits for quiet, or because of its path: the local disk is short, and what is stored
// gives room. What failed keeps its pause; what is open for writing, or on a scratch path, stays.
func (c *Committer) Hurry() { c.q.hurry() }

func (q *queue) hurry() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range slices.Clone(q.heap) {
		if it.id.ino != 0 && it.tries == 0 {
			it.hurried = true
			q.place(it, atOnce)
		}
	}
}

// HurryDoomed has objects deleted without a delay, and does not wait for that.
func (c *Committer) HurryDoomed(keys ...string) {
	c.q.urge(doomedItems(keys), c.o.Now())
}

package commit

import (
	"slices"
	"strings"
)

// keySet are the keys that a running request reads and writes, without trailing slashes.
type keySet struct{ writes, reads []string }

// claim notes the keys of a request that is about to run, unless they conflict with those of one that runs: then it returns
// whose.
func (q *queue) claim(id itemID, ks keySet) (other itemID, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for other, have := range q.keys {
		if other != id && conflict(ks, have) {
			return other, false
		}
	}
	q.keys[id] = ks
	return itemID{}, true
}

func conflict(a, b keySet) bool {
	for _, w := range a.writes {
		if slices.ContainsFunc(b.writes, func(k string) bool { return related(w, k) }) ||
			slices.ContainsFunc(b.reads, func(k string) bool { return related(w, k) }) {
			return true
		}
	}
	for _, r := range a.reads {
		if slices.ContainsFunc(b.writes, func(k string) bool { return related(r, k) }) {
			return true
		}
	}
	return false
}

// related reports whether two keys are equal or one lies below the other.
func related(a, b string) bool {
	a, b = strings.TrimSuffix(a, "/"), strings.TrimSuffix(b, "/")
	if len(a) > len(b) {
		a, b = b, a
	}
	return strings.HasPrefix(b, a) && (len(a) == len(b) || b[len(a)] == '/')
}

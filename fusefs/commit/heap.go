package commit

// dueHeap orders items by the time they are due.
type dueHeap []*item

// firstUrgent returns the item that is due first of those that somebody waits for; nil when there is none.
func (h dueHeap) firstUrgent() (first *item) {
	for _, it := range h {
		if it.urged && (first == nil || it.due.Before(first.due)) {
			first = it
		}
	}
	return first
}

func (h dueHeap) Len() int { return len(h) }

func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *dueHeap) Push(x any) {
	it := x.(*item)
	it.index = len(*h)
	*h = append(*h, it)
}

func (h *dueHeap) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	it.index = -1
	return it
}

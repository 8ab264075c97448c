package stage

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// memory bounds the bytes of contents that a store holds in memory, half for what is being fetched and half for copies
// that are being uploaded.
//
// Who fetches waits for its share; it holds no lock then, and whoever has the share waits for the base at most. Who uploads
// does not: without a copy in memory it reads a copy on disk, or the file itself.
type memory struct {
	limit   int64 // of each half
	fetches *semaphore.Weighted
	copies  *semaphore.Weighted
	used    atomic.Int64
	most    atomic.Int64 // of used, ever
}

const defaultMemory = 64 << 20

func (m *memory) init(budget int64) {
	if budget <= 0 {
		budget = defaultMemory
	}
	m.limit = max(budget/2&^(pageSize-1), pageSize)
	m.fetches, m.copies = semaphore.NewWeighted(m.limit), semaphore.NewWeighted(m.limit)
}

// fetch waits for the memory of a fetch of n bytes, which done gives back. Windows are no larger than all there is.
func (m *memory) fetch(ctx context.Context, n int64) (done func(), err error) {
	share := min(n, m.limit)
	if err := m.fetches.Acquire(ctx, share); err != nil {
		return nil, err
	}
	m.count(n)
	return func() {
		m.count(-n)
		m.fetches.Release(share)
	}, nil
}

// copy takes the memory of a copy of n bytes, which done gives back, if there is some.
func (m *memory) copy(n int64) (done func(), ok bool) {
	if n > m.limit || !m.copies.TryAcquire(n) {
		return nil, false
	}
	m.count(n)
	return func() {
		m.count(-n)
		m.copies.Release(n)
	}, true
}

func (m *memory) count(n int64) {
	now := m.used.Add(n)
	for {
		most := m.most.Load()
		if now <= most || m.most.CompareAndSwap(most, now) {
			return
		}
	}
}

package cache

import (
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"

	"sharefs/cache/internal/blockfile"
)

// memory is the tier above the disk: blocks that were read in part and are likely to be read again. What is read in
// whole blocks passes by it, for the kernel keeps that already.
//
// The budget is shared: three quarters for the tier, and one for blocks that could not be kept on disk and wait for the
// reader that they were fetched ahead for.
type memory struct {
	tier       *ristretto.Cache[uint64, *memBlock]
	spareLimit int64
	spare      atomic.Int64
}

type memBlock struct {
	id    ID
	block int64
	size  int64 // of the content
	data  []byte
}

func newMemory(budget int64) (*memory, error) {
	tier, err := ristretto.NewCache(&ristretto.Config[uint64, *memBlock]{
		NumCounters:        max(10*budget/blockfile.BlockSize, 1000),
		MaxCost:            budget - budget/4,
		BufferItems:        64,
		IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, err
	}
	return &memory{tier: tier, spareLimit: budget / 4}, nil
}

// memKey is near to unique; memBlock tells for certain.
func memKey(id ID, block int64) uint64 {
	return uint64(id)*0x9e3779b97f4a7c15 ^ uint64(block)*0xd6e8feb86659fd93
}

// get returns a block, which nobody changes, or nil.
func (m *memory) get(id ID, size, block int64) []byte {
	b, ok := m.tier.Get(memKey(id, block))
	if !ok || b.id != id || b.block != block || b.size != size {
		return nil
	}
	return b.data
}

// put keeps a block, if it is worth it. Nobody may change data afterwards.
func (m *memory) put(id ID, size, block int64, data []byte) {
	m.tier.Set(memKey(id, block), &memBlock{id, block, size, data}, int64(len(data)))
}

// takeSpare counts n bytes that wait for their reader; false when the budget has no room for them.
func (m *memory) takeSpare(n int64) bool {
	if m.spare.Add(n) > m.spareLimit {
		m.spare.Add(-n)
		return false
	}
	return true
}

func (m *memory) bytes() int64 {
	return m.tier.MaxCost() - m.tier.RemainingCost() + m.spare.Load()
}

func (m *memory) close() { m.tier.Close() }

package storage

import (
	"math"

	"sharefs/storage/container"
)

// Limits are what a client is told of what it may store, in bytes.
type Limits struct {
	MaxImmutable int64 // size of a share
	MaxMutable   int64
	Available    int64
}

// Limits returns what a client may store.
func (s *Store) Limits() Limits {
	free := s.AvailableSpace()
	return Limits{MaxImmutable: free, MaxMutable: container.MaxMutableSize, Available: free}
}

// AvailableSpace returns how many bytes of immutable shares there is room for: what is free beside ReservedSpace; 0 for a
// read-only store, and where the disk does not tell. Uploads in progress are not subtracted.
func (s *Store) AvailableSpace() int64 {
	if s.o.ReadOnly {
		return 0
	}
	space, err := s.Space()
	if err != nil {
		s.log.Error("the disk does not tell its free space: no share is taken", "dir", s.dir, "err", err)
		return 0
	}
	return max(space.Available-s.o.ReservedSpace, 0)
}

// Space returns the room on the disk, with what is reserved.
func (s *Store) Space() (Space, error) { return s.fs.Space(s.sharesDir()) }

// freeSpace is what slots may grow by: they do not mind what is reserved.
func (s *Store) freeSpace() int64 {
	space, err := s.Space()
	if err != nil {
		return math.MaxInt64 // a write will tell
	}
	return space.Available
}

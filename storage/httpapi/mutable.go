package httpapi

import (
	"context"
	"math"
	"net/http"

	"sharefs/storage"
	"sharefs/storage/container"
)

// slotReply is { "success": bool, "data": {0*256 share_number: [0* bstr]} }.
type slotReply struct {
	Success bool             `cbor:"success" json:"success"`
	Data    map[int][][]byte `cbor:"data" json:"data"`
}

// changeSlot reads from the shares of a slot, and changes some if they are as the client believes: POST mutable/INDEX/read-test-write.
func (s *Server) changeSlot(c *call) error {
	var m slotMessage
	release, err := s.receive(c, s.options.MaxMessage, &m)
	if err != nil {
		return err
	}
	defer release()
	update, err := m.update()
	if err != nil {
		return err
	}
	update.Secrets = storage.SlotSecrets{WriteEnabler: c.secrets.fixed(writeEnabler), Lease: c.lease()}
	done, err := s.roomToRead(c.ctx(), c.index, update.Read)
	if err != nil {
		return err
	}
	defer done()
	if err := s.changes.Acquire(c.ctx(), 1); err != nil {
		return err
	}
	defer s.changes.Release(1)
	result, err := s.store.ReadTestWrite(c.index, update)
	if err != nil {
		return err
	}
	return s.send(c, http.StatusOK, slotReply{Success: result.Written, Data: result.Data})
}

// update returns what a message asks for, as the store has it. Its data refer to the message.
func (m *slotMessage) update() (storage.SlotUpdate, error) {
	u := storage.SlotUpdate{Shares: map[int]storage.ShareUpdate{}}
	for _, v := range m.reads {
		u.Read = append(u.Read, rangeOf(v.Offset, v.Size))
	}
	for _, share := range m.shares {
		if share.number > math.MaxInt32 {
			return u, problem(http.StatusBadRequest, "the share number %d is too large", share.number)
		}
		var change storage.ShareUpdate
		for _, v := range share.tests {
			change.Tests = append(change.Tests, storage.Test{Range: rangeOf(v.Offset, v.Size), Specimen: v.Specimen.value})
		}
		for _, v := range share.writes {
			change.Writes = append(change.Writes, storage.Write{Offset: clamp(v.Offset), Data: v.Data.value})
		}
		if share.NewLength.given {
			length := clamp(share.NewLength.natural)
			change.NewLength = &length
		}
		u.Shares[int(share.number)] = change
	}
	return u, nil
}

func rangeOf(offset, size natural) storage.Range {
	return storage.Range{Offset: clamp(offset), Length: clamp(size)}
}

// clamp returns a number as an offset. No share reaches so far, so what is beyond makes no difference.
func clamp(n natural) int64 { return int64(min(n.value, math.MaxInt64)) }

// roomToRead waits for room in memory for what is read from all shares of a slot, and for the answer with it.
func (s *Server) roomToRead(ctx context.Context, index storage.Index, read []storage.Range) (release func(), err error) {
	if len(read) == 0 {
		return func() {}, nil
	}
	numbers, err := s.store.Shares(index)
	if err != nil {
		return nil, err
	}
	total := int64(0) // in memory once as it is, and once in the answer
	limit := s.options.Memory / 4
	for _, n := range numbers {
		size, err := s.sizeOf(index, n)
		if err != nil {
			return nil, err
		}
		for _, r := range read {
			if total += min(r.Length, max(size-r.Offset, 0)); total > limit {
				return nil, problem(http.StatusRequestEntityTooLarge, "what is to be read has more than %d bytes", limit)
			}
		}
	}
	if err := s.answers.Acquire(ctx, 2*total); err != nil {
		return nil, err
	}
	return func() { s.answers.Release(2 * total) }, nil
}

func (s *Server) sizeOf(index storage.Index, number int) (int64, error) {
	share, err := s.store.OpenShare(index, number)
	if err != nil {
		return 0, err
	}
	defer share.Close()
	return share.Size(), nil
}

// listMutable tells which shares there are: GET mutable/INDEX/shares.
func (s *Server) listMutable(c *call) error { return s.list(c) }

// readMutable reads a share: GET mutable/INDEX/SHARE.
func (s *Server) readMutable(c *call) error { return s.read(c, container.Mutable) }

// adviseMutable takes a report that a share is corrupt: POST mutable/INDEX/SHARE/corrupt.
func (s *Server) adviseMutable(c *call) error { return s.advise(c, container.Mutable) }

package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
)

// The bodies of requests, each with the schema that the specification has for it.

// message is the body of a request.
type message interface {
	// check returns what the body lacks.
	check() error
}

// allocateMessage is
//
//	{ share-numbers: #6.258([0*256 uint])  allocated-size: uint }
type allocateMessage struct {
	Numbers shareSet `cbor:"share-numbers" json:"share-numbers"`
	Size    natural  `cbor:"allocated-size" json:"allocated-size"`
}

func (m *allocateMessage) check() error {
	return lacks(field{"share-numbers", m.Numbers.given}, field{"allocated-size", m.Size.given})
}

// corruptMessage is
//
//	{ reason: tstr .size (1..32765) }
type corruptMessage struct {
	Reason *string `cbor:"reason" json:"reason"`
}

const maxReason = 32765 // bytes

func (m *corruptMessage) check() error {
	if err := lacks(field{"reason", m.Reason != nil}); err != nil {
		return err
	}
	if n := len(*m.Reason); n < 1 || n > maxReason {
		return fmt.Errorf("reason has %d bytes, want 1 to %d", n, maxReason)
	}
	return nil
}

// slotMessage is
//
//	{
//	  "test-write-vectors": { 0*256 share_number : {
//	    "test": [0*30 {"offset": uint, "size": uint, "specimen": bstr}]
//	    "write": [* {"offset": uint, "data": bstr}]
//	    "new-length": uint / null
//	  } }
//	  "read-vector": [0*30 {"offset": uint, "size": uint}]
//	}
//
// with at most maxWrites writes in all, which is this server's own limit.
type slotMessage struct {
	Shares raw  `cbor:"test-write-vectors" json:"test-write-vectors"`
	Reads  list `cbor:"read-vector" json:"read-vector"`

	shares []shareChange // what Shares has, by number
	reads  []readVector
}

type readVector struct {
	Offset natural `cbor:"offset" json:"offset"`
	Size   natural `cbor:"size" json:"size"`
}

type testVector struct {
	Offset   natural `cbor:"offset" json:"offset"`
	Size     natural `cbor:"size" json:"size"`
	Specimen octets  `cbor:"specimen" json:"specimen"`
}

type writeVector struct {
	Offset natural `cbor:"offset" json:"offset"`
	Data   octets  `cbor:"data" json:"data"`
}

// shareChange is what is asked for one share.
type shareChange struct {
	Test      list     `cbor:"test" json:"test"`
	Write     list     `cbor:"write" json:"write"`
	NewLength optional `cbor:"new-length" json:"new-length"`

	number uint64
	tests  []testVector
	writes []writeVector
}

func (m *slotMessage) check() error {
	if err := lacks(field{"test-write-vectors", m.Shares.given}, field{"read-vector", m.Reads.given}); err != nil {
		return err
	}
	var err error
	if m.reads, err = elements[readVector](m.Reads, maxVectors); err != nil {
		return fmt.Errorf("read-vector: %w", err)
	}
	for _, v := range m.reads {
		if err := lacks(field{"offset", v.Offset.given}, field{"size", v.Size.given}); err != nil {
			return fmt.Errorf("read-vector: %w", err)
		}
	}
	shares, err := m.byNumber()
	if err != nil {
		return fmt.Errorf("test-write-vectors: %w", err)
	}
	left := maxWrites
	for _, number := range slices.Sorted(maps.Keys(shares)) {
		change := shareChange{number: number}
		if err := change.read(shares[number], left); err != nil {
			return fmt.Errorf("share %d: %w", number, err)
		}
		left -= len(change.writes)
		m.shares = append(m.shares, change)
	}
	return nil
}

// byNumber returns the shares of a message, unread.
func (m *slotMessage) byNumber() (map[uint64]raw, error) {
	shares := map[uint64]raw{}
	first := m.Shares.item[0]
	switch {
	case !m.Shares.json && first>>5 != majorMap, m.Shares.json && first != '{':
		return nil, errors.New("not a map")
	case !m.Shares.json:
		if err := m.Shares.decode(&shares); err != nil {
			return nil, err
		}
	default:
		byName := map[string]raw{}
		if err := m.Shares.decode(&byName); err != nil {
			return nil, err
		}
		for name, share := range byName {
			number, err := strconv.ParseUint(name, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%q is not a share number", name)
			}
			shares[number] = share
		}
	}
	if len(shares) > maxSet {
		return nil, fmt.Errorf("%d shares, the most are %d", len(shares), maxSet)
	}
	return shares, nil
}

// read reads what is asked for a share, with at most so many writes.
func (c *shareChange) read(share raw, maxWrites int) error {
	if err := share.decode(c); err != nil {
		return err
	}
	length := c.NewLength
	if err := lacks(field{"test", c.Test.given}, field{"write", c.Write.given}, field{"new-length", length.given || length.null}); err != nil {
		return err
	}
	var err error
	if c.tests, err = elements[testVector](c.Test, maxVectors); err != nil {
		return fmt.Errorf("test: %w", err)
	}
	for _, v := range c.tests {
		if err := lacks(field{"offset", v.Offset.given}, field{"size", v.Size.given}, field{"specimen", v.Specimen.given}); err != nil {
			return fmt.Errorf("test: %w", err)
		}
	}
	if c.writes, err = elements[writeVector](c.Write, maxWrites); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	for _, v := range c.writes {
		if err := lacks(field{"offset", v.Offset.given}, field{"data", v.Data.given}); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// field is a field of a message, and whether it was there.
type field struct {
	name  string
	given bool
}

// lacks returns an error for the first field that was not there.
func lacks(fields ...field) error {
	for _, f := range fields {
		if !f.given {
			return fmt.Errorf("%s is missing", f.name)
		}
	}
	return nil
}

// decode reads a message. Its byte strings refer to body when that is CBOR.
func decode(body []byte, f format, m message) error {
	unmarshal := strict.Unmarshal
	if f == formatJSON {
		unmarshal = decodeJSON
	}
	if err := unmarshal(body, m); err != nil {
		return err
	}
	return m.check()
}

// decodeJSON reads one value, with nothing that is unknown in it and nothing behind it.
func decodeJSON(text []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

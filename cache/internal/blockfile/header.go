package blockfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// The sidecar begins with a header, all numbers little endian:
//
//	 0  8  magic
//	 8  4  format, 1
//	12  4  offset of the entries, a multiple of 2048
//	16  4  block size, 65536
//	20  4  length of the key
//	24  4  length of the version
//	28  8  content id
//	36  8  size of the content in bytes
//	44     key, version, CRC32C of all before
//
// The entries follow, 8 bytes for each block: the mark, then the CRC32C of the block. The mark is the CRC32C of content
// id (8 bytes), block number (8) and the block's CRC32C (4). An entry whose mark does not match is none.
const (
	magic       = "sharefsR"
	format      = 1
	headerFixed = 44
	headerStep  = 2048 // entries of a content up to 16 MiB share a page with a header of usual size
	headerSpare = 256  // room for a longer key or version after a rename
	maxHeader   = 1 << 20
)

// header is the wire form of the header.
func (m Meta) header(entriesAt int64) []byte {
	le := binary.LittleEndian
	b := append(make([]byte, 0, headerStep), magic...)
	b = le.AppendUint32(b, format)
	b = le.AppendUint32(b, uint32(entriesAt))
	b = le.AppendUint32(b, BlockSize)
	b = le.AppendUint32(b, uint32(len(m.Key)))
	b = le.AppendUint32(b, uint32(len(m.Version)))
	b = le.AppendUint64(b, m.ID)
	b = le.AppendUint64(b, uint64(m.Size))
	b = append(b, m.Key...)
	b = append(b, m.Version...)
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// entriesOffset chooses where the entries begin.
func (m Meta) entriesOffset() int64 {
	n := int64(headerFixed + len(m.Key) + len(m.Version) + 4 + headerSpare)
	return (n + headerStep - 1) / headerStep * headerStep
}

func parseHeader(b []byte) (m Meta, entriesAt int64, err error) {
	le := binary.LittleEndian
	if len(b) < headerFixed || string(b[:8]) != magic {
		return m, 0, fmt.Errorf("no header")
	}
	if v := le.Uint32(b[8:]); v != format {
		return m, 0, fmt.Errorf("format %d, this version reads %d", v, format)
	}
	entriesAt = int64(le.Uint32(b[12:]))
	key, version := int64(le.Uint32(b[20:])), int64(le.Uint32(b[24:]))
	end := headerFixed + key + version
	switch {
	case le.Uint32(b[16:]) != BlockSize:
		return m, 0, fmt.Errorf("block size %d, this version has %d", le.Uint32(b[16:]), BlockSize)
	case end+4 > int64(len(b)) || end+4 > entriesAt || entriesAt%headerStep != 0:
		return m, 0, fmt.Errorf("the header is too short for what it names")
	case crc32.Checksum(b[:end], castagnoli) != le.Uint32(b[end:]):
		return m, 0, fmt.Errorf("the header does not match its checksum")
	}
	m = Meta{
		ID:      le.Uint64(b[28:]),
		Size:    int64(le.Uint64(b[36:])),
		Key:     string(b[headerFixed : headerFixed+key]),
		Version: string(b[headerFixed+key : end]),
	}
	if m.Size < 0 {
		return m, 0, fmt.Errorf("the header has size %d", m.Size)
	}
	return m, entriesAt, nil
}

// load reads the sidecar.
func (f *File) load() error {
	if err := f.dir.fault("read", f.side.Name()); err != nil {
		return err
	}
	st, err := f.side.Stat()
	if err != nil {
		return err
	}
	head := make([]byte, min(st.Size(), maxHeader, grain))
	if _, err := f.side.ReadAt(head, 0); err != nil {
		return err
	}
	if len(head) >= headerFixed {
		if at := int64(binary.LittleEndian.Uint32(head[12:])); at > grain && at <= min(st.Size(), maxHeader) {
			head = make([]byte, at)
			if _, err := f.side.ReadAt(head, 0); err != nil {
				return err
			}
		}
	}
	if f.meta, f.entriesAt, err = parseHeader(head); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, f.side.Name(), err)
	}
	return f.loadEntries(st.Size())
}

func (f *File) loadEntries(size int64) error {
	var buf, zero [grain]byte
	blocks := Blocks(f.meta.Size)
	for k := f.entriesAt / grain; k*grain < size; k++ {
		n, err := f.side.ReadAt(buf[:], k*grain)
		if err != nil && err != io.EOF {
			return err
		}
		clear(buf[n:])
		if bytes.Equal(buf[:], zero[:]) {
			continue
		}
		for i := int64(0); i < grain; i += entrySize {
			block := (k*grain + i - f.entriesAt) / entrySize
			e := binary.LittleEndian.Uint64(buf[i:])
			if e == 0 || k*grain+i < f.entriesAt || block >= blocks {
				continue
			}
			if e == f.newEntry(block, uint32(e>>32)) {
				f.setEntry(block, e)
			}
		}
	}
	return nil
}

package stage

// The sidecar, <id>.map, lies beside a data file that is, or was, not wholly present, or that is larger than 8 MiB and
// started from an object. Integers are little-endian.
//
//	offset  bytes
//	     0      8  magic "sfstage\n"
//	     8      4  format version: 1
//	    12      4  page size: 4096
//	    16      8  base size: bytes of the object that the file started from
//	    24      4  CRC-32C of bytes 0 to 23
//	    28      4  zero
//	    32      8  limit: the base stands for no bytes from here on
//	    40      8  time of the last change, nanoseconds since 1970; 0: no change
//	    48     16  boot id of the kernel under which the file was last open
//	    64      8  whole: 1 when every page is present and its data is known to be durable
//	    72   4024  zero
//	  4096      n  present: a bit for each page of the base, lowest bit first; n is a multiple of 8
//	4096+n      n  dirty: likewise
//
// A change goes to the file by write(2) when it is made in memory, so it survives the process. (A shared mapping would
// save the system call, but a full disk, where the filesystem copies on write, then ends the process by SIGBUS.) The
// order is what a kill at any point relies on:
//
//   - A write sets dirty before the data and present after it. Dirty may name a page too many, present never. A page
//     that was being written as a whole, and was absent, reads as before.
//   - A page that is absent may have any bytes in the data file. They count for nothing.
//   - A truncation shortens the data file before it lowers the limit; whoever loads the file takes the smaller of both. A
//     limit that could not be lowered is lowered before the next change, and so before anything makes the file longer.
//   - Once the store has a newer version of the file, and whoever knows where it is has been told, a new sidecar replaces
//     the old one: its base is that version, and less is dirty. The old one would still do.
//   - The data file is removed before the sidecar, which is removed alone only from a wholly present file.
//
// Only a kernel that goes down (power loss) can bring a bit to the disk before the data that it speaks for. So after a
// reboot, which the boot id shows, present holds only for pages that are dirty too: their data was synced before
// the catalog called it so; what was only fetched is fetched again. Unless whole says that nothing was left to fetch when
// the data was synced: then the object may be gone by now, and all of it is here.
//
// A sidecar whose version is not ours is refused, never changed and never removed.

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
)

const (
	sideMagic   = "sfstage\n"
	sideVersion = 1

	sideAtVersion  = 8
	sideAtPageSize = 12
	sideAtBaseSize = 16
	sideAtSum      = 24
	sideAtLimit    = 32
	sideAtChanged  = 40
	sideAtBoot     = 48
	sideAtWhole    = 64
	sideHeader     = 4096
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// bootID names one run of the kernel.
type bootID [16]byte

// newBootID parses a boot id; an empty one is that of the running kernel.
func newBootID(text string) (bootID, error) {
	var id bootID
	if text == "" {
		b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return id, fmt.Errorf("cannot tell one boot from another: %w", err)
		}
		text = strings.TrimSpace(string(b))
	}
	b, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%q is no boot id", text)
	}
	copy(id[:], b)
	return id, nil
}

// sidecar is an open sidecar file. It is guarded by File.mu, but for file's own methods.
type sidecar struct {
	file     *os.File
	baseSize int64
	limit    int64 // as it is on disk
	changed  int64 // nanoseconds since 1970, 0: never; as it was on disk when the file was opened
	whole    bool  // as it is on disk; only Sync sets it
}

func sidecarBytes(baseSize int64) int64 { return sideHeader + 2*bitmapBytes(baseSize) }

// sideState is what a new sidecar says.
type sideState struct {
	size           int64   // of the base, in bytes
	present, dirty []Range // of pages
	changed        int64   // as in the format
	durable        bool    // on the disk before it is in its place, where there may be another one
}

// createSidecar writes a sidecar and puts it in place, whole.
func (s *Store) createSidecar(id ID, state sideState) (*pageMap, error) {
	size := state.size
	image := make([]byte, sidecarBytes(size))
	copy(image, sideMagic)
	binary.LittleEndian.PutUint32(image[sideAtVersion:], sideVersion)
	binary.LittleEndian.PutUint32(image[sideAtPageSize:], pageSize)
	binary.LittleEndian.PutUint64(image[sideAtBaseSize:], uint64(size))
	binary.LittleEndian.PutUint32(image[sideAtSum:], crc32.Checksum(image[:sideAtSum], castagnoli))
	binary.LittleEndian.PutUint64(image[sideAtLimit:], uint64(size))
	copy(image[sideAtBoot:], s.boot[:])
	binary.LittleEndian.PutUint64(image[sideAtChanged:], uint64(state.changed))
	for _, r := range state.present {
		bitmap(image[sideHeader:]).set(r.Off, r.end())
	}
	for _, r := range state.dirty {
		bitmap(image[sideHeader+bitmapBytes(size):]).set(r.Off, r.end())
	}
	file, err := s.temp()
	if err != nil {
		return nil, fmt.Errorf("make the sidecar: %w", err)
	}
	side := &sidecar{file: file, baseSize: size, limit: size, changed: state.changed}
	err = side.write(image, 0)
	if err == nil && state.durable {
		err = fsync(file)
	}
	if err == nil {
		err = os.Rename(file.Name(), s.mapPath(id))
	}
	if err != nil {
		os.Remove(file.Name())
		file.Close()
		return nil, fmt.Errorf("make the sidecar: %w", err)
	}
	return side.pageMap(image), nil
}

// openSidecar reads the sidecar of a data file of size bytes. fs.ErrNotExist when there is none.
func (s *Store) openSidecar(id ID, size int64) (*pageMap, error) {
	file, err := os.OpenFile(s.mapPath(id), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	m, err := s.readSidecar(file)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("sidecar %s: %w", s.mapPath(id), err)
	}
	m.cut(size)
	return m, nil
}

func (s *Store) readSidecar(file *os.File) (*pageMap, error) {
	baseSize, err := checkHeader(file)
	if err != nil {
		return nil, err
	}
	image := make([]byte, sidecarBytes(baseSize))
	if _, err := file.ReadAt(image, 0); err != nil {
		return nil, err
	}
	side := &sidecar{
		file:     file,
		baseSize: baseSize,
		limit:    int64(binary.LittleEndian.Uint64(image[sideAtLimit:])),
		changed:  int64(binary.LittleEndian.Uint64(image[sideAtChanged:])),
		whole:    binary.LittleEndian.Uint64(image[sideAtWhole:]) == 1,
	}
	m := side.pageMap(image)
	if boot := image[sideAtBoot : sideAtBoot+len(s.boot)]; bootID(boot) != s.boot && !side.whole {
		s.log.Debug("stage: the system was restarted: what was fetched and not changed is fetched again", "file", file.Name())
		return m, m.distrust(s.boot)
	}
	return m, nil
}

// distrust makes those pages absent that only the base vouches for.
func (m *pageMap) distrust(boot bootID) error {
	for i := range m.present {
		m.present[i] &= m.dirty[i]
	}
	m.absent.Store(m.present.countZeros(0, m.count()))
	if err := m.side.write(m.present, sideHeader); err != nil {
		return err
	}
	return m.side.write(boot[:], sideAtBoot) // last: a kill before leaves it to the next Load
}

// checkHeader returns the base size of a sidecar that can be mapped and used.
func checkHeader(file *os.File) (int64, error) {
	var h [sideHeader]byte
	if _, err := file.ReadAt(h[:], 0); err != nil {
		return 0, fmt.Errorf("read the header: %w", err)
	}
	if string(h[:len(sideMagic)]) != sideMagic {
		return 0, errors.New("not a sidecar")
	}
	if v := binary.LittleEndian.Uint32(h[sideAtVersion:]); v != sideVersion {
		return 0, fmt.Errorf("format version %d, this program knows %d: use the program that wrote it", v, sideVersion)
	}
	if crc32.Checksum(h[:sideAtSum], castagnoli) != binary.LittleEndian.Uint32(h[sideAtSum:]) {
		return 0, errors.New("the header is damaged: wrong checksum")
	}
	if n := binary.LittleEndian.Uint32(h[sideAtPageSize:]); n != pageSize {
		return 0, fmt.Errorf("page size %d, this program knows %d", n, pageSize)
	}
	size := int64(binary.LittleEndian.Uint64(h[sideAtBaseSize:]))
	limit := int64(binary.LittleEndian.Uint64(h[sideAtLimit:]))
	if size < 0 || limit < 0 || limit > size {
		return 0, fmt.Errorf("the header is damaged: limit %d of %d bytes", limit, size)
	}
	st, err := file.Stat()
	if err != nil {
		return 0, err
	}
	if st.Size() != sidecarBytes(size) {
		return 0, fmt.Errorf("%d bytes long, not %d", st.Size(), sidecarBytes(size))
	}
	return size, nil
}

// pageMap returns the map in the image of a sidecar.
func (d *sidecar) pageMap(image []byte) *pageMap {
	n := bitmapBytes(d.baseSize)
	m := &pageMap{limit: d.limit, present: image[sideHeader : sideHeader+n], dirty: image[sideHeader+n:], side: d}
	m.absent.Store(m.present.countZeros(0, m.count()))
	return m
}

// saveLimit writes the limit, unless it is on disk already.
func (d *sidecar) saveLimit(limit int64) error {
	if limit == d.limit {
		return nil
	}
	err := d.writeWord(sideAtLimit, limit)
	if err == nil {
		d.limit = limit
	}
	return err
}

func (d *sidecar) saveChanged(unixNano int64) error { return d.writeWord(sideAtChanged, unixNano) }

// saveWhole notes, once and for good, that nothing is absent and all data is durable: what is present stays so.
func (d *sidecar) saveWhole() error {
	if d.whole {
		return nil
	}
	err := d.writeWord(sideAtWhole, 1)
	d.whole = err == nil
	return err
}

func (d *sidecar) writeWord(at, v int64) error {
	return d.write(binary.LittleEndian.AppendUint64(nil, uint64(v)), at)
}

func (d *sidecar) write(p []byte, at int64) error {
	_, err := pwrite(d.file, p, at)
	return err
}

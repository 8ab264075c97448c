package providertest

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
)

// pattern returns n bytes that are the same for the same seed and look random.
func pattern(n int, seed byte) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data) // never fails
	return data
}

// fill returns n times the letter.
func fill(n int, letter byte) []byte { return bytes.Repeat([]byte{letter}, n) }

// trapBody is a body that calls spring on every Read once at bytes were delivered. Bytes count again when the body is
// rewound and read again, so that a point may lie in the first pass (a checksum, say) or a later one.
type trapBody struct {
	mu     sync.Mutex
	r      *bytes.Reader
	left   int64 // until the trap springs
	spring func() error
}

func newTrap(data []byte, at int64, spring func() error) *trapBody {
	return &trapBody{r: bytes.NewReader(data), left: at, spring: spring}
}

func (b *trapBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left <= 0 {
		if err := b.spring(); err != nil {
			return 0, err
		}
	} else if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	return n, err
}

func (b *trapBody) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.r.Seek(offset, whence)
}

// dripBody delivers at most seven bytes at a time, which every io.Reader may do.
type dripBody struct{ io.ReadSeeker }

func (b dripBody) Read(p []byte) (int, error) { return b.ReadSeeker.Read(p[:min(7, len(p))]) }

// changingBody has other bytes when it is read again.
type changingBody struct {
	*bytes.Reader
	again bool
}

// NewChanging returns a body that has other bytes when it is rewound and read again: what a driver hashed before it sent it is
// not what arrives. A store that verifies a checksum refuses it.
func NewChanging(data []byte) io.ReadSeeker { return &changingBody{Reader: bytes.NewReader(data)} }

func (b *changingBody) Seek(offset int64, whence int) (int64, error) {
	b.again = b.again || whence == io.SeekStart
	return b.Reader.Seek(offset, whence)
}

func (b *changingBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.again && n > 0 {
		p[0] ^= 1
	}
	return n, err
}

package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
)

// Bodies of requests. Chunks of immutable shares go through a small buffer into the store. Messages are needed as a whole: small
// ones are in memory, and what all of them take there is bounded; larger ones, which carry the data of mutable shares, are in a
// temporary file that is mapped, so that they take page cache and no heap.

const (
	// smallBody is what a message may have to be read into memory.
	smallBody = 1 << 20
	// drained is how much of a body nobody wants is read all the same, so that the client, which sends it all before it looks, sees
	// the answer and keeps its connection.
	drained = 4 << 20
	// slowest is the least that a client must send and take in a second, beside patience.
	slowest = 16 << 10
	// patience is how long a client may be silent.
	patience = time.Minute
)

// allowance is how long a client has to send or to take so many bytes.
func allowance(size int64) time.Duration {
	return patience + time.Duration(size/slowest)*time.Second
}

// bodies is the room for messages that are being read and answered.
type bodies struct {
	memory   *semaphore.Weighted
	disk     *semaphore.Weighted
	capacity int64  // of disk
	dir      string // for temporary files
}

func newBodies(memory, disk int64, dir string) *bodies {
	return &bodies{memory: semaphore.NewWeighted(memory), disk: semaphore.NewWeighted(disk), capacity: disk, dir: dir}
}

// body is a message that was read. It must be released.
type body struct {
	bytes   []byte
	release func()
}

// read reads the body of a request, of limit bytes at most. It waits until there is room.
func (b *bodies) read(ctx context.Context, r *http.Request, limit int64) (body, error) {
	limit = min(limit, b.capacity)
	if r.ContentLength > limit {
		return body{}, tooLarge(limit)
	}
	size := r.ContentLength
	if size < 0 { // chunked: nobody knows
		size = limit
	}
	if size <= smallBody {
		return b.readToMemory(ctx, r.Body, size, limit)
	}
	return b.readToDisk(ctx, r.Body, size, limit)
}

func tooLarge(limit int64) error {
	return problem(http.StatusRequestEntityTooLarge, "the body has more than %d bytes", limit)
}

// incomplete is the answer to a body that ended early, or took too long.
func incomplete(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return problem(http.StatusRequestTimeout, "the body took too long")
	}
	return problem(http.StatusBadRequest, "the body is not complete")
}

func (b *bodies) readToMemory(ctx context.Context, from io.Reader, size, limit int64) (body, error) {
	if err := b.memory.Acquire(ctx, size); err != nil {
		return body{}, err
	}
	read := body{release: func() { b.memory.Release(size) }}
	var err error
	if read.bytes, err = io.ReadAll(io.LimitReader(from, size+1)); err != nil {
		read.release()
		return body{}, incomplete(err)
	}
	if int64(len(read.bytes)) > limit {
		read.release()
		return body{}, tooLarge(limit)
	}
	return read, nil
}

func (b *bodies) readToDisk(ctx context.Context, from io.Reader, size, limit int64) (_ body, err error) {
	if err := b.disk.Acquire(ctx, size); err != nil {
		return body{}, err
	}
	var mapped []byte
	release := func() {
		if mapped != nil {
			_ = unix.Munmap(mapped) // which fails only for what is no mapping
		}
		b.disk.Release(size)
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	file, err := os.CreateTemp(b.dir, "message-")
	if err != nil {
		return body{}, fmt.Errorf("a temporary file for a large message: %w", err)
	}
	defer file.Close()
	if err := os.Remove(file.Name()); err != nil {
		return body{}, err
	}
	n, err := io.Copy(file, io.LimitReader(from, size+1))
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return body{}, problem(http.StatusInsufficientStorage, "no room for the message")
	case err != nil:
		return body{}, incomplete(err)
	case n > limit:
		return body{}, tooLarge(limit)
	case n == 0:
		return body{release: release}, nil
	}
	if mapped, err = unix.Mmap(int(file.Fd()), 0, int(n), unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return body{}, os.NewSyscallError("mmap", err)
	}
	return body{mapped, release}, nil
}

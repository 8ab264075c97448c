package httpapi

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strconv"

	"sharefs/storage/container"
)

// What immutable and mutable shares have in common.

// list answers with the numbers of the shares that there are.
func (s *Server) list(c *call) error {
	numbers, err := s.store.Shares(c.index)
	if err != nil {
		return err
	}
	return s.send(c, http.StatusOK, setOf(numbers))
}

// read answers with the data of a share, or with the part that Range names: 206, shorter when it reaches beyond the end, and 204
// when nothing is left of it. Errors have the type of the data too: Tahoe-LAFS's client looks at it first, and takes another for a broken
// server.
func (s *Server) read(c *call, want container.Kind) error {
	c.w.Header().Set("Content-Type", "application/octet-stream")
	share, err := s.store.OpenShare(c.index, c.share)
	if err != nil {
		return err
	}
	defer share.Close()
	if share.Kind() != want {
		return problem(http.StatusNotFound, "the share is not %v", want)
	}
	part, given, err := parseRange(c.r.Header)
	if err != nil {
		return err
	}
	code := http.StatusOK
	if !given {
		part = span{0, share.Size()}
	} else {
		part.end = min(part.end, share.Size())
		if part.begin >= part.end {
			c.w.WriteHeader(http.StatusNoContent)
			return nil
		}
		code = http.StatusPartialContent
		c.w.Header().Set("Content-Range", part.header())
	}
	return s.sendData(c, code, share, part)
}

// sendData answers with a part of a share.
func (s *Server) sendData(c *call, code int, share io.ReaderAt, part span) error {
	h := c.w.Header()
	h.Set("Content-Length", strconv.FormatInt(part.size(), 10))
	replying(c.w, part.size())
	buffer := s.chunks.Get().(*[chunkSize]byte)
	defer s.chunks.Put(buffer)
	for at := part.begin; at < part.end; {
		piece := buffer[:min(chunkSize, part.end-at)]
		if n, err := share.ReadAt(piece, at); n < len(piece) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			if at == part.begin { // nothing is sent yet: it can still be an error
				h.Del("Content-Range")
				h.Del("Content-Length")
			}
			return fmt.Errorf("reading share %v/%d: %w", c.index, c.share, err)
		}
		if at == part.begin {
			c.w.WriteHeader(code)
		}
		if _, err := c.w.Write(piece); err != nil {
			return nil // the client is gone
		}
		at += int64(len(piece))
	}
	if part.size() == 0 {
		c.w.WriteHeader(code)
	}
	return nil
}

// advise takes the report of a client that a share is corrupt.
func (s *Server) advise(c *call, kind container.Kind) error {
	numbers, err := s.store.Shares(c.index)
	if err != nil {
		return err
	}
	if !slices.Contains(numbers, c.share) {
		return fs.ErrNotExist
	}
	var m corruptMessage
	release, err := s.receive(c, maxAdvice, &m)
	if err != nil {
		return err
	}
	defer release()
	if err := s.store.AdviseCorrupt(kind, c.index, c.share, *m.Reason); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// addLease puts a lease on all shares of a storage index, or renews it: PUT lease/INDEX.
func (s *Server) addLease(c *call) error {
	numbers, err := s.store.Shares(c.index)
	if err != nil {
		return err
	}
	if len(numbers) == 0 {
		return fs.ErrNotExist
	}
	if err := s.store.AddLease(c.index, c.lease()); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

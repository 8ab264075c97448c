package swift

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strings"

	"sharefs/provider"
	"sharefs/provider/overhttp"
)

// Stat asks for the object with a HEAD.
func (s *store) Stat(ctx context.Context, key string) (provider.Object, error) {
	o, _, err := s.head(ctx, "stat", key, "")
	return o, err
}

func (s *store) head(ctx context.Context, op, key string, version provider.Version) (provider.Object, http.Header, error) {
	header := http.Header{}
	if version != "" {
		header.Set("If-Match", ifMatch(version))
	}
	res, err := s.do(ctx, request{op: op, key: key, method: http.MethodHead, container: s.cfg.Container, object: key, header: header})
	if err != nil {
		return provider.Object{}, nil, s.missing(ctx, op, key, err)
	}
	defer res.close()
	s.seen.Store(true)
	if res.ContentLength < 0 {
		return provider.Object{}, nil, noLength(op, key)
	}
	return objectOf(key, res.ContentLength, res.Header), res.Header, nil
}

func noLength(op, key string) error {
	return &provider.Error{Op: op, Key: key, Kind: provider.KindUnavailable, Err: errors.New("the store did not tell the length of the object")}
}

// Open reads with a GET. A range past the end is answered with an error that tells the size only, so that alone takes a
// HEAD more.
func (s *store) Open(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
	const op = "open"
	if opts.Offset < 0 || opts.Length < 0 {
		return nil, provider.Object{}, provider.Invalid(op, key, "a range from %d, %d bytes", opts.Offset, opts.Length)
	}
	body, o, err := s.get(ctx, key, opts)
	if err == nil || refusalOf(err).status != http.StatusRequestedRangeNotSatisfiable {
		return body, o, err
	}
	o, _, err = s.head(ctx, op, key, opts.IfVersion)
	if err != nil {
		return nil, provider.Object{}, err
	}
	if opts.Offset < o.Size {
		return nil, provider.Object{}, &provider.Error{Op: op, Key: key, Kind: provider.KindUnavailable,
			Err: errors.New("the object was replaced by a longer one while it was opened")}
	}
	return http.NoBody, o, nil
}

func (s *store) get(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
	const op = "open"
	header := http.Header{}
	if span := overhttp.Range(opts); span != "" {
		header.Set("Range", span)
	}
	if opts.IfVersion != "" {
		header.Set("If-Match", ifMatch(opts.IfVersion))
	}
	reading, cancel := context.WithCancel(ctx)
	r := request{op: op, key: key, method: http.MethodGet, container: s.cfg.Container, object: key, header: header}
	res, err := s.do(reading, r)
	if provider.Is(err, provider.KindNotFound) {
		// Said, too, by a server that finds the file of an object and cannot open it any more, since the object is just replaced.
		res, err = s.do(reading, r)
	}
	if err != nil {
		cancel()
		return nil, provider.Object{}, s.missing(ctx, op, key, err)
	}
	s.seen.Store(true)
	size, length, err := overhttp.Extent(res.ContentLength, res.Header.Get("Content-Range"), opts)
	if err != nil {
		cancel()
		_ = res.Body.Close()
		return nil, provider.Object{}, &provider.Error{Op: op, Key: key, Kind: provider.KindUnavailable, Err: err}
	}
	o := objectOf(key, size, res.Header)
	var sum overhttp.Sum
	if length == size {
		sum = sumOf(o.Version)
	}
	return overhttp.NewBody(ctx, cancel, key, res.Body, length, s.http.Timeout, sum), o, nil
}

// sumOf returns what to verify a whole object with: the ETag of a large one is no hash of its bytes.
func sumOf(v provider.Version) overhttp.Sum {
	if len(v) != 2*md5.Size || isLarge(v) {
		return overhttp.Sum{}
	}
	return overhttp.Sum{Name: "MD5", Hash: md5.New(), Text: func(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }, Want: strings.ToLower(string(v))}
}

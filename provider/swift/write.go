package swift

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"

	"sharefs/provider"
	"sharefs/provider/overhttp"
)

// Put stores an object with one PUT. Where a large object is replaced there are some requests more: for what it consists of, before
// and after, and to delete that.
func (s *store) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
	const op = "put"
	if err := noCondition(op, key, opts.If); err != nil {
		return provider.Object{}, err
	}
	if err := s.checkSize(op, key, size); err != nil {
		return provider.Object{}, err
	}
	if size > 0 && (provider.Object{Key: key}).IsDir() {
		return provider.Object{}, provider.Invalid(op, key, "a directory marker has no content, this one would have %d bytes", size)
	}
	header, err := s.describe(op, key, opts.Metadata, opts.ContentType)
	if err != nil {
		return provider.Object{}, err
	}
	old, err := s.replaced(ctx, op, key)
	if err != nil {
		return provider.Object{}, err
	}
	etag, err := s.putBytes(ctx, request{op: op, key: key, container: s.cfg.Container, object: key, header: header}, body, size)
	if err != nil {
		return provider.Object{}, err
	}
	s.seen.Store(true)
	s.tidy(ctx, old, nil)
	o := provider.Object{Key: key, Size: size, Version: versionOf(etag)}
	o.Metadata, o.ContentType = cloned(opts.Metadata), opts.ContentType
	return o, nil
}

// putBytes sends a body, with its checksum, which the cluster compares. It returns the ETag.
func (s *store) putBytes(ctx context.Context, r request, body io.ReadSeeker, size int64) (string, error) {
	sum := md5.New()
	section, err := overhttp.ReadThrough(ctx, r.op, r.key, body, size, sum)
	if err != nil {
		return "", err
	}
	if r.header == nil {
		r.header = http.Header{}
	}
	etag := hex.EncodeToString(sum.Sum(nil))
	r.header.Set("ETag", etag)
	r.method, r.body, r.size = http.MethodPut, section, size
	res, err := s.do(ctx, r)
	if err != nil {
		return "", err
	}
	res.close()
	return etag, nil
}

// describe returns the headers of metadata and content type.
func (s *store) describe(op, key string, md provider.Metadata, contentType string) (http.Header, error) {
	header := http.Header{}
	header.Set("Content-Type", typeOf(contentType, md))
	return header, s.limits.setMetadata(op, key, header, md)
}

func (s *store) checkSize(op, key string, size int64) error {
	switch {
	case size < 0:
		return provider.Invalid(op, key, "a size of %d bytes", size)
	case size > s.caps.MaxPutSize:
		return &provider.Error{Op: op, Key: key, Kind: provider.KindTooLarge,
			Err: errors.New("more than the cluster takes in one request: use an upload in parts")}
	}
	return nil
}

// noCondition refuses what Swift does not check without a race, or does not check at all.
func noCondition(op, key string, c provider.Condition) error {
	if c.IsZero() {
		return nil
	}
	return provider.Unsupported(op, key, "Swift checks no condition on what it writes without a race")
}

// cloned returns what was stored: no metadata is known and empty.
func cloned(md provider.Metadata) provider.Metadata {
	if md == nil {
		return provider.Metadata{}
	}
	return maps.Clone(md)
}

// Copy copies an object with one request. A large object becomes a plain one by that; onto itself it stays what it is.
func (s *store) Copy(ctx context.Context, src, dst string, opts provider.CopyOptions) (provider.Object, error) {
	const op = "copy"
	if err := noCondition(op, dst, opts.If); err != nil {
		return provider.Object{}, err
	}
	if src == dst {
		return s.change(ctx, src, opts)
	}
	header, err := s.describeCopy(dst, opts)
	if err != nil {
		return provider.Object{}, err
	}
	old, err := s.replaced(ctx, op, dst)
	if err != nil {
		return provider.Object{}, err
	}
	o, err := s.copyObject(ctx, src, dst, nil, opts.IfSourceVersion, header)
	if err == nil {
		s.tidy(ctx, old, nil)
	}
	return withMetadata(o, opts), err
}

// describeCopy returns the headers that say what becomes of metadata and content type.
func (s *store) describeCopy(dst string, opts provider.CopyOptions) (http.Header, error) {
	if opts.Metadata == nil {
		return http.Header{}, nil
	}
	header, err := s.describe("copy", dst, opts.Metadata, opts.ContentType)
	header.Set("X-Fresh-Metadata", "true") // or what is there is merged
	return header, err
}

func withMetadata(o provider.Object, opts provider.CopyOptions) provider.Object {
	if opts.Metadata != nil {
		o.Metadata, o.ContentType = cloned(opts.Metadata), opts.ContentType
	}
	return o
}

func (s *store) copyObject(ctx context.Context, src, dst string, query url.Values, version provider.Version, header http.Header) (provider.Object, error) {
	const op = "copy"
	header.Set("X-Copy-From", s.copySource(src))
	if version != "" {
		header.Set("If-Match", ifMatch(version))
	}
	res, err := s.do(ctx, request{op: op, key: src, method: http.MethodPut, container: s.cfg.Container, object: dst, query: query, header: header, slow: true})
	if err != nil {
		return provider.Object{}, s.missing(ctx, op, src, s.whyNotCopied(ctx, src, err))
	}
	defer res.close()
	s.seen.Store(true)
	return provider.Object{Key: dst, Version: versionOf(res.Header.Get("ETag"))}, nil
}

// copySource names an object of the container in a header.
func (s *store) copySource(key string) string { return escape(s.cfg.Container) + "/" + escape(key) }

// whyNotCopied tells apart what Swift answers alike: a source that is too large from a quota that is reached.
func (s *store) whyNotCopied(ctx context.Context, src string, err error) error {
	var pe *provider.Error
	if !errors.As(err, &pe) || pe.Kind != provider.KindTooLarge {
		return err
	}
	o, _, headErr := s.head(ctx, "copy", src, "")
	if headErr != nil || o.Size > s.caps.MaxCopySize {
		return err
	}
	full := *pe
	full.Kind = provider.KindQuota
	return &full
}

// change replaces the metadata and the content type of an object.
func (s *store) change(ctx context.Context, key string, opts provider.CopyOptions) (provider.Object, error) {
	const op = "copy"
	if opts.Metadata == nil {
		return provider.Object{}, provider.Invalid(op, key, "a copy onto itself without new metadata changes nothing")
	}
	header, err := s.describeCopy(key, opts)
	if err != nil {
		return provider.Object{}, err
	}
	if opts.IfSourceVersion != "" && !isLarge(opts.IfSourceVersion) {
		o, err := s.copyObject(ctx, key, key, nil, opts.IfSourceVersion, header)
		return withMetadata(o, opts), err
	}
	have, told, err := s.head(ctx, op, key, opts.IfSourceVersion)
	if err != nil {
		return provider.Object{}, err
	}
	var o provider.Object
	if told.Get("X-Static-Large-Object") == "" {
		// Bytes and all: the one way that is checked, and by which a dynamic large object keeps what it has now.
		o, err = s.copyObject(ctx, key, key, nil, have.Version, header)
	} else {
		// The manifest alone, as it was seen: it has an ETag of its own.
		manifest := provider.Version(told.Get("X-Manifest-Etag"))
		o, err = s.copyObject(ctx, key, key, url.Values{paramManifest: {"get"}}, manifest, header)
		o.Version = have.Version
	}
	return withMetadata(o, opts), err
}

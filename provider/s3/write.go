package s3

import (
	"context"
	"errors"
	"io"
	"maps"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"sharefs/provider"
)

// Put stores an object with one PUT.
func (s *store) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts provider.PutOptions) (provider.Object, error) {
	const op = "put"
	absent, version, err := headers(op, key, opts.If, s.checks.put)
	if err != nil {
		return provider.Object{}, err
	}
	if err := s.checkListable(op, key); err != nil {
		return provider.Object{}, err
	}
	if err := checkSize(op, key, size, maxPutSize); err != nil {
		return provider.Object{}, err
	}
	if size > 0 && (provider.Object{Key: key}).IsDir() {
		return provider.Object{}, provider.Invalid(op, key, "a directory marker has no content, this one would have %d bytes", size)
	}
	p, err := newPayload(ctx, op, key, body, size)
	if err != nil {
		return provider.Object{}, err
	}
	out, err := s.client.PutObject(ctx, &awss3.PutObjectInput{
		Bucket: &s.cfg.Bucket, Key: &key, Body: p.body, ContentLength: &size, ChecksumCRC32C: s.checksum(p),
		Metadata: opts.Metadata, ContentType: optional(opts.ContentType), IfNoneMatch: absent, IfMatch: version,
	}, p.signed(), s.paced(size))
	if err != nil {
		return provider.Object{}, s.inTheWay(ctx, key, unmet(s.fail(ctx, op, key, err), opts.If))
	}
	s.seen.Store(true)
	obj := object(key, size, out.ETag, nil)
	obj.Metadata, obj.ContentType = cloned(opts.Metadata), opts.ContentType
	return obj, nil
}

// checksum returns what the store is to keep with the bytes; nil when it knows no checksums.
func (s *store) checksum(p payload) *string {
	if s.sums {
		return &p.crc32c
	}
	return nil
}

// checkListable refuses keys that the server takes and then cannot list.
func (s *store) checkListable(op, key string) error {
	if s.plainLists && !xmlCanHold(key) {
		return provider.Invalid(op, key, "the key has a control character, with which this server cannot list it")
	}
	return nil
}

func checkSize(op, key string, size, most int64) error {
	switch {
	case size < 0:
		return provider.Invalid(op, key, "a size of %d bytes", size)
	case size > most:
		return &provider.Error{Op: op, Key: key, Kind: provider.KindTooLarge,
			Err: errors.New("S3 takes at most 5 GiB in one request: use an upload in parts")}
	}
	return nil
}

// headers returns the If-None-Match and If-Match of a condition on the key that is written, or KindUnsupported where
// the store was seen not to check it.
func headers(op, key string, c provider.Condition, checked conditional) (absent, version *string, err error) {
	switch {
	case c.Absent && c.Version != "":
		return nil, nil, provider.Invalid(op, key, "a condition is either that the key is absent or that it has a version")
	case c.Absent && !checked.absent:
		return nil, nil, provider.Unsupported(op, key, "this store does not check that a key is absent")
	case c.Version != "" && !checked.version:
		return nil, nil, provider.Unsupported(op, key, "this store does not check the version of what it replaces")
	case c.Absent:
		return aws.String("*"), nil, nil
	}
	return nil, etagOf(c.Version), nil
}

// unmet makes "no such object" a condition that does not hold, where an object was to be replaced.
func unmet(err error, c provider.Condition) error {
	var pe *provider.Error
	if c.Version == "" || !errors.As(err, &pe) || pe.Kind != provider.KindNotFound {
		return err
	}
	unmet := *pe
	unmet.Kind = provider.KindPrecondition
	return &unmet
}

// inTheWay sees whether a key is taken by a directory when the store says so. versitygw also says it when it lost the key's
// parent, because another client removed the last key there at that moment: then nothing is in the way, nothing was
// stored, and the same request works later.
func (s *store) inTheWay(ctx context.Context, key string, err error) error {
	var pe *provider.Error
	if !errors.As(err, &pe) || pe.Kind != provider.KindConflict || answerOf(err).code != codeIsDirectory {
		return err
	}
	dir := strings.TrimSuffix(key, "/") + "/"
	out, listErr := s.client.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, Prefix: &dir, MaxKeys: aws.Int32(1)})
	if listErr != nil || len(out.Contents) > 0 {
		return err
	}
	later := *pe
	later.Kind = provider.KindThrottled
	return &later
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// cloned returns what was stored: no metadata is known and empty.
func cloned(md provider.Metadata) provider.Metadata {
	if md == nil {
		return provider.Metadata{}
	}
	return maps.Clone(md)
}

// Copy copies an object with one request, whose answer does not tell the size; to ask for it would double the cost. A
// source beyond MaxCopySize is refused by the server, with a code that could mean much; only then its size is asked for.
func (s *store) Copy(ctx context.Context, src, dst string, opts provider.CopyOptions) (provider.Object, error) {
	const op = "copy"
	absent, version, err := headers(op, dst, opts.If, s.checks.copy)
	if err != nil {
		return provider.Object{}, err
	}
	if err := s.checkListable(op, dst); err != nil {
		return provider.Object{}, err
	}
	if src == dst && opts.Metadata == nil {
		return provider.Object{}, provider.Invalid(op, src, "a copy onto itself without new metadata changes nothing")
	}
	in := &awss3.CopyObjectInput{
		Bucket: &s.cfg.Bucket, Key: &dst, CopySource: s.copySource(src), CopySourceIfMatch: etagOf(opts.IfSourceVersion),
		IfNoneMatch: absent, IfMatch: version, MetadataDirective: "COPY",
	}
	if opts.Metadata != nil {
		in.MetadataDirective, in.Metadata, in.ContentType = "REPLACE", opts.Metadata, optional(opts.ContentType)
	}
	out, err := s.client.CopyObject(ctx, in, s.slowly)
	if err != nil {
		return provider.Object{}, s.inTheWay(ctx, dst, s.whyNotCopied(ctx, src, opts, s.fail(ctx, op, src, err)))
	}
	if out.CopyObjectResult == nil || out.CopyObjectResult.ETag == nil {
		return provider.Object{}, broken(op, src)
	}
	s.seen.Store(true)
	obj := object(dst, 0, out.CopyObjectResult.ETag, out.CopyObjectResult.LastModified)
	if opts.Metadata != nil {
		obj.Metadata, obj.ContentType = cloned(opts.Metadata), opts.ContentType
	}
	if s.cfg.CustomerKeyFile != "" && src == dst && obj.IsDir() {
		obj.Version, obj.Revision = "", "" // MinIO tells a HEAD another ETag of it
	}
	return obj, nil
}

// whyNotCopied tells apart what servers answer alike: a source that is too large from a wrong request, a source that is
// not there from a destination that was to have a version.
func (s *store) whyNotCopied(ctx context.Context, src string, opts provider.CopyOptions, err error) error {
	kind := provider.KindOf(err)
	if kind != provider.KindInvalid && (kind != provider.KindNotFound || opts.If.Version == "") {
		return err
	}
	obj, headErr := s.head(ctx, "copy", src, "")
	switch {
	case headErr != nil:
		return err
	case kind == provider.KindNotFound:
		return unmet(err, opts.If)
	case obj.Size > maxCopySize:
		return &provider.Error{Op: "copy", Key: src, Kind: provider.KindTooLarge, Err: err}
	}
	return err
}

// broken is the error of an answer that lacks what it must have: whether the request took effect is not known.
func broken(op, key string) error {
	return &provider.Error{Op: op, Key: key, Kind: provider.KindUnavailable, Err: errors.New("the store's answer has no ETag")}
}

// copySource names an object of the bucket in a header.
func (s *store) copySource(key string) *string {
	return aws.String(s.cfg.Bucket + "/" + escapeKey(key))
}

// escapeKey percent-encodes all that is not surely itself in a header that servers decode as a path or as a query.
func escapeKey(key string) string {
	const hex = "0123456789ABCDEF"
	escaped := make([]byte, 0, len(key)+16)
	for i := range len(key) {
		c := key[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '/', c == '-', c == '_', c == '.', c == '~':
			escaped = append(escaped, c)
		default:
			escaped = append(escaped, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(escaped)
}

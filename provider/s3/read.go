package s3

import (
	"context"
	"encoding/base64"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"sharefs/provider"
	"sharefs/provider/overhttp"
)

// Stat asks for the object with a HEAD.
func (s *store) Stat(ctx context.Context, key string) (provider.Object, error) {
	return s.head(ctx, "stat", key, "")
}

func (s *store) head(ctx context.Context, op, key string, version provider.Version) (provider.Object, error) {
	in := &awss3.HeadObjectInput{Bucket: &s.cfg.Bucket, Key: &key, IfMatch: etagOf(version)}
	out, err := s.client.HeadObject(ctx, in)
	if perhapsReplaced(err) {
		out, err = s.client.HeadObject(ctx, in)
	}
	if err != nil {
		failed := s.missing(ctx, op, key, s.fail(ctx, op, key, err))
		return provider.Object{}, s.whyRefused(ctx, op, key, answerOf(err), failed)
	}
	s.seen.Store(true)
	obj := object(key, aws.ToInt64(out.ContentLength), out.ETag, out.LastModified)
	obj.Metadata, obj.ContentType = metadataOf(out.Metadata), aws.ToString(out.ContentType)
	return obj, nil
}

// perhapsReplaced says of an answer that there is no such object that it is worth asking once more: Swift says so, too, of an
// object that is just being replaced.
func perhapsReplaced(err error) bool {
	a := answerOf(err)
	return a.status == http.StatusNotFound && a.header.Get("X-Openstack-Request-Id") != ""
}

// missing asks whether there is a bucket when a HEAD found no object and nothing yet said that there is one. It asks with a
// listing, whose answer has room for the reason; a HEAD of the bucket would be as dumb.
func (s *store) missing(ctx context.Context, op, key string, err error) error {
	if !provider.Is(err, provider.KindNotFound) || s.seen.Load() {
		return err
	}
	_, listErr := s.client.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, Prefix: &key, MaxKeys: aws.Int32(1)})
	if listErr == nil {
		s.seen.Store(true)
		return err
	}
	why := s.fail(ctx, op, key, listErr)
	if kind := provider.KindOf(why); kind == provider.KindDenied || kind == provider.KindUnsupported {
		return err // one who may not list can only be told of the object
	}
	return why
}

// whyRefused asks with a GET for the reason that the answer to a HEAD had no room for: credentials that have expired and
// a key that is too long look alike without it.
func (s *store) whyRefused(ctx context.Context, op, key string, a answer, failed error) error {
	if a.code != "" || a.status != http.StatusBadRequest && a.status != http.StatusForbidden {
		return failed
	}
	out, err := s.client.GetObject(ctx, &awss3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: &key, Range: aws.String("bytes=0-0")})
	if err != nil {
		return s.fail(ctx, op, key, err)
	}
	out.Body.Close()
	return failed
}

// Open reads with a GET. A store answers a range past the end with an error that does not describe the object, so
// that alone takes a HEAD more.
func (s *store) Open(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
	const op = "open"
	if opts.Offset < 0 || opts.Length < 0 {
		return nil, provider.Object{}, provider.Invalid(op, key, "a range from %d, %d bytes", opts.Offset, opts.Length)
	}
	body, obj, err := s.get(ctx, key, opts)
	if err == nil || answerOf(err).status != http.StatusRequestedRangeNotSatisfiable {
		return body, obj, err
	}
	obj, err = s.head(ctx, op, key, opts.IfVersion)
	if err != nil {
		return nil, provider.Object{}, err
	}
	if opts.Offset < obj.Size {
		return nil, provider.Object{}, &provider.Error{Op: op, Key: key, Kind: provider.KindUnavailable,
			Err: errors.New("the object was replaced by a longer one while it was opened")}
	}
	return http.NoBody, obj, nil
}

func (s *store) get(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
	const op = "open"
	in := &awss3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: &key, IfMatch: etagOf(opts.IfVersion), Range: optional(overhttp.Range(opts))}
	reading, cancel := context.WithCancel(ctx)
	out, err := s.client.GetObject(reading, in, s.withSum)
	if perhapsReplaced(err) {
		out, err = s.client.GetObject(reading, in, s.withSum)
	}
	if err != nil {
		cancel()
		return nil, provider.Object{}, s.fail(ctx, op, key, err)
	}
	s.seen.Store(true)
	announced := int64(-1)
	if out.ContentLength != nil {
		announced = *out.ContentLength
	}
	size, length, err := overhttp.Extent(announced, aws.ToString(out.ContentRange), opts)
	if err != nil {
		cancel()
		out.Body.Close()
		return nil, provider.Object{}, &provider.Error{Op: op, Key: key, Kind: provider.KindUnavailable, Err: err}
	}
	obj := object(key, size, out.ETag, out.LastModified)
	obj.Metadata, obj.ContentType = metadataOf(out.Metadata), aws.ToString(out.ContentType)
	var sum overhttp.Sum
	if length == size {
		sum = wholeSum(out)
	}
	return overhttp.NewBody(ctx, cancel, key, out.Body, length, s.http.Timeout, sum), obj, nil
}

// withSum asks for the checksum. Not by ChecksumMode: that has the SDK verify, whose error cannot be told from a broken
// connection's.
func (s *store) withSum(o *awss3.Options) {
	if s.sums {
		awss3.WithAPIOptions(smithyhttp.SetHeaderValue("X-Amz-Checksum-Mode", "ENABLED"))(o)
	}
}

func castagnoli() hash.Hash32 { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }

// sumText writes a CRC32C as S3 does.
func sumText(sum hash.Hash) string { return base64.StdEncoding.EncodeToString(sum.Sum(nil)) }

// wholeSum returns what to verify a whole object with, nothing when the store does not know: the checksum of an upload in
// parts is not that of the bytes.
func wholeSum(out *awss3.GetObjectOutput) overhttp.Sum {
	want := aws.ToString(out.ChecksumCRC32C)
	if want == "" || strings.Contains(want, "-") || out.ChecksumType == types.ChecksumTypeComposite {
		return overhttp.Sum{}
	}
	return overhttp.Sum{Name: "CRC32C", Hash: castagnoli(), Text: sumText, Want: want}
}

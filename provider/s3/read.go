package s3

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"sharefs/provider"
)

// Stat asks for the object with a HEAD.
func (s *store) Stat(ctx context.Context, key string) (provider.Object, error) {
	return s.head(ctx, "stat", key, "")
}

func (s *store) head(ctx context.Context, op, key string, version provider.Version) (provider.Object, error) {
	out, err := s.client.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: &s.cfg.Bucket, Key: &key, IfMatch: etagOf(version)})
	if err != nil {
		failed := s.missing(ctx, op, key, s.fail(ctx, op, key, err))
		return provider.Object{}, s.whyRefused(ctx, op, key, answerOf(err), failed)
	}
	s.seen.Store(true)
	obj := object(key, aws.ToInt64(out.ContentLength), out.ETag, out.LastModified)
	obj.Metadata, obj.ContentType = metadataOf(out.Metadata), aws.ToString(out.ContentType)
	return obj, nil
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
		return nil, provider.Object{}, invalid(op, key, "a range from %d, %d bytes", opts.Offset, opts.Length)
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
	in := &awss3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: &key, IfMatch: etagOf(opts.IfVersion), Range: rangeOf(opts)}
	reading, cancel := context.WithCancel(ctx)
	out, err := s.client.GetObject(reading, in, s.withSum)
	if err != nil {
		cancel()
		return nil, provider.Object{}, s.fail(ctx, op, key, err)
	}
	s.seen.Store(true)
	size, length, err := extent(out, opts)
	if err != nil {
		cancel()
		out.Body.Close()
		return nil, provider.Object{}, &provider.Error{Op: op, Key: key, Kind: provider.KindUnavailable, Err: err}
	}
	obj := object(key, size, out.ETag, out.LastModified)
	obj.Metadata, obj.ContentType = metadataOf(out.Metadata), aws.ToString(out.ContentType)
	r := &body{store: s, ctx: ctx, key: key, from: out.Body, cancel: cancel, left: length}
	r.silence = time.AfterFunc(s.timeout, r.giveUp)
	r.silence.Stop()
	if length == size {
		r.sum, r.want = wholeSum(out)
	}
	return r, obj, nil
}

// withSum asks for the checksum. Not by ChecksumMode: that has the SDK verify, whose error cannot be told from a broken
// connection's.
func (s *store) withSum(o *awss3.Options) {
	if s.sums {
		awss3.WithAPIOptions(smithyhttp.SetHeaderValue("X-Amz-Checksum-Mode", "ENABLED"))(o)
	}
}

func rangeOf(opts provider.OpenOptions) *string {
	switch {
	case opts.Length > 0:
		return aws.String(fmt.Sprintf("bytes=%d-%d", opts.Offset, opts.Offset+opts.Length-1))
	case opts.Offset > 0:
		return aws.String(fmt.Sprintf("bytes=%d-", opts.Offset))
	}
	return nil
}

// extent returns the size of the whole object and the length of the body, and sees that it is the range asked for.
func extent(out *awss3.GetObjectOutput, opts provider.OpenOptions) (size, length int64, err error) {
	length = aws.ToInt64(out.ContentLength)
	if out.ContentLength == nil || length < 0 {
		return 0, 0, errors.New("the store did not tell the length of the body")
	}
	start := int64(0)
	size = length
	if out.ContentRange != nil {
		if start, size, err = parseContentRange(*out.ContentRange); err != nil {
			return 0, 0, err
		}
	}
	want := max(size-opts.Offset, 0)
	if opts.Length > 0 {
		want = min(want, opts.Length)
	}
	if start != opts.Offset || length != want {
		return 0, 0, fmt.Errorf("asked for %d bytes from %d of %d, the store sent %d from %d", want, opts.Offset, size, length, start)
	}
	return size, length, nil
}

// parseContentRange reads "bytes 0-9/100".
func parseContentRange(value string) (start, size int64, err error) {
	span, whole, ok := strings.Cut(strings.TrimPrefix(value, "bytes "), "/")
	first, _, ok2 := strings.Cut(span, "-")
	start, err1 := strconv.ParseInt(first, 10, 64)
	size, err2 := strconv.ParseInt(whole, 10, 64)
	if !ok || !ok2 || err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("the Content-Range %q cannot be read", value)
	}
	return start, size, nil
}

func castagnoli() hash.Hash32 { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }

// sumText writes a CRC32C as S3 does.
func sumText(sum uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}

// wholeSum returns what to verify a whole object with, nil when the store does not know: the checksum of an
// upload in parts is not that of the bytes.
func wholeSum(out *awss3.GetObjectOutput) (hash.Hash32, string) {
	want := aws.ToString(out.ChecksumCRC32C)
	if want == "" || strings.Contains(want, "-") || out.ChecksumType == types.ChecksumTypeComposite {
		return nil, ""
	}
	return castagnoli(), want
}

// body reads the bytes of an object: exactly as many as were promised, verified where possible, and not longer
// than the store is silent.
type body struct {
	store   *store
	ctx     context.Context // the caller's
	key     string
	from    io.ReadCloser
	cancel  context.CancelFunc // of the request
	silence *time.Timer        // runs while a Read waits
	silent  bool               // for too long, once
	left    int64
	sum     hash.Hash32 // nil: nothing to verify with
	want    string
	err     error // returned from now on
}

func (b *body) giveUp() { b.cancel() }

// Read reads.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	if b.ctx.Err() != nil {
		return 0, b.ctx.Err()
	}
	if b.left == 0 {
		b.err = b.finish()
		return 0, b.err
	}
	b.silence.Reset(b.store.timeout)
	n, err := b.from.Read(p[:min(int64(len(p)), b.left)])
	if !b.silence.Stop() {
		b.silent = true
	}
	b.left -= int64(n)
	if b.sum != nil {
		b.sum.Write(p[:n])
	}
	if err == nil || b.left == 0 {
		return n, nil
	}
	b.err = b.broken(err)
	return n, b.err
}

func (b *body) finish() error {
	if b.sum == nil {
		return io.EOF
	}
	if got := sumText(b.sum.Sum32()); got != b.want {
		return &provider.Error{Op: "open", Key: b.key, Kind: provider.KindCorrupt,
			Err: fmt.Errorf("the CRC32C of the body is %s, the store keeps %s", got, b.want)}
	}
	return io.EOF
}

func (b *body) broken(err error) error {
	switch {
	case b.ctx.Err() != nil:
		return b.ctx.Err()
	case b.silent:
		err = fmt.Errorf("the store sent nothing for %v", b.store.timeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("%d bytes are missing: %w", b.left, io.ErrUnexpectedEOF)
	}
	return &provider.Error{Op: "open", Key: b.key, Kind: provider.KindUnavailable, Err: hideContext(err)}
}

// Close ends the request.
func (b *body) Close() error {
	b.silence.Stop()
	b.cancel()
	return b.from.Close()
}

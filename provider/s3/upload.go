package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"sharefs/provider"
)

// upload is one multipart upload.
type upload struct {
	store       *store
	key, id     string
	metadata    provider.Metadata
	contentType string
}

var _ provider.Upload = (*upload)(nil)

// NewUpload starts a multipart upload.
func (s *store) NewUpload(ctx context.Context, key string, opts provider.UploadOptions) (provider.Upload, error) {
	const op = "newupload"
	if (provider.Object{Key: key}).IsDir() {
		return nil, provider.Invalid(op, key, "a directory marker has no content")
	}
	if err := s.checkListable(op, key); err != nil {
		return nil, err
	}
	out, err := s.client.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{
		Bucket: &s.cfg.Bucket, Key: &key, Metadata: opts.Metadata, ContentType: optional(opts.ContentType),
	})
	if err != nil {
		return nil, s.fail(ctx, op, key, err)
	}
	if aws.ToString(out.UploadId) == "" {
		return nil, &provider.Error{Op: op, Key: key, Kind: provider.KindUnavailable, Err: errors.New("the store's answer has no upload id")}
	}
	s.seen.Store(true)
	return &upload{store: s, key: key, id: *out.UploadId, metadata: cloned(opts.Metadata), contentType: opts.ContentType}, nil
}

// ID returns the upload id that the store gave.
func (u *upload) ID() string { return u.id }

// PutPart sends one part. The signature covers the SHA-256 of the body.
func (u *upload) PutPart(ctx context.Context, number int, body io.ReadSeeker, size int64) (provider.Part, error) {
	const op = "upload.putpart"
	if err := u.checkNumber(op, number); err != nil {
		return provider.Part{}, err
	}
	if err := checkSize(op, u.key, size, maxPartSize); err != nil {
		return provider.Part{}, err
	}
	p, err := newPayload(ctx, op, u.key, body, size)
	if err != nil {
		return provider.Part{}, err
	}
	out, err := u.store.client.UploadPart(ctx, &awss3.UploadPartInput{
		Bucket: &u.store.cfg.Bucket, Key: &u.key, UploadId: &u.id, PartNumber: aws.Int32(int32(number)), Body: p.body, ContentLength: &size,
	}, p.signed(), u.store.paced(size))
	if err != nil {
		return provider.Part{}, u.store.fail(ctx, op, u.key, err)
	}
	return provider.Part{Number: number, Size: size, Tag: string(versionOf(out.ETag))}, nil
}

func (u *upload) checkNumber(op string, number int) error {
	if number < 1 || number > maxParts {
		return provider.Invalid(op, u.key, "part number %d: parts are numbered from 1 to %d", number, maxParts)
	}
	return nil
}

// CopyPart has the store make one part of a range of an object.
func (u *upload) CopyPart(ctx context.Context, number int, src string, opts provider.CopyPartOptions) (provider.Part, error) {
	const op = "upload.copypart"
	if err := u.checkNumber(op, number); err != nil {
		return provider.Part{}, err
	}
	if opts.Offset < 0 || opts.Length < 1 {
		return provider.Part{}, provider.Invalid(op, src, "a range from %d, %d bytes", opts.Offset, opts.Length)
	}
	if err := checkSize(op, src, opts.Length, maxPartSize); err != nil {
		return provider.Part{}, err
	}
	if err := u.checkRange(ctx, src, opts); err != nil {
		return provider.Part{}, err
	}
	out, err := u.store.client.UploadPartCopy(ctx, &awss3.UploadPartCopyInput{
		Bucket: &u.store.cfg.Bucket, Key: &u.key, UploadId: &u.id, PartNumber: aws.Int32(int32(number)),
		CopySource: u.store.copySource(src), CopySourceIfMatch: etagOf(opts.IfVersion),
		CopySourceRange: aws.String(fmt.Sprintf("bytes=%d-%d", opts.Offset, opts.Offset+opts.Length-1)),
	}, u.store.slowly)
	if err != nil {
		return provider.Part{}, u.store.fail(ctx, op, src, err)
	}
	if out.CopyPartResult == nil || out.CopyPartResult.ETag == nil {
		return provider.Part{}, broken(op, src)
	}
	return provider.Part{Number: number, Size: opts.Length, Tag: string(versionOf(out.CopyPartResult.ETag))}, nil
}

// checkRange refuses a range that is not wholly in the source where the server would not.
func (u *upload) checkRange(ctx context.Context, src string, opts provider.CopyPartOptions) error {
	const op = "upload.copypart"
	if !u.store.cutsRanges {
		return nil
	}
	obj, err := u.store.head(ctx, op, src, opts.IfVersion)
	if err == nil && opts.Offset+opts.Length > obj.Size {
		return provider.Invalid(op, src, "a range from %d, %d bytes, of an object of %d", opts.Offset, opts.Length, obj.Size)
	}
	return err
}

// Complete makes the object of the parts.
func (u *upload) Complete(ctx context.Context, parts []provider.Part, opts provider.CompleteOptions) (provider.Object, error) {
	const op = "upload.complete"
	absent, version, err := headers(op, u.key, opts.If, u.store.checks.complete)
	if err != nil {
		return provider.Object{}, err
	}
	sorted := slices.SortedFunc(slices.Values(parts), func(a, b provider.Part) int { return cmp.Compare(a.Number, b.Number) })
	list := make([]types.CompletedPart, len(sorted))
	var size int64
	for i, part := range sorted {
		if i > 0 && part.Number == sorted[i-1].Number {
			return provider.Object{}, provider.Invalid(op, u.key, "part %d is named twice", part.Number)
		}
		list[i] = types.CompletedPart{PartNumber: aws.Int32(int32(part.Number)), ETag: etagOf(provider.Version(part.Tag))}
		size += part.Size
	}
	if len(list) == 0 {
		return provider.Object{}, provider.Invalid(op, u.key, "an upload without parts: store an empty object with Put")
	}
	out, err := u.store.client.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{
		Bucket: &u.store.cfg.Bucket, Key: &u.key, UploadId: &u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: list},
		IfNoneMatch: absent, IfMatch: version,
	}, u.store.slowly)
	if err != nil {
		failed := u.store.fail(ctx, op, u.key, err)
		if answerOf(err).code != "NoSuchUpload" {
			failed = u.store.inTheWay(ctx, u.key, unmet(failed, opts.If))
		}
		return provider.Object{}, failed
	}
	if out.ETag == nil {
		return provider.Object{}, broken(op, u.key)
	}
	obj := object(u.key, size, out.ETag, nil)
	obj.Metadata, obj.ContentType = u.metadata, u.contentType
	return obj, nil
}

// Abort ends the upload.
func (u *upload) Abort(ctx context.Context) error {
	return u.store.abort(ctx, "upload.abort", u.key, u.id)
}

// AbortUpload ends an upload that another process may have left.
func (s *store) AbortUpload(ctx context.Context, key, id string) error {
	return s.abort(ctx, "abortupload", key, id)
}

func (s *store) abort(ctx context.Context, op, key, id string) error {
	_, err := s.client.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &s.cfg.Bucket, Key: &key, UploadId: &id})
	if err == nil {
		return nil
	}
	if failed := s.fail(ctx, op, key, err); !provider.Is(failed, provider.KindNotFound) {
		return failed
	}
	return nil
}

// ListUploads returns what the store lists below the prefix. MinIO takes the prefix for a whole key, so when nothing but that
// key is found all uploads of the bucket are looked through. MinIO also forgets what is not asked for by its key when it
// is restarted: a caller that must find its uploads again keeps their ids.
func (s *store) ListUploads(ctx context.Context, prefix string) ([]provider.UploadInfo, error) {
	found, err := s.listUploads(ctx, prefix, prefix)
	if err != nil {
		return nil, err
	}
	elsewhere := func(u provider.UploadInfo) bool { return u.Key != prefix }
	if prefix != "" && !slices.ContainsFunc(found, elsewhere) {
		all, err := s.listUploads(ctx, "", prefix)
		if err != nil {
			return nil, err
		}
		for _, u := range all {
			if !slices.ContainsFunc(found, func(f provider.UploadInfo) bool { return f.Key == u.Key && f.ID == u.ID }) {
				found = append(found, u)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b provider.UploadInfo) int { return a.Started.Compare(b.Started) })
	return found, nil
}

// listUploads asks for all pages of one prefix and keeps what begins with the other.
func (s *store) listUploads(ctx context.Context, ask, keep string) ([]provider.UploadInfo, error) {
	const op = "listuploads"
	in := &awss3.ListMultipartUploadsInput{Bucket: &s.cfg.Bucket, Prefix: optional(ask), EncodingType: types.EncodingTypeUrl}
	var found []provider.UploadInfo
	for {
		out, err := s.client.ListMultipartUploads(ctx, in)
		if err != nil {
			return nil, s.fail(ctx, op, keep, err)
		}
		decode := decoderOf(out.EncodingType)
		for _, u := range out.Uploads {
			key, err := decode(aws.ToString(u.Key))
			if err != nil {
				return nil, provider.E(ctx, op, keep, provider.KindOther, err)
			}
			if strings.HasPrefix(key, keep) {
				found = append(found, provider.UploadInfo{Key: key, ID: aws.ToString(u.UploadId), Started: aws.ToTime(u.Initiated)})
			}
		}
		if !aws.ToBool(out.IsTruncated) {
			return found, nil
		}
		next, err := decode(aws.ToString(out.NextKeyMarker))
		if err != nil {
			return nil, provider.E(ctx, op, keep, provider.KindOther, err)
		}
		if next == aws.ToString(in.KeyMarker) && aws.ToString(out.NextUploadIdMarker) == aws.ToString(in.UploadIdMarker) {
			return nil, &provider.Error{Op: op, Key: keep, Kind: provider.KindUnavailable, Err: errors.New("the store repeats a page of the listing")}
		}
		in.KeyMarker, in.UploadIdMarker = &next, out.NextUploadIdMarker
	}
}

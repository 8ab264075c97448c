package s3

import (
	"context"
	"errors"
	"slices"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"sharefs/provider"
)

// Delete deletes one key with a DELETE, several with one request for each 1000.
func (s *store) Delete(ctx context.Context, opts provider.DeleteOptions, keys ...string) error {
	const op = "delete"
	if len(keys) == 0 {
		return ctx.Err()
	}
	if opts.IfVersion != "" {
		if len(keys) != 1 {
			return provider.Invalid(op, keys[0], "a version is for one key, here are %d", len(keys))
		}
		if !s.checks.remove {
			return provider.Unsupported(op, keys[0], "this store does not check the version of what it deletes")
		}
	}
	if len(keys) == 1 {
		return s.deleteOne(ctx, keys[0], opts.IfVersion)
	}
	var failed provider.DeleteErrors
	batch, single := sorted(keys)
	for chunk := range slices.Chunk(batch, maxBatch) {
		bad, err := s.deleteBatch(ctx, chunk)
		if err != nil {
			return err
		}
		failed = append(failed, bad...)
	}
	for _, key := range single {
		if err := s.deleteOne(ctx, key, ""); err != nil {
			var pe *provider.Error
			if !errors.As(err, &pe) {
				return err
			}
			failed = append(failed, pe)
		}
	}
	return provider.NewDeleteError(failed)
}

// sorted removes keys that are named twice, and parts those that a batch can name from those it cannot: a batch
// is XML, which has no control characters.
func sorted(keys []string) (batch, single []string) {
	seen := make(map[string]bool, len(keys))
	for _, key := range keys {
		switch {
		case seen[key]:
		case xmlCanHold(key):
			batch = append(batch, key)
		default:
			single = append(single, key)
		}
		seen[key] = true
	}
	return batch, single
}

// xmlCanHold reports whether XML 1.0 has all characters of the key (section 2.2, Char).
func xmlCanHold(key string) bool {
	for _, r := range key {
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return false
		}
	}
	return utf8.ValidString(key)
}

func (s *store) deleteOne(ctx context.Context, key string, version provider.Version) error {
	_, err := s.client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: &key, IfMatch: etagOf(version)})
	if err == nil {
		return nil
	}
	if failed := s.fail(ctx, "delete", key, err); !provider.Is(failed, provider.KindNotFound) {
		return failed
	}
	return nil
}

// deleteBatch returns the keys that failed; all of them when the request did. The error is the context's.
func (s *store) deleteBatch(ctx context.Context, keys []string) (provider.DeleteErrors, error) {
	const op = "delete"
	objects := make([]types.ObjectIdentifier, len(keys))
	left := make(map[string]bool, len(keys)) // that the answer has not named
	for i, key := range keys {
		objects[i].Key = aws.String(key)
		left[key] = true
	}
	out, err := s.client.DeleteObjects(ctx, &awss3.DeleteObjectsInput{Bucket: &s.cfg.Bucket, Delete: &types.Delete{Objects: objects}},
		// Amazon takes any checksum; some others insist on this one.
		awss3.WithAPIOptions(smithyhttp.AddContentChecksumMiddleware), s.slowly)
	if err != nil {
		var pe *provider.Error
		if err := s.fail(ctx, op, "", err); !errors.As(err, &pe) {
			return nil, err
		}
		return allFailed(keys, *pe), nil
	}
	s.seen.Store(true)
	for _, d := range out.Deleted {
		delete(left, aws.ToString(d.Key))
	}
	var failed provider.DeleteErrors
	for _, e := range out.Errors {
		key, a := aws.ToString(e.Key), answer{code: aws.ToString(e.Code), text: aws.ToString(e.Message)}
		delete(left, key)
		if kind := a.kind(); kind != provider.KindNotFound {
			failed = append(failed, &provider.Error{Op: op, Key: key, Kind: kind, Err: errors.New(a.describe())})
		}
	}
	for _, key := range keys {
		if left[key] {
			failed = append(failed, &provider.Error{Op: op, Key: key, Kind: provider.KindUnavailable, Unanswered: true,
				Err: errors.New("the store's answer does not say whether it was deleted")})
		}
	}
	return failed, nil
}

func allFailed(keys []string, why provider.Error) provider.DeleteErrors {
	failed := make(provider.DeleteErrors, len(keys))
	for i, key := range keys {
		one := why
		one.Key = key
		failed[i] = &one
	}
	return failed
}

package s3

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"sharefs/provider"
)

// A Token is the server's own, or the key after which to go on.
const (
	tokenServer = "s"
	tokenAfter  = "a"
)

// lastRune sorts after all others: what is after "dir/" and it is after all that is below the directory.
const lastRune = "\U0010FFFF"

// List returns one page with one request.
func (s *store) List(ctx context.Context, opts provider.ListOptions) (provider.Page, error) {
	const op = "list"
	limit := opts.Limit
	if limit <= 0 || limit > maxListPage {
		limit = maxListPage
	}
	in := &awss3.ListObjectsV2Input{
		Bucket: &s.cfg.Bucket, Prefix: optional(opts.Prefix), MaxKeys: aws.Int32(int32(limit)),
		EncodingType: types.EncodingTypeUrl, // XML has no control characters, keys may
	}
	if !opts.Flat {
		in.Delimiter = aws.String("/")
	}
	after, err := startAt(in, opts)
	if err != nil {
		return provider.Page{}, err
	}
	out, err := s.client.ListObjectsV2(ctx, in)
	if err != nil {
		return provider.Page{}, s.fail(ctx, op, opts.Prefix, err)
	}
	s.seen.Store(true)
	objects, err := merge(out)
	if err != nil {
		return provider.Page{}, provider.E(ctx, op, opts.Prefix, provider.KindOther, err)
	}
	if out.EncodingType != types.EncodingTypeUrl {
		if err := s.findGarbled(ctx, objects); err != nil {
			return provider.Page{}, err
		}
	}
	next, err := nextPage(out, objects, limit, after)
	if err != nil {
		return provider.Page{}, &provider.Error{Op: op, Key: opts.Prefix, Kind: provider.KindUnavailable, Err: err}
	}
	// A directory counts as its own name, "d/", not as the keys below it, of which some may come after.
	objects = slices.DeleteFunc(objects, func(o provider.Object) bool { return o.Key <= after })
	return provider.Page{Objects: objects, Next: next}, nil
}

// startAt says in the request where the page begins, and returns the key after which that is, if it is a key.
func startAt(in *awss3.ListObjectsV2Input, opts provider.ListOptions) (after string, err error) {
	after = opts.After
	if opts.Token != "" {
		kind, value, ok := strings.Cut(opts.Token, ":")
		switch {
		case ok && kind == tokenServer:
			in.ContinuationToken = &value
			return "", nil
		case ok && kind == tokenAfter:
			after = value
		default:
			return "", provider.Invalid("list", opts.Prefix, "the token %q is not from a page before", opts.Token)
		}
	}
	start := after
	if rest, below := strings.CutPrefix(after, opts.Prefix); below && !opts.Flat {
		if dir, _, ok := strings.Cut(rest, "/"); ok {
			start = opts.Prefix + dir + "/" + lastRune // not from within a directory, which would come again
		}
	}
	in.StartAfter = optional(start)
	return after, nil
}

// nextPage returns the token of the page behind this one. A full page is not believed to be the last: MinIO says so of some
// that are not (seen after a key in a deeper directory, and where a marker fills the page).
func nextPage(out *awss3.ListObjectsV2Output, objects []provider.Object, limit int, after string) (string, error) {
	if aws.ToBool(out.IsTruncated) {
		if aws.ToString(out.NextContinuationToken) == "" {
			return "", errors.New("the store says that there is more and not where")
		}
		return tokenServer + ":" + *out.NextContinuationToken, nil
	}
	if len(out.Contents)+len(out.CommonPrefixes) < limit {
		return "", nil
	}
	last := objects[len(objects)-1].Key
	if last <= after {
		return "", errors.New("the store repeats a page")
	}
	return tokenAfter + ":" + last, nil
}

// findGarbled looks for keys in a listing that was not percent-encoded which are not what they seem: a character that XML
// cannot hold arrives as U+FFFD. That character may also be the key's own, so the store is asked.
func (s *store) findGarbled(ctx context.Context, objects []provider.Object) error {
	for _, o := range objects {
		if !strings.ContainsRune(o.Key, utf8.RuneError) {
			continue
		}
		out, err := s.client.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: &s.cfg.Bucket, Prefix: &o.Key, MaxKeys: aws.Int32(1)})
		if err != nil {
			return s.fail(ctx, "list", o.Key, err)
		}
		if len(out.Contents) == 0 {
			return &provider.Error{Op: "list", Key: o.Key, Kind: provider.KindOther,
				Err: errors.New("the name has a control character that this server cannot list: rename the object on the server")}
		}
	}
	return nil
}

// merge makes one sorted list of a page's objects and common prefixes.
func merge(out *awss3.ListObjectsV2Output) ([]provider.Object, error) {
	decode := decoderOf(out.EncodingType)
	objects := make([]provider.Object, 0, len(out.Contents)+len(out.CommonPrefixes))
	for _, o := range out.Contents {
		key, err := decode(aws.ToString(o.Key))
		if err != nil {
			return nil, err
		}
		objects = append(objects, object(key, aws.ToInt64(o.Size), o.ETag, o.LastModified))
	}
	for _, p := range out.CommonPrefixes {
		key, err := decode(aws.ToString(p.Prefix))
		if err != nil {
			return nil, err
		}
		objects = append(objects, provider.Object{Key: key})
	}
	slices.SortStableFunc(objects, func(a, b provider.Object) int { return strings.Compare(a.Key, b.Key) })
	return slices.CompactFunc(objects, func(a, b provider.Object) bool { return a.Key == b.Key }), nil
}

// decoderOf returns what reads a key of a listing: percent-encoded if the server did as it was asked.
func decoderOf(encoding types.EncodingType) func(string) (string, error) {
	if encoding != types.EncodingTypeUrl {
		return func(key string) (string, error) { return key, nil }
	}
	return func(key string) (string, error) {
		plain, err := url.QueryUnescape(key)
		if err != nil {
			return "", fmt.Errorf("the listing has a key that cannot be read: %w", err)
		}
		return plain, nil
	}
}

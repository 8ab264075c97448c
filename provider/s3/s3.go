// Package s3 is the provider for Amazon S3 and the servers that speak its protocol: MinIO, versitygw, Ceph and others.
//
// It promises what package provider promises, by one request for each call (a listing of uploads may take several, a
// range past the end one more). Requests are never repeated here: that is the retry decorator's work; but one whose keys the
// store refuses is sent once more when the AWS configuration has other keys by then, and a write that MinIO denies a few times,
// within a moment. Bodies are sent
// in one piece with their length, signed and hashed with SHA-256, which every server that speaks Signature Version 4 verifies;
// Put adds a CRC32C that the store keeps and Open verifies.
//
// What look-alikes do with conditional requests differs, some ignore them. So Open tries each kind on an object
// of its own below ".sharefs/" and Capabilities says what was seen.
//
// What cannot be had from some servers:
//   - versitygw keeps time and ETag of an object when a copy onto itself changes the metadata, so the Revision stays. It
//     changes the metadata in two steps, between which a reader sees none. It lists control characters as U+FFFD:
//     keys with them are refused there, and a listing that meets one fails. Its directory markers have the time of the
//     directory, which changes with every key that comes or goes directly below.
//   - MinIO takes both "a" and "a/b", and then lists "a" and nothing of what is below "a/". When it is restarted it
//     forgets in listings the uploads in parts, until it is asked for one by its whole key. A write that meets the removal
//     of an empty directory above it is answered like one without the right to it.
//   - Neither checks a condition on the destination of a copy.
//   - Swift's S3 layer (s3api) checks no conditions; CreateIfAbsent and the others are false. It takes 1000
//     parts. Of an object that is being replaced it may say that there is none: it is asked twice.
//
// It is not a cache, holds no policy, and knows nothing of the prefix that a mount lives under, except where to probe.
package s3

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"sharefs/provider"
	"sharefs/provider/overhttp"
)

// The limits of S3 (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html). Look-alikes follow them.
const (
	mib = 1 << 20
	gib = 1 << 30

	maxParts    = 10000
	maxPartSize = 5 * gib
	minPartSize = 5 * mib
	maxPutSize  = 5 * gib
	maxCopySize = 5 * gib
	// maxObjectSize is what every server takes; Amazon raised its own limit to ten times as much.
	maxObjectSize = 5 << 40
	maxKey        = 1024
	// maxMetadata is 2048 less room for the header prefixes of 16 names, which MinIO counts and Amazon does not.
	maxMetadata = 2048 - 16*len("x-amz-meta-")
	maxListPage = 1000
	maxBatch    = 1000
	// maxFileName is the longest component that servers take which keep objects as files.
	maxFileName = 255
	// maxMarkerName is that of a directory marker on MinIO, which keeps the marker "name/" as a file "name__XLDIR__".
	maxMarkerName = maxFileName - len("__XLDIR__")
)

// Options are the options of Open. The zero value is for reading and writing.
type Options struct {
	// ReadOnly makes Open write nothing, and send no request: the conditional capabilities, which only a
	// write can prove, are then false. It is for mounts that only read, and for Create of a bucket that is not there yet.
	ReadOnly bool

	// Timeout is how long the store may be silent: no answer to a request, no byte of a body taken or given. It does not
	// limit how long a body may take. Copies, completions, batches of deletions and bodies from 64 MiB on, with which a server
	// may be busy before it says a word, get ten times as long for the answer. 0 means one minute.
	Timeout time.Duration

	// Secrets finds credentials by the names that they have in the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and,
	// if there is one, AWS_SESSION_TOKEN. It is asked for each request. nil is the SDK's chain.
	Secrets func(name string) (value string, ok bool)
}

// store is one bucket.
type store struct {
	cfg    Config
	region string
	client *awss3.Client
	http   *overhttp.Clients
	caps   provider.Capabilities
	checks conditions
	sums   bool // a CRC32C is stored with what is put, and verified with what is read

	// plainLists says that the server does not percent-encode listings, so that keys which XML cannot hold
	// arrive garbled (versitygw). Such keys are refused then.
	plainLists bool

	// cutsRanges says that the server copies what there is of a range that ends beyond its source, and does not tell how much
	// that was (Swift). The source is asked for its size then.
	cutsRanges bool

	// seen says that the bucket exists: an answer proved it, and none denied it since. A HEAD of an object
	// that is not there and of a bucket that is not there look alike.
	seen atomic.Bool
}

var _ provider.Provider = (*store)(nil)

// Open returns the provider of a bucket. It finds credentials, and unless opts.ReadOnly tries what the store can do, which
// takes 19 small requests at most and leaves nothing behind. The bucket must exist then (KindNoStore).
func Open(ctx context.Context, cfg Config, opts Options) (provider.Provider, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &store{cfg: cfg}
	if err := s.connect(ctx, opts); err != nil {
		return nil, err
	}
	s.caps = s.baseCapabilities()
	if !opts.ReadOnly {
		if err := s.probe(ctx); err != nil {
			s.http.Close()
			return nil, err
		}
	}
	return s, nil
}

// baseCapabilities returns what holds without a probe.
func (s *store) baseCapabilities() provider.Capabilities {
	return provider.Capabilities{
		Copy:           true,
		Consistent:     true,
		MaxObjectSize:  maxObjectSize,
		MaxPutSize:     maxPutSize,
		MaxCopySize:    maxCopySize,
		MinPartSize:    minPartSize,
		MaxPartSize:    maxPartSize,
		MaxParts:       maxParts,
		MaxKey:         maxKey,
		MaxComponent:   maxFileName,
		MaxMetadata:    maxMetadata,
		MaxListPage:    maxListPage,
		MaxDeleteBatch: maxBatch,
		TimeGrain:      time.Second,
	}
}

// String returns the bucket's URL. The prefix is the prefix decorator's to add.
func (s *store) String() string {
	whole := s.cfg
	whole.Prefix = ""
	return whole.String()
}

// Capabilities returns what the probe found.
func (s *store) Capabilities() provider.Capabilities { return s.caps }

// Usage returns nothing: S3 does not tell without a listing.
func (s *store) Usage(ctx context.Context) (provider.Usage, error) {
	return provider.Usage{Bytes: -1, Objects: -1, Quota: -1}, ctx.Err()
}

// Move is not something that S3 can do.
func (s *store) Move(_ context.Context, src, _ string) (provider.Object, error) {
	return provider.Object{}, provider.Unsupported("move", src, "S3 cannot rename")
}

// Create makes the bucket in the region that the requests go to.
func (s *store) Create(ctx context.Context) error {
	in := &awss3.CreateBucketInput{Bucket: &s.cfg.Bucket}
	if s.region != defaultRegion {
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(s.region)}
	}
	_, err := s.client.CreateBucket(ctx, in)
	if err == nil || answerOf(err).code == "BucketAlreadyOwnedByYou" {
		s.seen.Store(true)
		return nil
	}
	return s.fail(ctx, "create", "", err)
}

// Close ends idle connections.
func (s *store) Close() error {
	s.http.Close()
	return nil
}

// slowly is for requests that a server may work on for minutes before it answers.
func (s *store) slowly(o *awss3.Options) { o.HTTPClient = s.http.Slow }

// paced is for requests with a body.
func (s *store) paced(size int64) func(*awss3.Options) {
	return func(o *awss3.Options) { o.HTTPClient = s.http.For(size) }
}

// versionOf returns the Version of an ETag, which comes in quotes.
func versionOf(etag *string) provider.Version {
	v := aws.ToString(etag)
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		v = v[1 : len(v)-1]
	}
	return provider.Version(v)
}

// etagOf returns the ETag of a Version, as a condition wants it; nil for none.
func etagOf(v provider.Version) *string {
	if v == "" {
		return nil
	}
	return aws.String(`"` + string(v) + `"`)
}

// object makes an Object of what every kind of answer tells. Times are cut to seconds, because a HEAD tells no more and a
// Revision must be the same from every answer.
func object(key string, size int64, etag *string, modified *time.Time) provider.Object {
	obj := provider.Object{Key: key, Size: size, Version: versionOf(etag)}
	if modified != nil && !modified.IsZero() {
		obj.ModTime = modified.Truncate(time.Second)
		if obj.Version != "" {
			obj.Revision = provider.Revision(fmt.Sprintf("%s-%d", obj.Version, obj.ModTime.Unix()))
		}
	}
	return obj
}

// metadataOf returns the metadata of an answer that told it, be it empty; the SDK leaves an empty one nil.
func metadataOf(from map[string]string) provider.Metadata {
	if from == nil {
		return provider.Metadata{}
	}
	return from
}

package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"

	"sharefs/provider"
)

// conditional says which conditions on the key that it writes a kind of request was seen to check.
type conditional struct{ absent, version bool }

// conditions are what a store checks by itself, for each kind of request: there are stores that know If-Match for a
// PUT and ignore it for a copy or a DELETE.
type conditions struct {
	put, copy, complete conditional
	remove              bool
}

// otherETag is one that no object of ours has.
const otherETag = `"00000000000000000000000000000000"`

// prober tries requests on one object of its own.
type prober struct {
	*store
	key  string
	body []byte
	etag *string
	id   string // of an upload in parts for the same key
	part types.CompletedPart

	overwritten atomic.Bool // by a request that was to be refused: etag may be another now
}

// probe finds out which conditions the store checks: of each kind of request it sends one whose condition does not
// hold and sees whether it is refused. It also proves that the credentials may write. A store that fails now and then is
// asked again, for a moment: the retry decorator stands above the driver that is being opened.
func (s *store) probe(ctx context.Context) error {
	once := s.client
	s.client = awss3.New(once.Options(), func(o *awss3.Options) { o.Retryer = probeRetryer() })
	defer func() { s.client = once }()
	err := s.probeOnce(ctx)
	for range probeRepeats {
		if provider.IsContext(err) || !provider.KindOf(err).Transient() {
			break
		}
		err = s.probeOnce(ctx)
	}
	return err
}

const (
	probeAttempts = 5 // of a request
	probeRepeats  = 2 // of the whole probe
	probeBackoff  = 300 * time.Millisecond
)

func probeRetryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts, o.MaxBackoff = probeAttempts, probeBackoff
		o.RateLimiter = ratelimit.None
		o.Retryables = append(o.Retryables, retry.IsErrorRetryableFunc(cutShort))
	})
}

// cutShort says that a request is to be repeated whose answer broke off, which the SDK takes for an answer.
func cutShort(err error) aws.Ternary {
	var unreadable *smithy.DeserializationError
	if errors.As(err, &unreadable) {
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

func (s *store) probeOnce(ctx context.Context) error {
	s.caps, s.checks, s.plainLists, s.cutsRanges = s.baseCapabilities(), conditions{}, false, false
	p := &prober{store: s, key: s.cfg.Prefix + provider.Reserved + "probe-" + strings.ToLower(rand.Text()), body: []byte("sharefs probes what this store can do\n")}
	err := p.run(ctx)
	if cleanErr := p.clean(ctx); err == nil {
		err = cleanErr
	}
	var pe *provider.Error
	if errors.As(err, &pe) {
		return &provider.Error{Op: "open", Kind: pe.Kind, RetryAfter: pe.RetryAfter, Err: pe.Err}
	}
	if err != nil {
		return err
	}
	// A server that does not know a condition of a PUT looks before it writes at the most (Swift's completions do): others come
	// between.
	for _, other := range []*conditional{&s.checks.copy, &s.checks.complete} {
		other.absent = other.absent && s.checks.put.absent
		other.version = other.version && s.checks.put.version
	}
	s.caps.CreateIfAbsent = s.checks.put.absent
	s.caps.ReplaceIfVersion = s.checks.put.version
	s.caps.DeleteIfVersion = s.checks.remove
	return nil
}

func (p *prober) run(ctx context.Context) error {
	if err := p.prepare(ctx); err != nil {
		return err
	}
	if err := p.tryWrites(ctx); err != nil {
		return err
	}
	if err := p.confirm(ctx); err != nil {
		return err
	}
	return p.tryRemove(ctx)
}

// tryRemove comes last, because a store that does not check deletes the object.
func (p *prober) tryRemove(ctx context.Context) error {
	remove := func(version *string) error {
		_, err := p.client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &p.cfg.Bucket, Key: &p.key, IfMatch: version})
		return err
	}
	err := p.refused(ctx, &p.checks.remove, func(context.Context) (*string, error) { return nil, remove(aws.String(otherETag)) })
	if err != nil || !p.checks.remove {
		return err
	}
	if err := remove(p.etag); err != nil && answerOf(err).status != http.StatusNotFound { // an attempt whose answer got lost did it
		p.checks.remove = false
		return p.unlessRefused(ctx, err)
	}
	p.etag = nil
	return nil
}

// prepare makes the object, and an upload of one part for its key.
func (p *prober) prepare(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		obj, err := p.Put(ctx, p.key, bytes.NewReader(p.body), int64(len(p.body)), provider.PutOptions{})
		p.etag = etagOf(obj.Version)
		return err
	})
	group.Go(func() error {
		up, err := p.NewUpload(ctx, p.key, provider.UploadOptions{})
		if err != nil {
			return err
		}
		p.id = up.ID()
		part, err := up.PutPart(ctx, 1, bytes.NewReader(p.body), int64(len(p.body)))
		p.part = types.CompletedPart{PartNumber: aws.Int32(1), ETag: etagOf(provider.Version(part.Tag))}
		return err
	})
	return group.Wait()
}

// longComponent lifts the limit of a file name where the store has none. Such a store says that there is no such
// key, one that keeps objects as files that the name is wrong (once the directory is there, which the object needs too).
func (p *prober) longComponent(ctx context.Context) error {
	long := p.cfg.Prefix + provider.Reserved + strings.Repeat("n", maxFileName+1)
	_, err := p.client.GetObject(ctx, &awss3.GetObjectInput{Bucket: &p.cfg.Bucket, Key: &long})
	if answerOf(err).code == "NoSuchKey" {
		p.caps.MaxComponent = 0
		return nil
	}
	return p.unlessRefused(ctx, err)
}

// longMarker finds out whether a marker's name may be as long as a file's. A store that may not hold one says that the
// request is wrong, not that there is no such key.
func (p *prober) longMarker(ctx context.Context) error {
	long := p.cfg.Prefix + provider.Reserved + strings.Repeat("n", maxFileName) + "/"
	_, err := p.client.GetObject(ctx, &awss3.GetObjectInput{Bucket: &p.cfg.Bucket, Key: &long})
	if answerOf(err).status == http.StatusBadRequest {
		p.caps.MaxMarker = maxMarkerName
		return nil
	}
	return p.unlessRefused(ctx, err)
}

// longRange sees what becomes of a part that is to be copied from more bytes than there are.
func (p *prober) longRange(ctx context.Context) error {
	_, err := p.client.UploadPartCopy(ctx, &awss3.UploadPartCopyInput{
		Bucket: &p.cfg.Bucket, Key: &p.key, UploadId: &p.id, PartNumber: aws.Int32(2), CopySource: p.copySource(p.key),
		CopySourceRange: aws.String(fmt.Sprintf("bytes=0-%d", len(p.body))),
	})
	p.cutsRanges = err == nil
	return p.unlessRefused(ctx, err)
}

// plainListing sees whether listings come percent-encoded, as asked.
func (p *prober) plainListing(ctx context.Context) error {
	out, err := p.client.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{
		Bucket: &p.cfg.Bucket, Prefix: &p.key, MaxKeys: aws.Int32(1), EncodingType: types.EncodingTypeUrl,
	})
	if err != nil {
		return p.fail(ctx, "open", p.key, err)
	}
	p.plainLists = out.EncodingType != types.EncodingTypeUrl
	return nil
}

// tryWrites sends all writes whose condition does not hold, at the same time: they are refused, or leave the same bytes
// behind. It also sends the requests that only look.
func (p *prober) tryWrites(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	try := func(found *bool, request func(context.Context) (*string, error)) {
		group.Go(func() error { return p.refused(ctx, found, request) })
	}
	absent, other := aws.String("*"), aws.String(otherETag)
	try(&p.checks.put.absent, func(ctx context.Context) (*string, error) { return p.tryPut(ctx, absent, nil) })
	try(&p.checks.put.version, func(ctx context.Context) (*string, error) { return p.tryPut(ctx, nil, other) })
	try(&p.checks.copy.absent, func(ctx context.Context) (*string, error) { return p.tryCopy(ctx, absent, nil) })
	try(&p.checks.copy.version, func(ctx context.Context) (*string, error) { return p.tryCopy(ctx, nil, other) })
	group.Go(func() error { return p.longComponent(ctx) })
	group.Go(func() error { return p.longMarker(ctx) })
	group.Go(func() error { return p.plainListing(ctx) })
	group.Go(func() error {
		if err := p.longRange(ctx); err != nil {
			return err
		}
		// There is one upload: a store that ignores the first condition has none left for the second.
		err := p.refused(ctx, &p.checks.complete.absent, func(ctx context.Context) (*string, error) { return p.tryComplete(ctx, absent, nil) })
		if err != nil {
			return err
		}
		return p.refused(ctx, &p.checks.complete.version, func(ctx context.Context) (*string, error) { return p.tryComplete(ctx, nil, other) })
	})
	return group.Wait()
}

// confirm sends the writes whose refusal was seen with a version that does hold: there are stores that refuse it, too. Each
// may change the ETag, so they go one after the other.
func (p *prober) confirm(ctx context.Context) error {
	if p.overwritten.Load() {
		obj, err := p.Stat(ctx, p.key)
		if err != nil {
			return err
		}
		p.etag = etagOf(obj.Version)
	}
	for _, c := range []struct {
		checked *bool
		request func(ctx context.Context, absent, version *string) (*string, error)
	}{
		{&p.checks.put.version, p.tryPut},
		{&p.checks.copy.version, p.tryCopy},
		{&p.checks.complete.version, p.tryComplete},
	} {
		if !*c.checked {
			continue
		}
		etag, err := c.request(ctx, nil, p.etag)
		if answerOf(err).status == http.StatusPreconditionFailed { // perhaps by an earlier attempt, whose answer got lost
			obj, statErr := p.Stat(ctx, p.key)
			if statErr != nil {
				return statErr
			}
			p.etag = etagOf(obj.Version)
			etag, err = c.request(ctx, nil, p.etag)
		}
		if err == nil {
			p.etag = etag
			continue
		}
		if err := p.unlessRefused(ctx, err); err != nil {
			return err
		}
		*c.checked = false
	}
	return nil
}

// The requests below return the ETag of what they wrote.

func (p *prober) tryPut(ctx context.Context, absent, version *string) (*string, error) {
	out, err := p.client.PutObject(ctx, &awss3.PutObjectInput{
		Bucket: &p.cfg.Bucket, Key: &p.key, Body: bytes.NewReader(p.body), IfNoneMatch: absent, IfMatch: version,
	})
	if err != nil {
		return nil, err
	}
	return out.ETag, nil
}

func (p *prober) tryCopy(ctx context.Context, absent, version *string) (*string, error) {
	out, err := p.client.CopyObject(ctx, &awss3.CopyObjectInput{
		Bucket: &p.cfg.Bucket, Key: &p.key, CopySource: p.copySource(p.key), MetadataDirective: types.MetadataDirectiveReplace,
		IfNoneMatch: absent, IfMatch: version,
	})
	if err != nil {
		return nil, err
	}
	if out.CopyObjectResult == nil {
		return nil, broken("open", p.key)
	}
	return out.CopyObjectResult.ETag, nil
}

func (p *prober) tryComplete(ctx context.Context, absent, version *string) (*string, error) {
	out, err := p.client.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{
		Bucket: &p.cfg.Bucket, Key: &p.key, UploadId: &p.id, IfNoneMatch: absent, IfMatch: version,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{p.part}},
	})
	if err != nil {
		return nil, err
	}
	p.id = ""
	return out.ETag, nil
}

// refused sends a request whose condition does not hold. Only the answer that says so proves that the store checks;
// any other answer means that it does not, and no answer is an error.
func (p *prober) refused(ctx context.Context, found *bool, request func(context.Context) (*string, error)) error {
	_, err := request(ctx)
	if err == nil {
		p.overwritten.Store(true)
	}
	if *found = answerOf(err).status == http.StatusPreconditionFailed; *found {
		return nil
	}
	return p.unlessRefused(ctx, err)
}

// unlessRefused passes on errors that say nothing of what the store can do.
func (p *prober) unlessRefused(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	failed := p.fail(ctx, "open", p.key, err)
	var kind = provider.KindOf(failed)
	switch {
	case provider.IsContext(failed), kind.Transient(), kind == provider.KindAuth, kind == provider.KindNoStore:
		return failed
	}
	return nil
}

// clean removes what the probe made, even when the caller has given up.
func (p *prober) clean(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(p.http.Timeout, 10*time.Second))
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	if p.id != "" {
		group.Go(func() error { return p.AbortUpload(ctx, p.key, p.id) })
	}
	if p.etag != nil {
		group.Go(func() error { return p.Delete(ctx, provider.DeleteOptions{}, p.key) })
	}
	return group.Wait()
}

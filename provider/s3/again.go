package s3

import (
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

const (
	raceAttempts = 4 // of a write that MinIO denies
	raceBackoff  = 50 * time.Millisecond
)

// raceRetryer repeats, a few times within a moment, a write that MinIO denies. MinIO keeps objects as directories, and when a
// write meets the removal of an empty one above it, its answer is that of credentials without the right (403 AccessDenied).
// Nothing else is repeated here.
func raceRetryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = raceAttempts
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) {
			return time.Duration(attempt) * raceBackoff, nil
		})
		o.RateLimiter = ratelimit.None
		o.Retryables = []retry.IsErrorRetryable{retry.IsErrorRetryableFunc(mayBeARace)}
	})
}

// mayBeARace says whether an error is MinIO's denial of a write.
func mayBeARace(err error) aws.Ternary {
	a := answerOf(err)
	write := a.method != http.MethodGet && a.method != http.MethodHead
	return aws.BoolTernary(write && a.code == "AccessDenied" && a.header.Get("Server") == "MinIO")
}

package s3

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"sharefs/provider/overhttp"
)

// payload is a body that was read once, for its checksums, and is sent from where it began.
type payload struct {
	body   *overhttp.Section
	sha256 string // hexadecimal, as signatures want it
	crc32c string // as S3 writes it
}

// newPayload reads the whole body. One that is shorter or longer than size is KindInvalid, and nothing was sent yet.
func newPayload(ctx context.Context, op, key string, from io.ReadSeeker, size int64) (payload, error) {
	sha, crc := sha256.New(), castagnoli()
	body, err := overhttp.ReadThrough(ctx, op, key, from, size, sha, crc)
	if err != nil {
		return payload{}, err
	}
	return payload{body: body, sha256: hex.EncodeToString(sha.Sum(nil)), crc32c: sumText(crc)}, nil
}

// signed has the request signed with the hash that is known already; the SDK would read the body again, or over
// TLS leave it out of the signature.
func (p payload) signed() func(*awss3.Options) {
	return awss3.WithAPIOptions(func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("sharefs:PayloadHash",
			func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
				return next.HandleInitialize(v4.SetPayloadHash(ctx, p.sha256), in)
			}), middleware.Before)
	})
}

package s3

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"sharefs/provider/secret"
)

// named finds credentials by their names in the environment of AWS tools, in Options.Secrets.
type named struct {
	secret func(name string) (string, bool)
}

// Retrieve returns what the names stand for now. It counts as expired at once, so that the SDK's cache asks for each
// request, and a mended key counts from the next one on.
func (n named) Retrieve(context.Context) (aws.Credentials, error) {
	id, ok := n.secret("AWS_ACCESS_KEY_ID")
	if !ok {
		return aws.Credentials{}, errors.New("the secrets of the store have no AWS_ACCESS_KEY_ID")
	}
	key, ok := n.secret("AWS_SECRET_ACCESS_KEY")
	if !ok {
		return aws.Credentials{}, errors.New("the secrets of the store have no AWS_SECRET_ACCESS_KEY")
	}
	token, _ := n.secret("AWS_SESSION_TOKEN")
	return aws.Credentials{AccessKeyID: id, SecretAccessKey: key, SessionToken: token, Source: "secrets", CanExpire: true}, nil
}

// freshSigner signs with a key derived from the secret at hand. The SDK's own signer keeps the derived key for a day, by the
// id of the key alone, so that a secret which was mended would not count.
type freshSigner struct {
	mu     sync.Mutex
	secret secret.Text // guarded by mu: that signer has derived its key from
	signer *v4.Signer  // guarded by mu
}

var _ awss3.HTTPSignerV4 = (*freshSigner)(nil)

// SignHTTP signs a request.
func (f *freshSigner) SignHTTP(ctx context.Context, creds aws.Credentials, r *http.Request, payloadHash, service, region string, at time.Time, opts ...func(*v4.SignerOptions)) error {
	return f.of(creds.SecretAccessKey).SignHTTP(ctx, creds, r, payloadHash, service, region, at, opts...)
}

func (f *freshSigner) of(key string) *v4.Signer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.signer == nil || f.secret.Reveal() != key {
		f.secret = secret.New(key)
		f.signer = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }) // as S3 wants it
	}
	return f.signer
}

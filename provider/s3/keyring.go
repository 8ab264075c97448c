package s3

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"sharefs/provider"
)

// keyring holds the credentials that the SDK's own chain finds. The SDK reads configuration files once; a mount outlives keys.
// So when the store refuses the keys the chain is read anew, and if it has other keys by then the request is sent once more
// with those: new keys in ~/.aws/credentials take effect when the old ones end. (What the chain renews by itself, such as
// the keys of a role, it renews before they expire.)
type keyring struct {
	load func(context.Context) (aws.Config, error) // nil: the source of the keys looks by itself

	looking chan struct{} // full while the chain is read anew, by one for all
	looked  time.Time     // when that began last

	mu     sync.Mutex
	cache  *aws.CredentialsCache
	number int // of the cache: counts the exchanges
}

// lookPause is the shortest time between two readings of the chain, which may ask a service.
const lookPause = time.Second

// keyring returns the keys of the secrets that Open was given, else those of the SDK's chain.
func (c Config) keyring(found aws.Config, secrets func(name string) (string, bool)) *keyring {
	k := &keyring{load: c.load, looking: make(chan struct{}, 1), cache: aws.NewCredentialsCache(found.Credentials)}
	if secrets != nil {
		k.load, k.cache = nil, aws.NewCredentialsCache(named{secrets})
	}
	return k
}

// Retrieve returns the keys.
func (k *keyring) Retrieve(ctx context.Context) (aws.Credentials, error) {
	cache, _ := k.current()
	found, err := cache.Retrieve(ctx)
	if err != nil {
		return found, &credentialsError{err}
	}
	return found, nil
}

func (k *keyring) current() (*aws.CredentialsCache, int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cache, k.number
}

// attach has a request sent once more when its keys were refused and there are others.
func (k *keyring) attach(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("sharefs:NewKeys",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			_, used := k.current()
			out, meta, err := next.HandleInitialize(ctx, in)
			if err == nil || !answerOf(err).refusesKeys() || !k.exchanged(ctx, used) || rewind(in.Parameters) != nil {
				return out, meta, err
			}
			return next.HandleInitialize(ctx, in)
		}), middleware.Before)
}

// refusesKeys reports whether other keys may get another answer. A HEAD has no room for a reason.
func (a answer) refusesKeys() bool {
	kind := a.kind()
	return a.came() && (kind == provider.KindAuth || kind == provider.KindDenied) ||
		a.method == http.MethodHead && a.status == http.StatusBadRequest
}

// exchanged reports whether the keys are others by now than those that were used.
func (k *keyring) exchanged(ctx context.Context, used int) bool {
	select {
	case k.looking <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-k.looking }()
	old, number := k.current()
	if number != used {
		return true
	}
	if k.load == nil || time.Since(k.looked) < lookPause {
		return false
	}
	k.looked = time.Now()
	found, err := k.load(ctx)
	if err != nil {
		return false // a file that is just being written: the answer to the old keys stands
	}
	fresh := aws.NewCredentialsCache(found.Credentials)
	has, err := fresh.Retrieve(ctx)
	if err != nil {
		return false
	}
	if had, err := old.Retrieve(ctx); err == nil && sameKeys(had, has) {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cache = fresh
	k.number++
	return true
}

func sameKeys(a, b aws.Credentials) bool {
	return a.AccessKeyID == b.AccessKeyID && a.SecretAccessKey == b.SecretAccessKey && a.SessionToken == b.SessionToken
}

// rewind makes the body of a request ready to be sent again.
func rewind(request any) error {
	var body io.Reader
	switch in := request.(type) {
	case *awss3.PutObjectInput:
		body = in.Body
	case *awss3.UploadPartInput:
		body = in.Body
	}
	if seeker, ok := body.(io.Seeker); ok {
		_, err := seeker.Seek(0, io.SeekStart)
		return err
	}
	return nil
}

// credentialsError is the error of finding credentials, to be told from those of a request.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string {
	return fmt.Sprintf("no usable credentials: %v; %s", e.err, whereSecretsGo)
}
func (e *credentialsError) Unwrap() error { return e.err }

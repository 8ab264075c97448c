package s3

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
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

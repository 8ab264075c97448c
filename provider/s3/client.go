package s3

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
)

const defaultRegion = "us-east-1"

// connect finds region and credentials, unless it was given those, in the SDK's own chain and makes the client. Without credentials nothing could
// work, so their absence is an error here.
func (s *store) connect(ctx context.Context) error {
	found, err := s.cfg.load(ctx)
	if err != nil {
		return err
	}
	s.region = found.Region
	if s.region == "" {
		if s.cfg.endpoint(found) == "" {
			return invalid("open", "", "no region: add ?region=NAME to the URL, or set AWS_REGION")
		}
		s.region = defaultRegion
	}
	creds := s.source(found.Credentials)
	if _, err := creds.Retrieve(ctx); err != nil {
		return s.fail(ctx, "open", "", err)
	}
	s.client = awss3.NewFromConfig(found, func(o *awss3.Options) {
		o.Region = s.region
		o.UsePathStyle = s.cfg.PathStyle
		if s.cfg.Endpoint != "" {
			o.BaseEndpoint = &s.cfg.Endpoint
		}
		o.Credentials = aws.NewCredentialsCache(creds)
		o.HTTPClient = s.http.Usual
		o.HTTPSignerV4 = &freshSigner{}
		// Checksums are the driver's own: the SDK's would be sent behind the body, in a framing that many servers refuse.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.Retryer = aws.NopRetryer{}
		o.Logger = logging.Nop{} // what goes wrong is returned
	})
	return nil
}

func (c Config) loadOptions() []func(*config.LoadOptions) error {
	opts := []func(*config.LoadOptions) error{
		config.WithAppID("sharefs"),
		config.WithLogger(logging.Nop{}),
	}
	if c.Region != "" {
		opts = append(opts, config.WithRegion(c.Region))
	}
	if c.Profile != "" {
		opts = append(opts, config.WithSharedConfigProfile(c.Profile))
	}
	return opts
}

// credentials marks the errors of finding credentials, so that they can be told from those of a request.
type credentials struct{ inner aws.CredentialsProvider }

type credentialsError struct{ err error }

func (e *credentialsError) Error() string {
	return fmt.Sprintf("no usable credentials: %v; %s", e.err, whereSecretsGo)
}
func (e *credentialsError) Unwrap() error { return e.err }

// Retrieve returns the credentials of the chain.
func (c *credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	found, err := c.inner.Retrieve(ctx)
	if err != nil {
		return found, &credentialsError{err}
	}
	return found, nil
}

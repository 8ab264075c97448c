package s3

import (
	"cmp"
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"sharefs/provider"
	"sharefs/provider/overhttp"
)

const defaultRegion = "us-east-1"

// connect finds region and credentials, unless it was given those, in the SDK's own chain and makes the client. Without
// credentials nothing could work, so their absence is an error here.
func (s *store) connect(ctx context.Context, opts Options) error {
	found, err := s.cfg.load(ctx)
	if err != nil {
		return err
	}
	s.region = found.Region
	if s.region == "" {
		if s.cfg.endpoint(found) == "" {
			return provider.Invalid("open", "", "no region: add ?region=NAME to the URL, or set AWS_REGION")
		}
		s.region = defaultRegion
	}
	if s.cfg.CustomerKeyFile != "" && !strings.HasPrefix(cmp.Or(s.cfg.endpoint(found), "https:"), "https:") {
		return provider.Invalid("open", "", "sse_customer_key_file sends the key with each request, and the endpoint has no TLS: use https://")
	}
	demands, err := s.cfg.demands()
	if err != nil {
		return err
	}
	s.sums = s.cfg.wantsChecksums(found)
	way, err := s.cfg.route(found)
	if err != nil {
		return err
	}
	way.Timeout = opts.Timeout
	s.http = overhttp.NewClients(way)
	keys := s.cfg.keyring(found, opts.Secrets)
	if _, err := keys.Retrieve(ctx); err != nil {
		return s.fail(ctx, "open", "", err)
	}
	s.client = awss3.NewFromConfig(found, func(o *awss3.Options) {
		o.Region = s.region
		o.UsePathStyle = s.cfg.PathStyle
		if s.cfg.Endpoint != "" {
			o.BaseEndpoint = &s.cfg.Endpoint
		}
		o.Credentials = keys
		o.HTTPClient = s.http.Usual
		o.HTTPSignerV4 = &freshSigner{}
		// Checksums are the driver's own: the SDK's would be sent behind the body, in a framing that many servers refuse.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.Retryer = raceRetryer()
		o.APIOptions = append(o.APIOptions, demands.attach, keys.attach)
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

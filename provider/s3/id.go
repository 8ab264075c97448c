package s3

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"sharefs/provider"
)

// ID names the bucket and the prefix: equal when they are the same ones, whatever the region, the profile and the style
// of the requests. It is a URL with an endpoint, be it Amazon's. An endpoint that the URL does not name is looked for
// in the SDK's own chain (AWS_ENDPOINT_URL, profile), as Open does. No server is asked. It holds nothing secret.
func (c Config) ID(ctx context.Context) (string, error) {
	found, err := c.load(ctx)
	if err != nil {
		return "", err
	}
	endpoint := c.endpoint(found)
	if endpoint == "" {
		if endpoint, err = amazon(ctx, found.Region); err != nil {
			return "", provider.E(ctx, "id", "", provider.KindInvalid, err)
		}
	}
	if endpoint, err = plain(endpoint); err != nil {
		return "", provider.Invalid("id", "", "%w", err)
	}
	return Config{Bucket: c.Bucket, Prefix: c.Prefix, Endpoint: endpoint}.String(), nil
}

// load reads the configuration of the SDK's own chain.
func (c Config) load(ctx context.Context) (aws.Config, error) {
	found, err := config.LoadDefaultConfig(ctx, c.loadOptions()...)
	if err != nil {
		return found, provider.E(ctx, "open", "", provider.KindAuth, fmt.Errorf("reading the AWS configuration: %w", err))
	}
	return found, nil
}

// endpoint returns the server that is named somewhere; empty when it is Amazon's.
func (c Config) endpoint(found aws.Config) string {
	if c.Endpoint != "" {
		return c.Endpoint
	}
	return aws.ToString(awss3.NewFromConfig(found).Options().BaseEndpoint)
}

// amazon returns Amazon's endpoint in a region.
func amazon(ctx context.Context, region string) (string, error) {
	if region == "" {
		region = defaultRegion
	}
	e, err := awss3.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, awss3.EndpointParameters{Region: &region})
	if err != nil {
		return "", fmt.Errorf("the region %q: %w", region, err)
	}
	return e.URI.String(), nil
}

// ofOneNamespace matches Amazon's endpoints in the regions that share the names of buckets. (Those of China share theirs;
// the others, such as the regions of the US government, stay as they are.)
var ofOneNamespace = regexp.MustCompile(`^s3(?:-fips)?(?:\.dualstack)?(?:\.[a-z0-9-]+)?\.(amazonaws\.com(?:\.cn)?)$`)

// plain returns the one form of an endpoint.
func plain(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return "", errors.New("the endpoint cannot be read: want http://host:port or https://host:port") // it may hold a secret
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if u.Port() == map[string]string{"http": "80", "https": "443"}[scheme] {
		host = strings.TrimSuffix(host, ":"+u.Port())
	}
	if m := ofOneNamespace.FindStringSubmatch(host); m != nil && !strings.Contains(host, "us-gov-") {
		return "https://s3." + m[1], nil
	}
	return (&url.URL{Scheme: scheme, Host: host, Path: strings.TrimSuffix(u.Path, "/")}).String(), nil
}

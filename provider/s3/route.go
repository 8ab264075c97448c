package s3

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"sharefs/provider"
	"sharefs/provider/overhttp"
)

// route says how the store is reached, and how it is told from somebody else: as the URL says, else what the SDK found in its
// own chain (AWS_CA_BUNDLE, ca_bundle), else the system's way. It is for the store only: the services that give
// credentials are asked by the SDK, in the SDK's way.
func (c Config) route(found aws.Config) (overhttp.Options, error) {
	proxy, err := overhttp.ProxyAt(c.Proxy)
	if err != nil {
		return overhttp.Options{}, err
	}
	way := overhttp.Options{Proxy: proxy}
	if c.CAFile == "" {
		if sdk, ok := found.HTTPClient.(*awshttp.BuildableClient); ok {
			if tls := sdk.GetTransport().TLSClientConfig; tls != nil {
				way.Roots = tls.RootCAs
			}
		}
		return way, nil
	}
	way.Roots, err = overhttp.RootsWith(c.CAFile)
	if err != nil {
		err = provider.Invalid("open", "", "ca_file: %w", err)
	}
	return way, err
}

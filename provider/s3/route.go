package s3

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"sharefs/provider"
)

// route is how the store is reached, and how it is told from somebody else.
type route struct {
	proxy func(*http.Request) (*url.URL, error)
	roots *x509.CertPool // nil: the system's
}

// route returns what the URL says, else what the SDK found in its own chain (AWS_CA_BUNDLE, ca_bundle), else the system's
// way. It is for the store only: the services that give credentials are asked by the SDK, in the SDK's way.
func (c Config) route(found aws.Config) (route, error) {
	way := route{proxy: http.ProxyFromEnvironment}
	if c.Proxy != "" {
		u, err := url.Parse(c.Proxy)
		if err != nil {
			return way, invalid("open", "", "the proxy cannot be read: want http://host:port")
		}
		way.proxy = http.ProxyURL(u)
	}
	if c.CAFile == "" {
		if sdk, ok := found.HTTPClient.(*awshttp.BuildableClient); ok {
			if tls := sdk.GetTransport().TLSClientConfig; tls != nil {
				way.roots = tls.RootCAs
			}
		}
		return way, nil
	}
	var err error
	way.roots, err = rootsWith(c.CAFile)
	if err != nil {
		err = &provider.Error{Op: "open", Kind: provider.KindInvalid, Err: fmt.Errorf("ca_file: %w", err)}
	}
	return way, err
}

// rootsWith returns the system's certificates and those of a file.
func rootsWith(name string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a system without certificates
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %w", name, errors.New("it holds no certificate in PEM"))
	}
	return pool, nil
}

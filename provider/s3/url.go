package s3

import (
	"net/url"
	"strings"

	"sharefs/provider"
	"sharefs/provider/overhttp"
)

// Config says which bucket, where, as whom, and what the store is to do with what it is given. ParseURL makes it from a URL.
type Config struct {
	Bucket    string
	Prefix    string // empty or ending in "/"; the driver only probes below it, the prefix decorator applies it
	Region    string // empty: from the SDK's chain (AWS_REGION, profile), us-east-1 with an Endpoint
	Endpoint  string // http or https URL of a server that is not Amazon's; empty: from the SDK's chain, else Amazon
	PathStyle bool   // ENDPOINT/BUCKET instead of BUCKET.ENDPOINT; most servers that are not Amazon's need it
	Profile   string // of the AWS configuration files; empty: AWS_PROFILE, or the default one
	Proxy     string // http or https URL of the proxy before the store; empty: from HTTPS_PROXY, HTTP_PROXY, NO_PROXY
	CAFile    string // certificates in PEM that are trusted besides the system's; empty: AWS_CA_BUNDLE, or the system's

	// What the store does with objects; empty: what the bucket's own settings say.
	Encryption      string // by the store, with its own keys: AES256, aws:kms, aws:kms:dsse
	KMSKey          string // id, alias or ARN of the key of aws:kms
	CustomerKeyFile string // of the key that the store encrypts with and does not keep (SSE-C)
	StorageClass    string // of files; what sharefs keeps for itself stays in the bucket's default
	ACL             string // a canned one, such as bucket-owner-full-control
	RequesterPays   bool   // we agree to pay for requests and transfer
	Checksums       string // when_supported, when_required; empty: from the SDK's chain, else when_supported
}

// ParseURL reads s3://bucket/prefix?region=…&endpoint=…&path_style=true…, with the parameters of form. Everything but
// the bucket may be missing. An unknown parameter is an error, and so is anything secret: credentials come from the AWS
// environment, profiles and roles.
func ParseURL(u *url.URL) (Config, error) {
	cfg, err := form.Parse(u)
	if err != nil {
		return Config{}, err
	}
	return cfg, cfg.check()
}

const whereSecretsGo = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile with ?profile=NAME"

// check reports what cannot work, so that Open and ParseURL refuse alike.
func (c Config) check() error {
	if n := len(c.Bucket); n < 3 || n > 63 || strings.Trim(c.Bucket, bucketLetters) != "" {
		return provider.Invalid("url", "", "%q is no name of a bucket: it has 3 to 63 letters, digits, dots and hyphens", c.Bucket)
	}
	if err := overhttp.CheckPrefix(c.Prefix, maxKey); err != nil {
		return err
	}
	for what, server := range map[string]string{"endpoint": c.Endpoint, "proxy": c.Proxy} {
		if err := overhttp.CheckServer(what, server, whereSecretsGo); err != nil {
			return err
		}
	}
	return c.checkDemands()
}

const bucketLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

// String returns the URL that ParseURL reads back. It holds nothing secret.
func (c Config) String() string { return form.String(c) }

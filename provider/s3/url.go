package s3

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"sharefs/provider"
	"sharefs/provider/overhttp"
	"sharefs/provider/secret"
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

// ParseURL reads s3://bucket/prefix?region=…&endpoint=…&path_style=true…, with the parameters of params. Everything but
// the bucket may be missing. An unknown parameter is an error, and so is anything secret: credentials come from the AWS
// environment, profiles and roles.
func ParseURL(u *url.URL) (Config, error) {
	cfg, err := parseURL(u)
	if err != nil {
		return Config{}, invalid("url", "", "%w", err)
	}
	return cfg, cfg.check()
}

func parseURL(u *url.URL) (Config, error) {
	switch {
	case u.Scheme != "s3":
		return Config{}, fmt.Errorf("the scheme is %q, want s3://bucket/prefix", u.Scheme)
	case u.User != nil:
		return Config{}, errors.New("credentials do not belong in a URL: " + whereSecretsGo)
	case u.Opaque != "" || u.Host == "":
		return Config{}, errors.New("no bucket: want s3://bucket/prefix")
	case u.Port() != "":
		return Config{}, fmt.Errorf("a port behind the bucket: give the server as ?endpoint=http://host:%s", u.Port())
	case u.Fragment != "":
		return Config{}, errors.New("a # in a prefix must be written %23")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Config{}, fmt.Errorf("the parameters cannot be read: %w", err)
	}
	cfg := Config{Bucket: u.Host}
	if cfg.Prefix = strings.Trim(u.Path, "/"); cfg.Prefix != "" {
		cfg.Prefix += "/"
	}
	for name, values := range query {
		if err := cfg.set(name, values); err != nil {
			return Config{}, err
		}
	}
	return cfg, nil
}

const whereSecretsGo = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile with ?profile=NAME"

func (c *Config) set(name string, values []string) error {
	i := slices.IndexFunc(params, func(p param) bool { return p.name == name })
	switch {
	case i < 0 && looksSecret(name):
		return fmt.Errorf("the parameter %q: credentials do not belong in a URL: %s", name, whereSecretsGo)
	case i < 0:
		return fmt.Errorf("unknown parameter %q: known are %s", name, strings.Join(paramNames(), ", "))
	case len(values) != 1 || values[0] == "":
		return fmt.Errorf("the parameter %q needs one value", name)
	}
	return params[i].set(c, values[0])
}

// looksSecret recognises the names that other tools give to credentials.
func looksSecret(name string) bool { return secret.Names(name) }

// check reports what cannot work, so that Open and ParseURL refuse alike.
func (c Config) check() error {
	if n := len(c.Bucket); n < 3 || n > 63 || strings.Trim(c.Bucket, bucketLetters) != "" {
		return invalid("url", "", "%q is no name of a bucket: it has 3 to 63 letters, digits, dots and hyphens", c.Bucket)
	}
	if c.Prefix != "" {
		if !strings.HasSuffix(c.Prefix, "/") {
			return invalid("url", "", "the prefix %q does not end in a slash", c.Prefix)
		}
		if err := provider.CheckKey(c.Prefix, provider.Capabilities{MaxKey: maxKey}); err != nil {
			return fmt.Errorf("the prefix cannot be used: %w", err)
		}
	}
	for what, server := range map[string]string{"endpoint": c.Endpoint, "proxy": c.Proxy} {
		if server == "" {
			continue
		}
		if err := overhttp.CheckServer(what, server, whereSecretsGo); err != nil {
			return err
		}
	}
	return c.checkDemands()
}

const bucketLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

// String returns the URL that ParseURL reads back. It holds nothing secret.
func (c Config) String() string {
	query := url.Values{}
	for _, p := range params {
		if value := p.get(c); value != "" {
			query.Set(p.name, value)
		}
	}
	u := url.URL{Scheme: "s3", Host: c.Bucket, RawQuery: query.Encode()}
	if prefix := strings.TrimSuffix(c.Prefix, "/"); prefix != "" {
		u.Path = "/" + prefix
	}
	return u.String()
}

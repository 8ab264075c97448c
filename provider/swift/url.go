package swift

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

// Config says which container, where, and by which way in. ParseURL makes it from a URL. What it leaves empty comes from the
// environment, or from clouds.yaml: see access.
type Config struct {
	Container    string
	Prefix       string // empty or ending in "/"; the prefix decorator applies it
	Auth         string // URL that gives out tokens
	AuthVersion  string // 1, 2 or 3
	Cloud        string // of clouds.yaml
	Project      string // or tenant
	Region       string
	EndpointType string // public, internal or admin
	Proxy        string // http or https URL; empty: from HTTPS_PROXY, HTTP_PROXY, NO_PROXY
	CAFile       string // certificates in PEM that are trusted besides the system's
}

// param is a parameter of a URL, and where it belongs in a Config.
type param struct {
	name  string
	field func(*Config) *string
}

var params = []param{
	{"auth", func(c *Config) *string { return &c.Auth }},
	{"auth_version", func(c *Config) *string { return &c.AuthVersion }},
	{"ca_file", func(c *Config) *string { return &c.CAFile }},
	{"cloud", func(c *Config) *string { return &c.Cloud }},
	{"endpoint_type", func(c *Config) *string { return &c.EndpointType }},
	{"project", func(c *Config) *string { return &c.Project }},
	{"proxy", func(c *Config) *string { return &c.Proxy }},
	{"region", func(c *Config) *string { return &c.Region }},
}

// ParseURL reads swift://container/prefix?auth=…&auth_version=…&region=…, with the parameters of params. Everything but the
// container may be missing. An unknown parameter is an error, and so is anything secret.
func ParseURL(u *url.URL) (Config, error) {
	cfg, err := parseURL(u)
	if err != nil {
		return Config{}, invalid("url", "", "%w", err)
	}
	return cfg, cfg.check()
}

const whereSecretsGo = "set OS_USERNAME and OS_PASSWORD or what your cloud's openrc file sets, ST_USER and ST_KEY for auth version 1, name a cloud of clouds.yaml with ?cloud=NAME, or put them into the store's file of secrets"

func parseURL(u *url.URL) (Config, error) {
	switch {
	case u.Scheme != "swift":
		return Config{}, fmt.Errorf("the scheme is %q, want swift://container/prefix", u.Scheme)
	case u.User != nil:
		return Config{}, errors.New("credentials do not belong in a URL: " + whereSecretsGo)
	case u.Opaque != "" || u.Host == "":
		return Config{}, errors.New("no container: want swift://container/prefix")
	case u.Port() != "":
		return Config{}, fmt.Errorf("a port behind the container: give the server as ?auth=https://host:%s/…", u.Port())
	case u.Fragment != "":
		return Config{}, errors.New("a # in a prefix must be written %23")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Config{}, fmt.Errorf("the parameters cannot be read: %w", err)
	}
	cfg := Config{Container: u.Host}
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

func (c *Config) set(name string, values []string) error {
	i := slices.IndexFunc(params, func(p param) bool { return p.name == name })
	switch {
	case i < 0 && secret.Names(name):
		return fmt.Errorf("the parameter %q: credentials do not belong in a URL: %s", name, whereSecretsGo)
	case i < 0:
		var known []string
		for _, p := range params {
			known = append(known, p.name)
		}
		return fmt.Errorf("unknown parameter %q: known are %s", name, strings.Join(known, ", "))
	case len(values) != 1 || values[0] == "":
		return fmt.Errorf("the parameter %q needs one value", name)
	}
	*params[i].field(c) = values[0]
	return nil
}

// maxContainer is the longest name of a container, in bytes.
const maxContainer = 256

// check reports what cannot work, so that Open and ParseURL refuse alike.
func (c Config) check() error {
	if c.Container == "" || len(c.Container)+len(segmentsSuffix) > maxContainer || strings.ContainsAny(c.Container, "/?#%") {
		return invalid("url", "", "%q cannot be used as a container: its name has at most %d bytes and none of / ? # %%", c.Container, maxContainer-len(segmentsSuffix))
	}
	if c.Prefix != "" {
		if !strings.HasSuffix(c.Prefix, "/") {
			return invalid("url", "", "the prefix %q does not end in a slash", c.Prefix)
		}
		if err := provider.CheckKey(c.Prefix, provider.Capabilities{MaxKey: 1024}); err != nil {
			return fmt.Errorf("the prefix cannot be used: %w", err)
		}
	}
	for what, text := range map[string]string{"auth": c.Auth, "proxy": c.Proxy} {
		if text != "" {
			if err := overhttp.CheckServer(what, text, whereSecretsGo); err != nil {
				return err
			}
		}
	}
	if !slices.Contains([]string{"", "1", "2", "3"}, c.AuthVersion) {
		return invalid("url", "", "auth_version=%s: want 1, 2 or 3", c.AuthVersion)
	}
	if !slices.Contains([]string{"", "public", "internal", "admin"}, c.EndpointType) {
		return invalid("url", "", "endpoint_type=%s: want public, internal or admin", c.EndpointType)
	}
	return nil
}

// String returns the URL that ParseURL reads back. It holds nothing secret.
func (c Config) String() string {
	query := url.Values{}
	for _, p := range params {
		if value := *p.field(&c); value != "" {
			query.Set(p.name, value)
		}
	}
	u := url.URL{Scheme: "swift", Host: c.Container, RawQuery: query.Encode()}
	if prefix := strings.TrimSuffix(c.Prefix, "/"); prefix != "" {
		u.Path = "/" + prefix
	}
	return u.String()
}

// ID names the container and the prefix: equal when they are the same ones. What the URL does not name is looked for in the
// secrets, or where there are none (nil) in the environment and in clouds.yaml, as Open does, but for what is missing to log
// in. No server is asked. It holds nothing secret.
func (c Config) ID(secrets func(name string) (string, bool)) (string, error) {
	where, err := c.gather(lookupOf(secrets))
	if err != nil {
		return "", err
	}
	same := Config{Container: c.Container, Prefix: c.Prefix, Auth: where.AuthURL, Project: where.account(), Region: where.Region}
	if where.StorageURL != "" {
		same.Auth, same.Project, same.Region = where.StorageURL, "", ""
	}
	return same.String(), nil
}

package swift

import (
	"net/url"
	"slices"
	"strings"

	"sharefs/provider"
	"sharefs/provider/overhttp"
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

// form is how URLs of containers look.
var form = overhttp.Form[Config]{
	Scheme: "swift", Store: "container", Server: "auth=https://host:PORT/…", Secrets: whereSecretsGo,
	Name:   func(c *Config) *string { return &c.Container },
	Prefix: func(c *Config) *string { return &c.Prefix },
	Params: []overhttp.Param[Config]{
		overhttp.Text("auth", func(c *Config) *string { return &c.Auth }),
		overhttp.Text("auth_version", func(c *Config) *string { return &c.AuthVersion }),
		overhttp.Text("ca_file", func(c *Config) *string { return &c.CAFile }),
		overhttp.Text("cloud", func(c *Config) *string { return &c.Cloud }),
		overhttp.Text("endpoint_type", func(c *Config) *string { return &c.EndpointType }),
		overhttp.Text("project", func(c *Config) *string { return &c.Project }),
		overhttp.Text("proxy", func(c *Config) *string { return &c.Proxy }),
		overhttp.Text("region", func(c *Config) *string { return &c.Region }),
	},
}

// ParseURL reads swift://container/prefix?auth=…&auth_version=…&region=…, with the parameters of form. Everything but the
// container may be missing. An unknown parameter is an error, and so is anything secret.
func ParseURL(u *url.URL) (Config, error) {
	cfg, err := form.Parse(u)
	if err != nil {
		return Config{}, err
	}
	return cfg, cfg.check()
}

const whereSecretsGo = "set OS_USERNAME and OS_PASSWORD or what your cloud's openrc file sets, ST_USER and ST_KEY for auth version 1, name a cloud of clouds.yaml with ?cloud=NAME, or put them into the store's file of secrets"

// The longest names that Swift takes by default, in bytes.
const (
	maxContainer = 256
	maxKey       = 1024
)

// check reports what cannot work, so that Open and ParseURL refuse alike.
func (c Config) check() error {
	if c.Container == "" || len(c.Container)+len(segmentsSuffix) > maxContainer || strings.ContainsAny(c.Container, "/?#%") {
		return provider.Invalid("url", "", "%q cannot be used as a container: its name has at most %d bytes and none of / ? # %%", c.Container, maxContainer-len(segmentsSuffix))
	}
	if err := overhttp.CheckPrefix(c.Prefix, maxKey); err != nil {
		return err
	}
	for what, server := range map[string]string{"auth": c.Auth, "proxy": c.Proxy} {
		if err := overhttp.CheckServer(what, server, whereSecretsGo); err != nil {
			return err
		}
	}
	if !slices.Contains([]string{"", "1", "2", "3"}, c.AuthVersion) {
		return provider.Invalid("url", "", "auth_version=%s: want 1, 2 or 3", c.AuthVersion)
	}
	if !slices.Contains([]string{"", "public", "internal", "admin"}, c.EndpointType) {
		return provider.Invalid("url", "", "endpoint_type=%s: want public, internal or admin", c.EndpointType)
	}
	return nil
}

// String returns the URL that ParseURL reads back. It holds nothing secret.
func (c Config) String() string { return form.String(c) }

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

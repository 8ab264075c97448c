package swift

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ncw/swift/v2"

	"sharefs/provider"
	"sharefs/provider/overhttp"
)

// access is how to log in: what the URL says, else the cloud of clouds.yaml that it or OS_CLOUD names, else the environment
// as the command line clients read it (https://docs.openstack.org/python-swiftclient/latest/cli/, "Authentication").
type access struct {
	AuthURL, Version            string
	User, UserID, Key           string
	Project, ProjectID          string
	UserDomain, UserDomainID    string
	ProjectDomain, ProjectDomID string
	AppID, AppName, AppSecret   string // an application credential
	Token                       string
	TrustID                     string
	StorageURL                  string // instead of what the catalog says
	Region, EndpointType        string
	CACert                      string
	proxy                       string
}

// lookup finds a variable by its name; empty: there is none.
type lookup func(name string) string

// lookupOf looks in the secrets of a store, or, where there are none, in the environment.
func lookupOf(secrets func(string) (string, bool)) lookup {
	if secrets == nil {
		return os.Getenv
	}
	return func(name string) string {
		value, _ := secrets(name)
		return value
	}
}

// first returns the first variable that has a value.
func (l lookup) first(names ...string) string {
	for _, name := range names {
		if value := l(name); value != "" {
			return value
		}
	}
	return ""
}

// find returns how to log in, or what is missing for that.
func (c Config) find(env lookup) (access, error) {
	a, err := c.gather(env)
	if err != nil {
		return access{}, err
	}
	return a, a.complete()
}

func (c Config) gather(env lookup) (access, error) {
	a := fromEnvironment(env, c.AuthVersion == "1")
	if name := cmp.Or(c.Cloud, env("OS_CLOUD")); name != "" {
		var err error
		if a, err = fromClouds(name, env); err != nil {
			return access{}, provider.Invalid("open", "", "%w", err)
		}
	}
	for _, over := range []struct {
		field *string
		value string
	}{
		{&a.AuthURL, c.Auth}, {&a.Version, c.AuthVersion}, {&a.Region, c.Region}, {&a.EndpointType, c.EndpointType},
		{&a.CACert, c.CAFile}, {&a.proxy, c.Proxy},
	} {
		*over.field = cmp.Or(over.value, *over.field)
	}
	if c.Project != "" {
		a.Project, a.ProjectID = c.Project, ""
	}
	return a, nil
}

func fromEnvironment(env lookup, v1 bool) access {
	a := access{
		Version: env.first("ST_AUTH_VERSION", "OS_AUTH_VERSION", "OS_IDENTITY_API_VERSION"), StorageURL: env("OS_STORAGE_URL"),
		Region: env("OS_REGION_NAME"), EndpointType: strings.TrimSuffix(env.first("OS_ENDPOINT_TYPE", "OS_INTERFACE"), "URL"), CACert: env("OS_CACERT"),
	}
	version := strings.Split(a.Version, ".")[0]
	if v1 || version == "1" || version == "" && env("OS_AUTH_URL") == "" && env("ST_USER") != "" {
		a.Version, a.AuthURL, a.User, a.Key = "1", env("ST_AUTH"), env("ST_USER"), env("ST_KEY")
		return a
	}
	a.AuthURL = env("OS_AUTH_URL")
	a.User, a.UserID, a.Key = env("OS_USERNAME"), env("OS_USER_ID"), env("OS_PASSWORD")
	a.Project, a.ProjectID = env.first("OS_PROJECT_NAME", "OS_TENANT_NAME"), env.first("OS_PROJECT_ID", "OS_TENANT_ID")
	a.UserDomain, a.UserDomainID = env.first("OS_USER_DOMAIN_NAME", "OS_DEFAULT_DOMAIN"), env.first("OS_USER_DOMAIN_ID", "OS_DEFAULT_DOMAIN_ID")
	a.ProjectDomain, a.ProjectDomID = env("OS_PROJECT_DOMAIN_NAME"), env("OS_PROJECT_DOMAIN_ID")
	a.AppID, a.AppName, a.AppSecret = env("OS_APPLICATION_CREDENTIAL_ID"), env("OS_APPLICATION_CREDENTIAL_NAME"), env("OS_APPLICATION_CREDENTIAL_SECRET")
	a.Token, a.TrustID = env.first("OS_AUTH_TOKEN", "OS_TOKEN"), env("OS_TRUST_ID")
	return a
}

// fixedToken reports whether there is nothing to log in with, and no need to.
func (a access) fixedToken() bool {
	return a.Token != "" && a.StorageURL != "" && a.Key == "" && a.AppSecret == ""
}

// complete finds the version, and says what is missing.
func (a *access) complete() error {
	a.Version = strings.Split(strings.TrimPrefix(a.Version, "v"), ".")[0]
	if a.fixedToken() {
		return nil
	}
	if a.AuthURL == "" {
		return provider.Invalid("open", "", "no address to log in at: add ?auth=URL, or set OS_AUTH_URL (ST_AUTH for auth version 1)")
	}
	u, err := url.Parse(a.AuthURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return provider.Invalid("open", "", "the address to log in at is not http://host:port/path or https://host:port/path") // it may hold a secret
	}
	if a.Version == "" {
		a.Version = a.guessVersion(u.Path)
	}
	switch {
	case !slices.Contains([]string{"1", "2", "3"}, a.Version):
		return provider.Invalid("open", "", "the auth version %q: want 1, 2 or 3", a.Version)
	case a.Version == "3" && !strings.Contains(u.Path, "/v3"): // as OpenStack's own clients do
		a.AuthURL = strings.TrimSuffix(a.AuthURL, "/") + "/v3"
	}
	return a.checkSecrets()
}

func (a *access) guessVersion(path string) string {
	for _, version := range []string{"3", "2", "1"} {
		if strings.Contains(path, "/v"+version) {
			return version
		}
	}
	return "3"
}

func (a *access) checkSecrets() error {
	var missing string
	switch {
	case a.Version == "3" && (a.AppID != "" || a.AppName != ""):
		if a.AppSecret == "" {
			missing = "OS_APPLICATION_CREDENTIAL_SECRET"
		}
	case a.Version == "3" && a.Token != "":
	case a.User == "" && (a.UserID == "" || a.Version != "3"):
		missing = "user"
	case a.Key == "":
		missing = "password"
	}
	if missing == "" {
		return nil
	}
	return &provider.Error{Op: "open", Kind: provider.KindAuth, Err: fmt.Errorf("there is no %s to log in with: %s", missing, whereSecretsGo)}
}

// account names whose container it is, as far as can be told without asking.
func (a access) account() string {
	if a.Version == "1" {
		account, _, _ := strings.Cut(a.User, ":")
		return account
	}
	return cmp.Or(a.ProjectID, strings.TrimPrefix(cmp.Or(a.ProjectDomain, a.ProjectDomID)+"/"+a.Project, "/"), a.AppID, a.AppName)
}

// connection is the client library's view of it.
func (a access) connection() *swift.Connection {
	version, _ := strconv.Atoi(a.Version) // complete has seen to it
	c := &swift.Connection{
		AuthUrl: a.AuthURL, AuthVersion: version, UserName: a.User, UserId: a.UserID, ApiKey: a.Key,
		Tenant: a.Project, TenantId: a.ProjectID, Domain: a.UserDomain, DomainId: a.UserDomainID,
		TenantDomain: a.ProjectDomain, TenantDomainId: a.ProjectDomID,
		ApplicationCredentialId: a.AppID, ApplicationCredentialName: a.AppName, ApplicationCredentialSecret: a.AppSecret,
		TrustId: a.TrustID, Region: a.Region, EndpointType: swift.EndpointType(a.EndpointType), UserAgent: "sharefs", Retries: 1,
	}
	if a.Version == "3" && a.Key == "" {
		c.Token = a.Token
	}
	return c
}

// noEndpoint is the error of a login that went well and named no object store.
func (a access) noEndpoint() error {
	where := "the catalog"
	if a.Region != "" {
		where = "the region " + a.Region
	}
	return provider.Invalid("open", "", "the login went well, and %s has no object store (of the endpoint type %s) for this project: set region, or project", where, cmp.Or(a.EndpointType, "public"))
}

// way returns how to reach the cluster.
func (a access) way(timeout time.Duration) (overhttp.Options, error) {
	proxy, err := overhttp.ProxyAt(a.proxy)
	if err != nil {
		return overhttp.Options{}, err
	}
	o := overhttp.Options{Timeout: timeout, Proxy: proxy}
	if a.CACert != "" {
		roots, err := overhttp.RootsWith(a.CACert)
		if err != nil {
			return o, provider.Invalid("open", "", "the certificates to trust: %w", err)
		}
		o.Roots = roots
	}
	return o, nil
}

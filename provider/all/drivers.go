package all

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"sharefs/provider"
	"sharefs/provider/file"
	"sharefs/provider/mem"
	"sharefs/provider/s3"
	"sharefs/provider/secret"
	"sharefs/provider/swift"
)

// Scheme describes the URLs of one kind of store.
type Scheme struct {
	Name        string // of the scheme
	Form        string // what a URL looks like
	Help        string // what the store is, and where its credentials come from
	Parameters  []Parameter
	Credentials string // where they come from; empty when there are none
}

// Parameter is one parameter of a URL.
type Parameter struct {
	Name, Example, Help string
}

// Schemes returns the kinds of stores that there are.
func Schemes() []Scheme {
	all := make([]Scheme, 0, len(drivers))
	for _, d := range drivers {
		s := d.Scheme
		s.Parameters = slices.Clone(s.Parameters)
		all = append(all, s)
	}
	return all
}

type driver struct {
	Scheme
	parse func(u *url.URL) (Location, error)
}

// holdsSecret refuses a URL with a user in it, or a parameter whose name is that of a secret, and says where secrets go.
func (d driver) holdsSecret(u *url.URL) error {
	what := ""
	if u.User != nil {
		what = "a user or a password before the @"
	}
	for name := range u.Query() {
		known := slices.ContainsFunc(d.Parameters, func(p Parameter) bool { return p.Name == name })
		if !known && secret.Names(name) {
			what = fmt.Sprintf("the parameter %q", name)
		}
	}
	if what == "" {
		return nil
	}
	where := "the store needs none"
	if d.Credentials != "" {
		where = "they come from " + d.Credentials + "; or from the file that secrets names for a store of the config file"
	}
	return fmt.Errorf("%s: credentials do not belong in a URL, which others can read: %s", what, where)
}

// drivers is a fixed list, in the order in which it is shown.
var drivers = []driver{
	{Scheme{
		Name: "s3",
		Form: "s3://BUCKET/PREFIX",
		Help: "a bucket of Amazon S3, or of a server that speaks its protocol; PREFIX may be missing",
		Parameters: []Parameter{
			{"endpoint", "https://minio.example.org:9000", "the server, when it is not Amazon's"},
			{"region", "eu-central-1", "the region; else AWS_REGION or the profile's, and us-east-1 with an endpoint"},
			{"path_style", "true", "ask for ENDPOINT/BUCKET instead of BUCKET.ENDPOINT, as most servers that are not Amazon's need"},
			{"profile", "backup", "a profile of the AWS configuration files; else AWS_PROFILE"},
			{"proxy", "http://proxy.example.org:3128", "the proxy before the store; else HTTPS_PROXY, HTTP_PROXY and NO_PROXY"},
			{"ca_file", "/etc/ssl/our-ca.pem", "certificates to trust besides the system's, in PEM; else AWS_CA_BUNDLE"},
			{"sse", "aws:kms", "the store encrypts: AES256, aws:kms or aws:kms:dsse; else as the bucket's settings say"},
			{"sse_kms_key_id", "alias/sharefs", "the key of sse=aws:kms, when it is not the bucket's"},
			{"sse_customer_key_file", "/etc/sharefs/key", "encrypt with the key in this file, which only its owner may read (SSE-C); https only"},
			{"storage_class", "STANDARD_IA", "of files; else the bucket's default, in which the claim and checkpoints always are"},
			{"acl", "bucket-owner-full-control", "a canned ACL for each object"},
			{"requester_pays", "true", "agree to pay for requests and transfer"},
			{"checksum", "when_required", "for stores that refuse the newer checksums; else when_supported: a CRC32C is kept with each object"},
		},
		Credentials: "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the AWS configuration files, or the machine's role",
	}, parseS3},
	{Scheme{
		Name: "swift",
		Form: "swift://CONTAINER/PREFIX",
		Help: "a container of OpenStack Swift; PREFIX may be missing",
		Parameters: []Parameter{
			{"auth", "https://keystone.example.org:5000/v3", "where to log in; else OS_AUTH_URL, or ST_AUTH"},
			{"auth_version", "3", "of the login: 1, 2 or 3; else what the address or the variables tell"},
			{"cloud", "mycloud", "a cloud of clouds.yaml; else OS_CLOUD"},
			{"project", "backup", "the project, or tenant; else OS_PROJECT_NAME or what the cloud says"},
			{"region", "RegionOne", "the region; else OS_REGION_NAME, or the first one"},
			{"endpoint_type", "internal", "which of the cluster's addresses: public, internal or admin; else OS_ENDPOINT_TYPE"},
			{"proxy", "http://proxy.example.org:3128", "the proxy before the cluster; else HTTPS_PROXY and its like"},
			{"ca_file", "/etc/ssl/cloud.pem", "certificates to trust besides the system's; else OS_CACERT"},
		},
		Credentials: "OS_USERNAME and OS_PASSWORD and what else an openrc file sets, an application credential, clouds.yaml, or ST_USER and ST_KEY",
	}, parseSwift},
	{Scheme{
		Name: "file",
		Form: "file:///DIRECTORY",
		Help: "a directory of this machine, which exists and is absolute; /DIRECTORY and ./DIRECTORY mean the same",
	}, parseFile},
	{Scheme{
		Name: "mem",
		Form: "mem:",
		Help: "memory: empty at the start, gone at the end; for trying things out",
	}, parseMem},
}

func parseS3(u *url.URL) (Location, error) {
	cfg, err := s3.ParseURL(u)
	if err != nil {
		return Location{}, err
	}
	return Location{
		text:   cfg.String(),
		prefix: cfg.Prefix,
		id:     func(ctx context.Context, _ Options) (string, error) { return cfg.ID(ctx) },
		open: func(ctx context.Context, opts Options) (provider.Provider, error) {
			return s3.Open(ctx, cfg, s3.Options{ReadOnly: opts.ReadOnly, Secrets: opts.Secrets})
		},
	}, nil
}

func parseSwift(u *url.URL) (Location, error) {
	cfg, err := swift.ParseURL(u)
	if err != nil {
		return Location{}, err
	}
	return Location{
		text:   cfg.String(),
		prefix: cfg.Prefix,
		id:     func(_ context.Context, opts Options) (string, error) { return cfg.ID(opts.Secrets) },
		open: func(ctx context.Context, opts Options) (provider.Provider, error) {
			return swift.Open(ctx, cfg, swift.Options{ReadOnly: opts.ReadOnly, Secrets: opts.Secrets})
		},
	}, nil
}

func parseFile(u *url.URL) (Location, error) {
	dir, err := file.ParseURL(u)
	if err != nil {
		return Location{}, err
	}
	text := (&url.URL{Scheme: "file", Path: dir}).String()
	return Location{
		text: text,
		dir:  dir,
		id:   itself(text),
		open: func(_ context.Context, opts Options) (provider.Provider, error) {
			return file.Open(dir, file.Options{Create: opts.Create, Logger: opts.Logger})
		},
	}, nil
}

func parseMem(u *url.URL) (Location, error) {
	if *u != (url.URL{Scheme: "mem", Opaque: u.Opaque}) {
		return Location{}, errors.New("a store in memory is mem: or mem:NAME, without parameters")
	}
	return Location{
		text: u.String(),
		id:   itself(u.String()),
		open: func(context.Context, Options) (provider.Provider, error) {
			return mem.New(mem.Options{Name: u.Opaque}), nil
		},
	}, nil
}

// itself is the ID of a store whose URL has nothing but that.
func itself(text string) func(context.Context, Options) (string, error) {
	return func(context.Context, Options) (string, error) { return text, nil }
}

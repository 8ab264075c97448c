package s3

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"sharefs/provider"
	"sharefs/provider/overhttp"
)

// form is how URLs of buckets look.
var form = overhttp.Form[Config]{
	Scheme: "s3", Store: "bucket", Server: "endpoint=http://host:PORT", Secrets: whereSecretsGo,
	Name:   func(c *Config) *string { return &c.Bucket },
	Prefix: func(c *Config) *string { return &c.Prefix },
	Params: []overhttp.Param[Config]{
		overhttp.Text("acl", func(c *Config) *string { return &c.ACL }),
		overhttp.Text("ca_file", func(c *Config) *string { return &c.CAFile }),
		overhttp.Text("checksum", func(c *Config) *string { return &c.Checksums }),
		overhttp.Server("endpoint", func(c *Config) *string { return &c.Endpoint }),
		overhttp.Truth("path_style", func(c *Config) *bool { return &c.PathStyle }),
		overhttp.Text("profile", func(c *Config) *string { return &c.Profile }),
		overhttp.Server("proxy", func(c *Config) *string { return &c.Proxy }),
		overhttp.Text("region", func(c *Config) *string { return &c.Region }),
		overhttp.Truth("requester_pays", func(c *Config) *bool { return &c.RequesterPays }),
		overhttp.Text("sse", func(c *Config) *string { return &c.Encryption }),
		overhttp.Text("sse_customer_key_file", func(c *Config) *string { return &c.CustomerKeyFile }),
		overhttp.Text("sse_kms_key_id", func(c *Config) *string { return &c.KMSKey }),
		overhttp.Text("storage_class", func(c *Config) *string { return &c.StorageClass }),
	},
}

// The values of checksum, which are those of AWS_REQUEST_CHECKSUM_CALCULATION.
const (
	checksumsSupported = "when_supported"
	checksumsRequired  = "when_required"
)

// wantsChecksums reports whether the checksums that are newer than S3 itself are sent and asked for.
func (c Config) wantsChecksums(found aws.Config) bool {
	if c.Checksums != "" {
		return c.Checksums == checksumsSupported
	}
	return found.RequestChecksumCalculation != aws.RequestChecksumCalculationWhenRequired
}

// checkDemands reports what no store could do, or what a mount could not live with.
func (c Config) checkDemands() error {
	if err := oneOf("sse", types.ServerSideEncryption(c.Encryption),
		types.ServerSideEncryptionAes256, types.ServerSideEncryptionAwsKms, types.ServerSideEncryptionAwsKmsDsse); err != nil {
		return err
	}
	if err := oneOf("acl", types.ObjectCannedACL(c.ACL), types.ObjectCannedACL("").Values()...); err != nil {
		return err
	}
	if err := oneOf("checksum", c.Checksums, checksumsSupported, checksumsRequired); err != nil {
		return err
	}
	for name, file := range map[string]string{"ca_file": c.CAFile, "sse_customer_key_file": c.CustomerKeyFile} {
		if file != "" && !filepath.IsAbs(file) {
			return provider.Invalid("url", "", "%s=%s is relative, to nobody knows what: begin it with /", name, file)
		}
	}
	switch {
	case c.KMSKey != "" && !strings.HasPrefix(c.Encryption, string(types.ServerSideEncryptionAwsKms)):
		return provider.Invalid("url", "", "sse_kms_key_id names a key of sse=aws:kms or sse=aws:kms:dsse: add one of them")
	case c.Encryption != "" && c.CustomerKeyFile != "":
		return provider.Invalid("url", "", "sse and sse_customer_key_file are two ways to encrypt: give one of them")
	}
	switch types.StorageClass(c.StorageClass) {
	case types.StorageClassGlacier, types.StorageClassDeepArchive:
		return provider.Invalid("url", "", "storage_class=%s: what is in that class cannot be read until it is restored", c.StorageClass)
	}
	return nil
}

func oneOf[T ~string](name string, value T, known ...T) error {
	if value == "" || slices.Contains(known, value) {
		return nil
	}
	return provider.Invalid("url", "", "%s=%s: want one of %q", name, value, known)
}

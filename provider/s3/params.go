package s3

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// param is one parameter of a URL.
type param struct {
	name string
	set  func(c *Config, value string) error
	get  func(c Config) string // empty: not given
}

// params are all of them, by name.
var params = []param{
	text("acl", func(c *Config) *string { return &c.ACL }),
	text("ca_file", func(c *Config) *string { return &c.CAFile }),
	text("checksum", func(c *Config) *string { return &c.Checksums }),
	server("endpoint", func(c *Config) *string { return &c.Endpoint }),
	truth("path_style", func(c *Config) *bool { return &c.PathStyle }),
	text("profile", func(c *Config) *string { return &c.Profile }),
	server("proxy", func(c *Config) *string { return &c.Proxy }),
	text("region", func(c *Config) *string { return &c.Region }),
	truth("requester_pays", func(c *Config) *bool { return &c.RequesterPays }),
	text("sse", func(c *Config) *string { return &c.Encryption }),
	text("sse_customer_key_file", func(c *Config) *string { return &c.CustomerKeyFile }),
	text("sse_kms_key_id", func(c *Config) *string { return &c.KMSKey }),
	text("storage_class", func(c *Config) *string { return &c.StorageClass }),
}

func paramNames() []string {
	names := make([]string, len(params))
	for i, p := range params {
		names[i] = p.name
	}
	return names
}

func text(name string, field func(*Config) *string) param {
	return param{name,
		func(c *Config, value string) error { *field(c) = value; return nil },
		func(c Config) string { return *field(&c) },
	}
}

func server(name string, field func(*Config) *string) param {
	p := text(name, field)
	p.set = func(c *Config, value string) error { *field(c) = strings.TrimSuffix(value, "/"); return nil }
	return p
}

func truth(name string, field func(*Config) *bool) param {
	set := func(c *Config, value string) error {
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%s=%s: want true or false", name, value)
		}
		*field(c) = b
		return nil
	}
	return param{name, set, func(c Config) string {
		if *field(&c) {
			return "true"
		}
		return ""
	}}
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
			return invalid("url", "", "%s=%s is relative, to nobody knows what: begin it with /", name, file)
		}
	}
	switch {
	case c.KMSKey != "" && !strings.HasPrefix(c.Encryption, string(types.ServerSideEncryptionAwsKms)):
		return invalid("url", "", "sse_kms_key_id names a key of sse=aws:kms or sse=aws:kms:dsse: add one of them")
	case c.Encryption != "" && c.CustomerKeyFile != "":
		return invalid("url", "", "sse and sse_customer_key_file are two ways to encrypt: give one of them")
	}
	switch types.StorageClass(c.StorageClass) {
	case types.StorageClassGlacier, types.StorageClassDeepArchive:
		return invalid("url", "", "storage_class=%s: what is in that class cannot be read until it is restored", c.StorageClass)
	}
	return nil
}

func oneOf[T ~string](name string, value T, known ...T) error {
	if value == "" || slices.Contains(known, value) {
		return nil
	}
	return invalid("url", "", "%s=%s: want one of %q", name, value, known)
}

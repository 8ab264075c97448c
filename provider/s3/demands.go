package s3

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"

	"sharefs/provider"
	"sharefs/provider/secret"
)

// demands are what the URL asks of the store in addition to what a call asks: how to encrypt, in which class to keep, who may
// read, who pays. They are part of every request to which they apply, the probe's too, so that what cannot be had is said at
// the mount.
type demands struct {
	encryption types.ServerSideEncryption
	kmsKey     *string
	customer   customerKey
	class      types.StorageClass
	acl        types.ObjectCannedACL
	payer      types.RequestPayer
	ours       string // the keys that sharefs keeps for itself begin with it
}

// customerKey is the key of SSE-C as requests carry it. All nil: there is none.
type customerKey struct{ algorithm, key, md5 *string }

func (c Config) demands() (demands, error) {
	d := demands{
		encryption: types.ServerSideEncryption(c.Encryption), kmsKey: optional(c.KMSKey),
		class: types.StorageClass(c.StorageClass), acl: types.ObjectCannedACL(c.ACL), ours: c.Prefix + provider.Reserved,
	}
	if c.RequesterPays {
		d.payer = types.RequestPayerRequester
	}
	if c.CustomerKeyFile == "" {
		return d, nil
	}
	key, err := readCustomerKey(c.CustomerKeyFile)
	if err != nil {
		return d, provider.Invalid("open", "", "sse_customer_key_file: %w", err)
	}
	sum := md5.Sum(key)
	d.customer = customerKey{
		algorithm: aws.String(string(types.ServerSideEncryptionAes256)),
		key:       aws.String(base64.StdEncoding.EncodeToString(key)),
		md5:       aws.String(base64.StdEncoding.EncodeToString(sum[:])),
	}
	return d, nil
}

// customerKeySize is that of AES-256, the one algorithm of SSE-C.
const customerKeySize = 32

// readCustomerKey reads a key that its owner alone can read: as it is, or in base64. No error shows any of it.
func readCustomerKey(name string) ([]byte, error) {
	held, err := secret.Bytes(name)
	if err != nil || len(held) == customerKeySize {
		return held, err
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(held)))
	if err != nil || len(key) != customerKeySize {
		return nil, fmt.Errorf("%s does not hold a key: it is %d bytes, as they are or in base64 (openssl rand -base64 %d)", name, customerKeySize, customerKeySize)
	}
	return key, nil
}

// attach has the SDK apply the demands to what each request is made of.
func (d demands) attach(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("sharefs:Demands",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			d.apply(in.Parameters)
			return next.HandleInitialize(ctx, in)
		}), middleware.Before)
}

func (d demands) apply(request any) {
	c := d.customer
	switch in := request.(type) {
	case *awss3.PutObjectInput:
		in.ServerSideEncryption, in.SSEKMSKeyId, in.ACL, in.RequestPayer = d.encryption, d.kmsKey, d.acl, d.payer
		in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5 = c.algorithm, c.key, c.md5
		in.StorageClass = d.classOf(*in.Key)
	case *awss3.CreateMultipartUploadInput:
		in.ServerSideEncryption, in.SSEKMSKeyId, in.ACL, in.RequestPayer = d.encryption, d.kmsKey, d.acl, d.payer
		in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5 = c.algorithm, c.key, c.md5
		in.StorageClass = d.classOf(*in.Key)
	case *awss3.CopyObjectInput: // takes none of it over from the source
		in.ServerSideEncryption, in.SSEKMSKeyId, in.ACL, in.RequestPayer = d.encryption, d.kmsKey, d.acl, d.payer
		in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5 = c.algorithm, c.key, c.md5
		in.CopySourceSSECustomerAlgorithm, in.CopySourceSSECustomerKey, in.CopySourceSSECustomerKeyMD5 = c.algorithm, c.key, c.md5
		in.StorageClass = d.classOf(*in.Key)
	case *awss3.UploadPartInput:
		in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5, in.RequestPayer = c.algorithm, c.key, c.md5, d.payer
	case *awss3.UploadPartCopyInput:
		in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5, in.RequestPayer = c.algorithm, c.key, c.md5, d.payer
		in.CopySourceSSECustomerAlgorithm, in.CopySourceSSECustomerKey, in.CopySourceSSECustomerKeyMD5 = c.algorithm, c.key, c.md5
	case *awss3.CompleteMultipartUploadInput:
		in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5, in.RequestPayer = c.algorithm, c.key, c.md5, d.payer
	case *awss3.HeadObjectInput:
		in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5, in.RequestPayer = c.algorithm, c.key, c.md5, d.payer
	case *awss3.GetObjectInput:
		in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5, in.RequestPayer = c.algorithm, c.key, c.md5, d.payer
	case *awss3.AbortMultipartUploadInput:
		in.RequestPayer = d.payer
	case *awss3.ListObjectsV2Input:
		in.RequestPayer = d.payer
	case *awss3.ListMultipartUploadsInput:
		in.RequestPayer = d.payer
	case *awss3.DeleteObjectInput:
		in.RequestPayer = d.payer
	case *awss3.DeleteObjectsInput:
		in.RequestPayer = d.payer
	}
}

// classOf leaves what sharefs keeps for itself in the default class: it is replaced within minutes, for which other
// classes bill a month.
func (d demands) classOf(key string) types.StorageClass {
	if strings.HasPrefix(key, d.ours) {
		return ""
	}
	return d.class
}

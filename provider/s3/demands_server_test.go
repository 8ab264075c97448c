package s3

import (
	"bytes"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"sharefs/provider"
	"sharefs/test/servers"
)

// makers are all ways to make an object, by key.
func makers(t *testing.T, p provider.Provider) map[string]func() error {
	ctx, data := t.Context(), []byte("what is stored")
	put := func(key string) error {
		_, err := p.Put(ctx, key, bytes.NewReader(data), int64(len(data)), provider.PutOptions{})
		return err
	}
	parts := func(key string, part func(u provider.Upload) (provider.Part, error)) error {
		up, err := p.NewUpload(ctx, key, provider.UploadOptions{})
		if err != nil {
			return err
		}
		made, err := part(up)
		if err != nil {
			return err
		}
		_, err = up.Complete(ctx, []provider.Part{made}, provider.CompleteOptions{})
		return err
	}
	return map[string]func() error{
		"put": func() error { return put("put") },
		"copy": func() error {
			_, err := p.Copy(ctx, "source", "copy", provider.CopyOptions{})
			return err
		},
		"changed": func() error {
			if err := put("changed"); err != nil {
				return err
			}
			_, err := p.Copy(ctx, "changed", "changed", provider.CopyOptions{Metadata: provider.Metadata{"a": "b"}})
			return err
		},
		"parts": func() error {
			return parts("parts", func(u provider.Upload) (provider.Part, error) {
				return u.PutPart(ctx, 1, bytes.NewReader(data), int64(len(data)))
			})
		},
		"copied parts": func() error {
			return parts("copied parts", func(u provider.Upload) (provider.Part, error) {
				return u.CopyPart(ctx, 1, "source", provider.CopyPartOptions{Length: int64(len(data))})
			})
		},
	}
}

// TestMinIODoesWhatTheURLDemands looks at every kind of object with another client.
func TestMinIODoesWhatTheURLDemands(t *testing.T) {
	srv := servers.MinIO(t)
	srv.SetEnv(t)
	bucket := srv.Bucket(t)
	for _, c := range []struct {
		query string
		want  func(o *awss3.HeadObjectOutput) bool
	}{
		{"&sse=AES256", func(o *awss3.HeadObjectOutput) bool { return o.ServerSideEncryption == "AES256" }},
		{"&sse=aws:kms", func(o *awss3.HeadObjectOutput) bool { return o.ServerSideEncryption == "aws:kms" }},
		{"&sse=aws:kms&sse_kms_key_id=" + servers.MinIOKey, func(o *awss3.HeadObjectOutput) bool {
			return o.ServerSideEncryption == "aws:kms" && strings.HasSuffix(aws.ToString(o.SSEKMSKeyId), servers.MinIOKey)
		}},
		{"&storage_class=REDUCED_REDUNDANCY", func(o *awss3.HeadObjectOutput) bool { return o.StorageClass == "REDUCED_REDUNDANCY" }},
		{"&checksum=when_required", func(o *awss3.HeadObjectOutput) bool { return o.ChecksumCRC32C == nil }},
		{"&acl=private&requester_pays=true", func(*awss3.HeadObjectOutput) bool { return true }}, // MinIO takes them and does nothing
	} {
		t.Run(c.query[1:], func(t *testing.T) {
			p := open(t, configOf(t, srv.URL(bucket, "")+c.query), Options{})
			defer p.Close()
			put(t, p, "source", []byte("what is stored"))
			for key, make := range makers(t, p) {
				if err := make(); err != nil {
					t.Errorf("%s: %v", key, err)
					continue
				}
				head, err := srv.Client().HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &bucket, Key: &key, ChecksumMode: "ENABLED"})
				if err != nil || !c.want(head) {
					t.Errorf("%s: encrypted by %q (%v), class %q, CRC32C %v, %v", key, head.ServerSideEncryption, aws.ToString(head.SSEKMSKeyId),
						head.StorageClass, head.ChecksumCRC32C, err)
				}
				if got, err := read(p, key, provider.OpenOptions{}); string(got) != "what is stored" || err != nil {
					t.Errorf("%s: %q, %v", key, got, err)
				}
			}
		})
	}
}

func TestWhatAStoreCannotDoIsSaidAtTheMount(t *testing.T) {
	srv := servers.MinIO(t)
	srv.SetEnv(t)
	bucket := srv.Bucket(t)
	for query, says := range map[string]string{
		"&sse=aws:kms:dsse":                       "encryption method is not supported",
		"&sse=aws:kms&sse_kms_key_id=no-such-key": "key with given key ID does not exist",
	} {
		_, err := Open(t.Context(), configOf(t, srv.URL(bucket, "")+query), Options{})
		if !provider.Is(err, provider.KindInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want it to say %s", query, err, says)
		}
	}
	cfg := configOf(t, srv.URL(bucket, ""))
	cfg.Region = "eu-west-1"
	if _, err := Open(t.Context(), cfg, Options{}); !provider.Is(err, provider.KindOther) || !strings.Contains(err.Error(), "us-east-1") {
		t.Errorf("a wrong region: %v, want it to name us-east-1", err)
	}
}

// TestACustomersKeyIsNeededToRead stores with one key, and reads with it, without it, and with another one.
func TestACustomersKeyIsNeededToRead(t *testing.T) {
	srv := servers.MinIOTLS(t)
	srv.SetEnv(t)
	bucket := srv.Bucket(t)
	cfg := configOf(t, srv.URL(bucket, ""))
	plain := open(t, cfg, Options{ReadOnly: true})
	defer plain.Close()
	cfg.CustomerKeyFile = customerKeyFile(t)
	p := open(t, cfg, Options{})
	defer p.Close()
	put(t, p, "source", []byte("what is stored"))
	for key, make := range makers(t, p) {
		if err := make(); err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		if got, err := read(p, key, provider.OpenOptions{}); string(got) != "what is stored" || err != nil {
			t.Errorf("%s: %q, %v", key, got, err)
		}
		if got, err := read(plain, key, provider.OpenOptions{}); err == nil {
			t.Errorf("%s is read without the key: %q", key, got)
		}
	}
}

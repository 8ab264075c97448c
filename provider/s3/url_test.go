package s3

import (
	"net/url"
	"strings"
	"testing"

	"sharefs/provider"
)

func TestParseURL(t *testing.T) {
	for _, c := range []struct {
		name, url string
		want      Config
	}{
		{"a bucket", "s3://bucket", Config{Bucket: "bucket"}},
		{"a prefix", "s3://bucket/some/prefix", Config{Bucket: "bucket", Prefix: "some/prefix/"}},
		{"dots in the bucket", "s3://my.bucket-1", Config{Bucket: "my.bucket-1"}},
		{"every parameter", "s3://bucket/p?region=eu-west-1&endpoint=https://s3.example.org:9000&path_style=true&profile=me",
			Config{Bucket: "bucket", Prefix: "p/", Region: "eu-west-1", Endpoint: "https://s3.example.org:9000", PathStyle: true, Profile: "me"}},
		{"an endpoint with a slash at the end", "s3://bucket?endpoint=http://127.0.0.1:9000/", Config{Bucket: "bucket", Endpoint: "http://127.0.0.1:9000"}},
		{"what the store is to do", "s3://bucket?sse=aws:kms&sse_kms_key_id=alias/mine&storage_class=STANDARD_IA&acl=bucket-owner-full-control&requester_pays=true&checksum=when_required",
			Config{Bucket: "bucket", Encryption: "aws:kms", KMSKey: "alias/mine", StorageClass: "STANDARD_IA", ACL: "bucket-owner-full-control",
				RequesterPays: true, Checksums: "when_required"}},
		{"how it is reached", "s3://bucket?proxy=http://proxy:3128/&ca_file=/etc/ca.pem&sse_customer_key_file=/etc/key",
			Config{Bucket: "bucket", Proxy: "http://proxy:3128", CAFile: "/etc/ca.pem", CustomerKeyFile: "/etc/key"}},
		{"virtual hosts", "s3://bucket?path_style=false", Config{Bucket: "bucket"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := url.Parse(c.url)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseURL(u)
			if err != nil || got != c.want {
				t.Fatalf("got %+v, %v\nwant %+v", got, err, c.want)
			}
			again, err := url.Parse(got.String())
			if err != nil {
				t.Fatal(err)
			}
			if back, err := ParseURL(again); err != nil || back != c.want {
				t.Errorf("%s reads back as %+v, %v", got, back, err)
			}
		})
	}
}

func TestParseURLRefuses(t *testing.T) {
	for _, c := range []struct {
		name, url string
		want      []string // that the error says
	}{
		{"another scheme", "swift://bucket", []string{"swift", "s3://bucket/prefix"}},
		{"no bucket", "s3:///prefix", []string{"no bucket"}},
		{"a short bucket", "s3://ab", []string{`"ab"`, "3 to 63"}},
		{"a bucket of odd letters", "s3://buck$et", []string{"buck$et"}},
		{"a port", "s3://bucket:9000/p", []string{"endpoint=http://host:9000"}},
		{"an unknown parameter", "s3://bucket?regoin=x", []string{`"regoin"`, "known are acl, ca_file, checksum, endpoint, path_style, profile, proxy, region, " +
			"requester_pays, sse, sse_customer_key_file, sse_kms_key_id, storage_class"}},
		{"an unknown encryption", "s3://bucket?sse=rot13", []string{"sse=rot13", "AES256", "aws:kms:dsse"}},
		{"a key without its encryption", "s3://bucket?sse=AES256&sse_kms_key_id=mine", []string{"sse_kms_key_id", "sse=aws:kms"}},
		{"two encryptions", "s3://bucket?sse=AES256&sse_customer_key_file=/key", []string{"sse", "sse_customer_key_file", "one of them"}},
		{"an unknown acl", "s3://bucket?acl=everybody", []string{"acl=everybody", "bucket-owner-full-control"}},
		{"an unknown checksum", "s3://bucket?checksum=never", []string{"checksum=never", "when_required"}},
		{"a class that cannot be read", "s3://bucket?storage_class=GLACIER", []string{"GLACIER", "restored"}},
		{"a proxy with another scheme", "s3://bucket?proxy=socks://x", []string{"proxy", "socks://x"}},
		{"a secret in the proxy", "s3://bucket?proxy=http://a:hunter2@host", []string{"proxy", "credentials"}},
		{"an endpoint without scheme", "s3://bucket?endpoint=127.0.0.1:9000", []string{"endpoint", "http://host:port"}},
		{"an endpoint with another scheme", "s3://bucket?endpoint=ftp://x", []string{"ftp://x", "http://host:port"}},
		{"a prefix with ..", "s3://bucket/a/../b", []string{".."}},
		{"a prefix that is too long", "s3://bucket/" + strings.Repeat("p", 1025), []string{"1024"}},

		{"user and password", "s3://user:hunter2@bucket", []string{"AWS_ACCESS_KEY_ID", "profile"}},
		{"a secret", "s3://bucket?secret_access_key=hunter2", []string{`"secret_access_key"`, "AWS_ACCESS_KEY_ID"}},
		{"a secret in the endpoint", "s3://bucket?endpoint=http://a:hunter2@host", []string{"endpoint", "AWS_ACCESS_KEY_ID"}},
		{"a secret in a broken endpoint", "s3://bucket?endpoint=http://a:hunter2@ho%20st:x", []string{"endpoint"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := url.Parse(c.url)
			if err != nil {
				t.Fatal(err)
			}
			_, err = ParseURL(u)
			if !provider.Is(err, provider.KindInvalid) {
				t.Fatalf("got %v, want an error of KindInvalid", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func TestKeysInCopySourcesAreEscaped(t *testing.T) {
	for _, c := range []struct{ key, want string }{
		{"plain/a-b_c.d~e", "plain/a-b_c.d~e"},
		{"a b", "a%20b"},
		{"a+b", "a%2Bb"},
		{"100%", "100%25"},
		{"%2F", "%252F"},
		{"q?x=1&y#z;", "q%3Fx%3D1%26y%23z%3B"},
		{"é", "%C3%A9"},
		{"\x01\x7f\n", "%01%7F%0A"},
		{`'"<>`, "%27%22%3C%3E"},
	} {
		if got := escapeKey(c.key); got != c.want {
			t.Errorf("%q is escaped as %q, want %q", c.key, got, c.want)
		}
	}
}

func TestKeysThatXMLCannotHold(t *testing.T) {
	for _, c := range []struct {
		key  string
		want bool
	}{
		{"plain", true}, {"tab\t, newline\n, return\r", true}, {"delete\x7f", true}, {"\ufffd", true}, {"😀", true},
		{"\x01", false}, {"\x1b[31m", false}, {"\ufffe", false}, {"\uffff", false}, {"\xff", false},
	} {
		if got := xmlCanHold(c.key); got != c.want {
			t.Errorf("%q: %v, want %v", c.key, got, c.want)
		}
	}
}

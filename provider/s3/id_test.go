package s3

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// withoutAWS takes the AWS settings of the user away.
func withoutAWS(t *testing.T) {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // so that it comes back
			os.Unsetenv(name)
		}
	}
	t.Setenv("HOME", t.TempDir())
}

func TestIDNamesTheBucketAndNotHowItIsAskedFor(t *testing.T) {
	const (
		amazon = "s3://bucket?endpoint=https%3A%2F%2Fs3.amazonaws.com"
		minio  = "s3://bucket?endpoint=http%3A%2F%2Fminio%3A9000"
	)
	profile := filepath.Join(t.TempDir(), "config")
	text := "[profile own]\nendpoint_url = http://minio:9000\nregion = eu-west-1\n[profile other]\nregion = eu-west-1\n"
	if err := os.WriteFile(profile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, url string
		env       map[string]string
		want      string
	}{
		{"Amazon's", "s3://bucket", nil, amazon},
		{"a region", "s3://bucket?region=eu-central-1", nil, amazon},
		{"a region of the environment", "s3://bucket", map[string]string{"AWS_REGION": "ap-south-1"}, amazon},
		{"path style", "s3://bucket?path_style=true", nil, amazon},
		{"a profile", "s3://bucket?profile=other", nil, amazon},
		{"Amazon's endpoint in a region", "s3://bucket?endpoint=https://s3.eu-west-1.amazonaws.com", nil, amazon},
		{"Amazon's dual stack", "s3://bucket?endpoint=https://s3.dualstack.eu-west-1.amazonaws.com/", nil, amazon},
		{"a server at Amazon's", "s3://bucket?endpoint=https://s3.eu-west-1.elb.amazonaws.com", nil,
			"s3://bucket?endpoint=https%3A%2F%2Fs3.eu-west-1.elb.amazonaws.com"},
		{"China", "s3://bucket?region=cn-north-1", nil, "s3://bucket?endpoint=https%3A%2F%2Fs3.amazonaws.com.cn"},
		{"the US government", "s3://bucket?region=us-gov-west-1", nil,
			"s3://bucket?endpoint=https%3A%2F%2Fs3.us-gov-west-1.amazonaws.com"},
		{"a prefix", "s3://bucket/a/b%20c/", nil, "s3://bucket/a/b%20c?endpoint=https%3A%2F%2Fs3.amazonaws.com"},
		{"a server", "s3://bucket?endpoint=http://minio:9000&region=eu-west-1&path_style=true", nil, minio},
		{"a server written otherwise", "s3://bucket?endpoint=HTTP://MinIO:9000/", nil, minio},
		{"a server of the environment", "s3://bucket", map[string]string{"AWS_ENDPOINT_URL": "http://minio:9000"}, minio},
		{"an S3 server of the environment", "s3://bucket",
			map[string]string{"AWS_ENDPOINT_URL": "http://others", "AWS_ENDPOINT_URL_S3": "http://u:HUSH@minio:9000"}, minio},
		{"a server of a profile", "s3://bucket?profile=own", nil, minio},
		{"the URL's server before others", "s3://bucket?endpoint=http://minio:9000", map[string]string{"AWS_ENDPOINT_URL": "http://others"}, minio},
		{"a port that is the usual one", "s3://bucket?endpoint=https://store.example:443", nil, "s3://bucket?endpoint=https%3A%2F%2Fstore.example"},
		{"a path", "s3://bucket?endpoint=https://store.example/S3/", nil, "s3://bucket?endpoint=https%3A%2F%2Fstore.example%2FS3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			withoutAWS(t)
			t.Setenv("AWS_CONFIG_FILE", profile)
			for name, value := range tc.env {
				t.Setenv(name, value)
			}
			u, err := url.Parse(tc.url)
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := ParseURL(u)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := cfg.ID(t.Context()); err != nil || got != tc.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, tc.want)
			}
		})
	}
}

func TestIDOfAConfigurationThatCannotBeReadIsAnError(t *testing.T) {
	withoutAWS(t)
	if id, err := (Config{Bucket: "bucket", Profile: "missing"}).ID(t.Context()); err == nil {
		t.Errorf("the profile is not there, and the id is %s", id)
	}
	t.Setenv("AWS_ENDPOINT_URL", "http://key:HUSH/HUSH@host")
	if id, err := (Config{Bucket: "bucket"}).ID(t.Context()); err == nil || strings.Contains(err.Error(), "HUSH") {
		t.Errorf("id %s, %v: want an error that shows nothing secret", id, err)
	}
}

package servers

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Keys are credentials of S3.
type Keys struct{ Access, Secret, Token string }

// File is a file of credentials as AWS tools keep it, in ~/.aws/credentials.
func (k Keys) File() string {
	text := "[default]\naws_access_key_id = " + k.Access + "\naws_secret_access_key = " + k.Secret + "\n"
	if k.Token != "" {
		text += "aws_session_token = " + k.Token + "\n"
	}
	return text
}

// Keys returns the server's own, which do not end.
func (s *Server) Keys() Keys { return Keys{Access: s.AccessKey, Secret: s.SecretKey} }

// TemporaryKeys has MinIO give out keys of a role, good for an hour.
func (s *Server) TemporaryKeys(ctx context.Context) (Keys, error) {
	client := sts.New(sts.Options{
		BaseEndpoint: &s.Endpoint, Region: s.Region, HTTPClient: &client{&http.Client{Transport: s.transport}},
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
	})
	out, err := client.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::1:role/any"), RoleSessionName: aws.String("tests")})
	if err != nil {
		return Keys{}, fmt.Errorf("temporary keys of %s: %w", s.Name, err)
	}
	c := out.Credentials
	return Keys{Access: *c.AccessKeyId, Secret: *c.SecretAccessKey, Token: *c.SessionToken}, nil
}

// ChangeKeys restarts the server with other credentials: it does not know the ones of before any more.
func (s *Server) ChangeKeys(ctx context.Context) error {
	if err := s.Kill(); err != nil {
		return err
	}
	s.AccessKey, s.SecretKey = "test"+rand.Text()[:12], rand.Text()+rand.Text()
	s.client = s.ClientAt(s.Endpoint)
	return s.Restart(ctx)
}

// SetQuota limits the bytes in a bucket of MinIO, by its own protocol; 0 lifts the limit.
func (s *Server) SetQuota(ctx context.Context, bucket string, limit int64) error {
	body, err := json.Marshal(map[string]any{"quota": limit, "size": limit, "quotatype": "hard"})
	if err != nil {
		return err
	}
	at := s.Endpoint + "/minio/admin/v3/set-bucket-quota?" + url.Values{"bucket": {bucket}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, at, bytes.NewReader(body))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	req.Header.Set("X-Amz-Content-Sha256", hash)
	keys := aws.Credentials{AccessKeyID: s.AccessKey, SecretAccessKey: s.SecretKey}
	if err := v4.NewSigner().SignHTTP(ctx, keys, req, hash, "s3", s.Region, time.Now()); err != nil {
		return err
	}
	res, err := s.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		return fmt.Errorf("setting the quota of %s: %s: %s", bucket, res.Status, text)
	}
	return nil
}

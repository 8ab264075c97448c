package servers

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
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
	var out *sts.AssumeRoleOutput
	err := s.retry(ctx, func(ctx context.Context) (err error) {
		out, err = client.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::1:role/any"), RoleSessionName: aws.String("tests")})
		return err
	})
	if err != nil {
		return Keys{}, fmt.Errorf("temporary keys of %s: %w", s.Name, err)
	}
	c := out.Credentials
	return Keys{Access: *c.AccessKeyId, Secret: *c.SecretAccessKey, Token: *c.SessionToken}, nil
}

// ChangeKeys restarts the server with other credentials, and returns when it refuses those of before.
func (s *Server) ChangeKeys(ctx context.Context) error {
	old := s.client
	if err := s.Kill(); err != nil {
		return err
	}
	s.AccessKey, s.SecretKey = "test"+rand.Text()[:12], rand.Text()+rand.Text()
	s.client = s.ClientAt(s.Endpoint)
	if err := s.Restart(ctx); err != nil {
		return err
	}
	return s.retry(ctx, func(ctx context.Context) error {
		_, err := old.ListBuckets(ctx, &s3.ListBucketsInput{})
		var refused smithy.APIError
		if errors.As(err, &refused) && refused.ErrorCode() == "InvalidAccessKeyId" {
			return nil
		}
		return fmt.Errorf("the old keys are not refused: %v", err)
	})
}

// retry does something until it succeeds: a MinIO that has just started knows its own keys before it knows that it has no
// others, and refuses until then what is not of S3 itself.
func (s *Server) retry(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s.mu.Lock()
	p := s.process
	s.mu.Unlock()
	return await(ctx, p, func() error { return try(ctx) })
}

// SetQuota limits the bytes in a bucket of MinIO, by its own protocol; 0 lifts the limit.
func (s *Server) SetQuota(ctx context.Context, bucket string, limit int64) error {
	return s.retry(ctx, func(ctx context.Context) error { return s.setQuota(ctx, bucket, limit) })
}

func (s *Server) setQuota(ctx context.Context, bucket string, limit int64) error {
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

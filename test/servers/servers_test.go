package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// each runs the test on each server.
func each(t *testing.T, test func(t *testing.T, s *Server)) {
	for name, start := range map[string]func(testing.TB) *Server{"minio": MinIO, "versitygw": VersityGW} {
		t.Run(name, func(t *testing.T) { test(t, start(t)) })
	}
}

func put(ctx context.Context, c *s3.Client, bucket, key, body string) error {
	_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(body)})
	return err
}

func get(ctx context.Context, c *s3.Client, bucket, key string) (string, error) {
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return "", err
	}
	defer out.Body.Close()
	b, err := io.ReadAll(out.Body)
	return string(b), err
}

func TestServerKeepsItsDataOverACrash(t *testing.T) {
	each(t, func(t *testing.T, s *Server) {
		ctx := t.Context()
		bucket := s.Bucket(t)
		if err := put(ctx, s.Client(), bucket, "dir/key", "before"); err != nil {
			t.Fatal(err)
		}
		endpoint, pid := s.Endpoint, s.Pid()
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Fatalf("the server's process %d after Kill: %v, want no such process", pid, err)
		}
		if _, err := net.DialTimeout("tcp", s.addr, time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("connecting to a killed server: %v, want connection refused", err)
		}
		if err := s.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		if s.Endpoint != endpoint {
			t.Errorf("after the restart the endpoint is %s, before it was %s", s.Endpoint, endpoint)
		}
		if got, err := get(ctx, s.Client(), bucket, "dir/key"); err != nil || got != "before" {
			t.Errorf("after the restart: %q, %v", got, err)
		}
	})
}

func TestPausedServerAnswersAfterResume(t *testing.T) {
	each(t, func(t *testing.T, s *Server) {
		bucket := s.Bucket(t)
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := put(ctx, s.Client(), bucket, "k", "v"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a paused server: %v, want no answer", err)
		}
		if err := s.Resume(); err != nil {
			t.Fatal(err)
		}
		if err := put(t.Context(), s.Client(), bucket, "k", "v"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCloseLeavesNothing(t *testing.T) {
	s, err := StartVersityGW(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pid := s.Pid()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d after Close: %v, want no such process", pid, err)
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory %s after Close: %v, want none", s.dir, err)
	}
}

func TestProxyPassesSignedRequestsUnchanged(t *testing.T) {
	keys := []string{"plain", "with space", "100%", "a+b", "semi;colon&amp=x?y#z", "käse/\u65e5\u672c", "quote'\"(1)!*~", "%2F%20"}
	each(t, func(t *testing.T, s *Server) {
		p := Proxy(t, s.Endpoint)
		c, bucket := s.ClientAt(p.Endpoint), s.Bucket(t)
		for _, key := range keys {
			if err := put(t.Context(), c, bucket, key, "of "+key); err != nil {
				t.Fatalf("%q: %v", key, err)
			}
			if got, err := get(t.Context(), s.Client(), bucket, key); err != nil || got != "of "+key {
				t.Errorf("%q, read without the proxy: %q, %v", key, got, err)
			}
		}
		out, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{
			Bucket: &bucket, Prefix: aws.String("semi;colon&amp"), StartAfter: aws.String("a;b+c %"),
		})
		if err != nil || len(out.Contents) != 1 {
			t.Errorf("listing with signed punctuation: %v, %v", out, err)
		}
	})
}

func TestProxyCountsByKind(t *testing.T) {
	each(t, func(t *testing.T, s *Server) {
		ctx, p := t.Context(), Proxy(t, s.Endpoint)
		c, bucket := s.ClientAt(p.Endpoint), aws.String(s.Bucket(t))
		key, other := aws.String("d/k"), aws.String("d/other")
		steps := []struct {
			kind Request
			do   func() error
		}{
			{Put, func() error { return put(ctx, c, *bucket, *key, "12345") }},
			{Get, func() error { _, err := get(ctx, c, *bucket, *key); return err }},
			{Head, func() error { _, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: key}); return err }},
			{Copy, func() error {
				_, err := c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: other, CopySource: aws.String(*bucket + "/d/k")})
				return err
			}},
			{List, func() error {
				_, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket})
				return err
			}},
			{Delete, func() error {
				_, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: other})
				return err
			}},
			{DeleteBatch, func() error {
				_, err := c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: key}}}})
				return err
			}},
			{ListUploads, func() error {
				_, err := c.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: bucket})
				return err
			}},
			{HeadBucket, func() error { _, err := c.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: bucket}); return err }},
			{CreateBucket, func() error {
				_, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(*bucket + "-2")})
				return err
			}},
		}
		for _, step := range steps {
			p.Reset()
			if err := step.do(); err != nil {
				t.Fatalf("%s: %v", step.kind, err)
			}
			counts := p.Counts()
			if len(counts) != 1 || counts[step.kind].Requests != 1 {
				t.Errorf("%s was counted as %v", step.kind, counts)
			}
			if step.kind == Put && counts[Put].Sent < 5 || step.kind == Get && counts[Get].Received != 5 {
				t.Errorf("%s of 5 bytes was counted as %v", step.kind, counts)
			}
		}
	})
}

func TestProxyCountsTheClaimApart(t *testing.T) {
	s := VersityGW(t)
	ctx, p := t.Context(), Proxy(t, s.Endpoint)
	c, bucket := s.ClientAt(p.Endpoint), aws.String(s.Bucket(t))
	for _, key := range []string{".sharefs/claim-1", ".sharefs/catalog-1", ".sharefs/open/1", "claim-1"} {
		if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: strings.NewReader("12345")}); err != nil {
			t.Fatal(err)
		}
	}
	for _, prefix := range []string{".sharefs/claim-", ".sharefs/", ""} {
		if _, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: &prefix}); err != nil {
			t.Fatal(err)
		}
	}
	if counts := p.Counts(); counts[Put].Requests != 2 || counts[List].Requests != 2 {
		t.Errorf("counted %v, want 2 of each", counts)
	}
	if counts := p.Own(); counts[Put].Requests != 2 || counts[Put].Sent < 10 || counts[List].Requests != 1 {
		t.Errorf("apart: %v, want 2 and 1", counts)
	}
	p.Reset()
	if counts := p.Own(); len(counts) > 0 {
		t.Errorf("after a reset: %v", counts)
	}
}

func TestProxyCountsMultipartUpload(t *testing.T) {
	s := VersityGW(t)
	ctx, p := t.Context(), Proxy(t, s.Endpoint)
	c, bucket, key := s.ClientAt(p.Endpoint), aws.String(s.Bucket(t)), aws.String("k")
	made, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	part, err := c.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: bucket, Key: key, UploadId: made.UploadId, PartNumber: aws.Int32(1), Body: bytes.NewReader(make([]byte, 1000)),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: bucket, Key: key, UploadId: made.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{ETag: part.ETag, PartNumber: aws.Int32(1), ChecksumCRC32: part.ChecksumCRC32}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	counts := p.Counts()
	for _, kind := range []Request{CreateUpload, PutPart, CompleteUpload} {
		if counts[kind].Requests != 1 {
			t.Errorf("%s: %d requests, want 1", kind, counts[kind].Requests)
		}
	}
	if total := counts.Total(); total.Requests != 3 || total.Sent < 1000 {
		t.Errorf("in total %+v, want 3 requests and at least 1000 bytes sent", total)
	}
}

// hello is a server that the fault tests need nothing more of.
func hello(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		fmt.Fprint(w, "0123456789")
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return "http://" + l.Addr().String()
}

func TestProxyMisbehavesOnDemand(t *testing.T) {
	p := Proxy(t, hello(t))
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	ask := func(ctx context.Context) (status int, body string, err error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Endpoint+"/bucket/key", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := transport.RoundTrip(req)
		if err != nil {
			return 0, "", err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return res.StatusCode, string(b), err
	}
	t.Run("refuses every second request", func(t *testing.T) {
		p.Refuse(2, "3")
		defer p.Refuse(0, "")
		bad := 0
		for range 6 {
			status, _, err := ask(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if status == http.StatusServiceUnavailable {
				bad++
			}
		}
		if bad != 3 {
			t.Errorf("%d of 6 requests were refused, want 3", bad)
		}
	})
	t.Run("cuts a body off", func(t *testing.T) {
		p.CutBodies(4)
		defer p.CutBodies(-1)
		if _, body, err := ask(t.Context()); body != "0123" || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %q, %v; want 4 bytes and an unexpected end", body, err)
		}
	})
	t.Run("goes away and comes back", func(t *testing.T) {
		if err := p.GoAway(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ask(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("away: %v, want connection refused", err)
		}
		if err := p.ComeBack(); err != nil {
			t.Fatal(err)
		}
		if _, body, err := ask(t.Context()); err != nil || body != "0123456789" {
			t.Errorf("back: %q, %v", body, err)
		}
	})
	t.Run("stalls and resumes", func(t *testing.T) {
		p.Stall()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, _, err := ask(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stalled: %v, want no answer", err)
		}
		p.Resume()
		if _, body, err := ask(t.Context()); err != nil || body != "0123456789" {
			t.Errorf("resumed: %q, %v", body, err)
		}
	})
	t.Run("delays", func(t *testing.T) {
		p.Delay(50 * time.Millisecond)
		defer p.Delay(0)
		start := time.Now()
		if _, _, err := ask(t.Context()); err != nil || time.Since(start) < 50*time.Millisecond {
			t.Errorf("answered after %v, %v; want at least 50 ms", time.Since(start), err)
		}
	})
}

package servers

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func swiftPut(ctx context.Context, s *SwiftServer, container, key, body string) error {
	res, err := s.Do(ctx, SwiftRequest{Method: "PUT", Container: container, Key: key, Body: []byte(body)})
	if err != nil {
		return err
	}
	return res.Body.Close()
}

func swiftGet(ctx context.Context, s *SwiftServer, container, key string) (string, error) {
	res, err := s.Do(ctx, SwiftRequest{Method: "GET", Container: container, Key: key})
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(res.Body)
	return string(body), errors.Join(err, res.Body.Close())
}

func statusOf(err error) int {
	var status *SwiftStatus
	if errors.As(err, &status) {
		return status.Status
	}
	return 0
}

// swiftLimit is the largest object of the Swift that the tests share.
const swiftLimit = 1 << 20

func TestSwift(t *testing.T) {
	s := Swift(t, SwiftOptions{MaxFileSize: swiftLimit, LateListings: true})
	container := s.Container(t)
	if err := swiftPut(t.Context(), s, container, "k", "v"); err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct {
		name string
		test func(t *testing.T, s *SwiftServer, container string)
	}{
		{"has a limit of its own", swiftHasALimit},
		{"forgets its tokens", swiftForgetsTokens},
		{"has a quota", swiftHasAQuota},
		{"lists what it missed", swiftListsWhatItMissed},
		{"speaks S3", swiftSpeaksS3},
		{"is reached through a proxy", swiftIsProxied},
		{"keeps its data over a crash", swiftKeepsItsData}, // the last: it ends the server
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, s, container) })
	}
}

func swiftHasALimit(t *testing.T, s *SwiftServer, _ string) {
	other := Swift(t, SwiftOptions{MaxFileSize: 2 * swiftLimit})
	for s, limit := range map[*SwiftServer]int{s: swiftLimit, other: 2 * swiftLimit} {
		ctx, container := t.Context(), s.Container(t)
		if err := swiftPut(ctx, s, container, "k", strings.Repeat("x", limit)); err != nil {
			t.Error(err)
		}
		if err := swiftPut(ctx, s, container, "k", strings.Repeat("x", limit+1)); statusOf(err) != http.StatusRequestEntityTooLarge {
			t.Errorf("an object beyond the limit of %d: %v, want 413", limit, err)
		}
	}
}

func swiftForgetsTokens(t *testing.T, s *SwiftServer, container string) {
	ctx := t.Context()
	if err := s.ForgetTokens(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.send(ctx, SwiftRequest{Method: "GET", Container: container}); statusOf(err) != http.StatusUnauthorized {
		t.Errorf("with the old token: %v, want 401", err)
	}
	if got, err := swiftGet(ctx, s, container, "k"); err != nil || got != "v" {
		t.Errorf("with another one: %q, %v", got, err)
	}
	if err := s.RestartMemcached(ctx); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		got, err := swiftGet(ctx, s, container, "k")
		if err == nil && got == "v" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after memcached was restarted: %q, %v", got, err)
		}
	}
}

func swiftHasAQuota(t *testing.T, s *SwiftServer, container string) {
	ctx := t.Context()
	if err := s.SetQuota(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if err := swiftPut(ctx, s, container, "more", "v"); statusOf(err) != http.StatusRequestEntityTooLarge {
		t.Errorf("beyond the quota: %v, want 413", err)
	}
	if err := s.SetQuota(ctx, -1); err != nil {
		t.Fatal(err)
	}
	if err := swiftPut(ctx, s, container, "more", "v"); err != nil {
		t.Errorf("without a quota: %v", err)
	}
}

func swiftListsWhatItMissed(t *testing.T, s *SwiftServer, container string) {
	ctx := t.Context()
	if err := s.Pause(SwiftContainer); err != nil {
		t.Fatal(err)
	}
	err := swiftPut(ctx, s, container, "late", "v")
	if err := errors.Join(err, s.Resume(SwiftContainer)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		listed, err := s.List(ctx, container, "late", "")
		if err == nil && len(listed) == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("listed is %v, %v", listed, err)
		}
	}
}

func swiftSpeaksS3(t *testing.T, s *SwiftServer, _ string) {
	ctx, side := t.Context(), s.S3()
	bucket := side.Bucket(t)
	if err := put(ctx, side.Client(), bucket, "dir/key", "by S3"); err != nil {
		t.Fatal(err)
	}
	if got, err := swiftGet(ctx, s, bucket, "dir/key"); err != nil || got != "by S3" {
		t.Errorf("read by Swift's protocol: %q, %v", got, err)
	}
}

func swiftIsProxied(t *testing.T, s *SwiftServer, container string) {
	p := Proxy(t, s.Endpoint)
	c := newSwiftClient(p.Endpoint+swiftAuthPath, s.User, s.Key)
	defer c.http.CloseIdleConnections()
	if err := c.login(t.Context()); err != nil {
		t.Fatal(err)
	}
	if counts := p.Counts(); counts[Authenticate].Requests != 1 {
		t.Errorf("a login was counted as %v", counts)
	}
	for _, r := range []struct {
		kind Request
		SwiftRequest
	}{
		{Put, SwiftRequest{Method: "PUT", Key: "d/k", Body: []byte("12345")}},
		{Get, SwiftRequest{Method: "GET", Key: "d/k"}},
		{Head, SwiftRequest{Method: "HEAD", Key: "d/k"}},
		{Copy, SwiftRequest{Method: "COPY", Key: "d/k", Header: http.Header{"Destination": {container + "/d/l"}}}},
		{Copy, SwiftRequest{Method: "PUT", Key: "d/l", Header: http.Header{"X-Copy-From": {container + "/d/k"}}}},
		{Post, SwiftRequest{Method: "POST", Key: "d/k", Header: http.Header{"X-Object-Meta-Note": {"x"}}}},
		{List, SwiftRequest{Method: "GET"}},
		{Delete, SwiftRequest{Method: "DELETE", Key: "d/l"}},
		{DeleteBatch, SwiftRequest{Method: "POST", Query: url.Values{"bulk-delete": {""}}, Header: http.Header{"Content-Type": {"text/plain"}},
			Body: []byte(container + "/d/none")}},
		{HeadBucket, SwiftRequest{Method: "HEAD"}},
		{CreateBucket, SwiftRequest{Method: "PUT"}},
	} {
		if r.kind != DeleteBatch {
			r.Container = container
		}
		p.Reset()
		res, err := c.do(t.Context(), r.SwiftRequest)
		if err != nil {
			t.Fatalf("%s: %v", r.kind, err)
		}
		body, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if counts := p.Counts(); len(counts) != 1 || counts[r.kind].Requests != 1 {
			t.Errorf("%s was counted as %v", r.kind, counts)
		}
		if r.kind == Get && string(body) != "12345" {
			t.Errorf("read %q", body)
		}
	}
}

func swiftKeepsItsData(t *testing.T, s *SwiftServer, container string) {
	ctx := t.Context()
	if err := swiftPut(ctx, s, container, "dir/k\u00e4se 100%?", "before"); err != nil {
		t.Fatal(err)
	}
	pids := map[string]int{}
	for _, server := range []string{SwiftProxy, SwiftAccount, SwiftContainer, SwiftObject, "updater"} {
		pid, err := s.pid(server)
		if err != nil {
			t.Fatal(err)
		}
		pids[server] = pid
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	for server, pid := range pids {
		if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("the %s server's process %d after Kill: %v, want no such process", server, pid, err)
		}
	}
	if err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err := swiftGet(ctx, s, container, "dir/k\u00e4se 100%?"); err != nil || got != "before" {
		t.Errorf("after the restart: %q, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory %s after Close: %v, want none", s.dir, err)
	}
}

package test

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"sharefs/test/harness"
	"sharefs/test/servers"
)

// trouble is something that befalls a store under a mount, on a server that behaves so by itself, or else behind a proxy that answers
// as Amazon does.
type trouble struct {
	store *harness.Store
	env   []string      // of the mount
	begin func()        // the trouble begins
	mend  func()        // what an operator does about it
	errno syscall.Errno // of an fsync meanwhile
	says  []string      // what the status says: what it is, why, and what to do
}

// TestATroubledStoreSaysWhatToDoAndResumes: fsync fails with the errno of the trouble, status says what it is and what to do, what was
// written stays staged and readable, and all is stored when the trouble is mended, without a remount.
func TestATroubledStoreSaysWhatToDoAndResumes(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(t *testing.T) trouble{
		"keys that have expired":           expiredKeys,
		"keys that were revoked":           revokedKeys,
		"a clock that is wrong":            wrongClock,
		"a bucket that is moved elsewhere": movedBucket,
		"a bucket that is deleted":         deletedBucket,
		"a quota of MinIO's":               quotaOfMinIO,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			make(t).endure(t)
		})
	}
}

// TestATroubledSwift is the same on OpenStack Swift.
func TestATroubledSwift(t *testing.T) {
	t.Parallel()
	swift := servers.Swift(t, servers.SwiftOptions{})
	for name, make := range map[string]func(t *testing.T, swift *servers.SwiftServer) trouble{
		"a key that was revoked":      revokedKeyOfSwift,
		"a quota of Swift's":          quotaOfSwift,
		"a container that is deleted": deletedContainer,
	} {
		t.Run(name, func(t *testing.T) { make(t, swift).endure(t) })
	}
	t.Run("tokens that are forgotten", func(t *testing.T) { forgottenTokens(t, swift) })
}

func (x trouble) endure(t *testing.T) {
	t.Helper()
	m := harness.PrepareMount(t, x.store, "--writeback", "100ms")
	m.Env = x.env
	if err := m.TryMount(); err != nil {
		t.Fatal(err)
	}
	old := step{Seed: 1, Size: 50_000}.bytes()
	if err := errors.Join(os.Mkdir(m.Path("d"), 0o755), os.WriteFile(m.Path("d/old"), old, 0o644)); err != nil {
		t.Fatal(err)
	}
	m.Flush()
	x.begin()

	body := step{Seed: 2, Size: 100_000}.bytes()
	if err := os.WriteFile(m.Path("d/f"), body, 0o644); err != nil {
		t.Fatalf("writing and closing needs no store: %v", err)
	}
	if err := fsyncOf(m.Path("d/f")); !errors.Is(err, x.errno) {
		t.Errorf("fsync: %v, want %v", err, x.errno)
	}
	var said string
	await(t, "the status to name what is stuck", func() bool {
		for _, p := range m.Status().Stuck {
			if p.Path == "/d/f" {
				said = p.Error
			}
		}
		return said != ""
	})
	for _, want := range x.says {
		if !strings.Contains(said, want) {
			t.Errorf("the status says %q, want it to say %q", said, want)
		}
	}
	if err := errors.Join(readBack(m.Path("d/old"), old), readBack(m.Path("d/f"), body)); err != nil {
		t.Errorf("reading what is local: %v", err)
	}

	x.mend()
	var err error
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); time.Sleep(100 * time.Millisecond) {
		if err = fsyncOf(m.Path("d/f")); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatalf("fsync when it is mended: %v", err)
	}
	await(t, "the status to name nothing", func() bool {
		status := m.Status()
		return status.Pending.Files == 0 && len(status.Stuck) == 0
	})
	if got := x.store.Object(t, "d/f").Body; !bytes.Equal(got, body) {
		t.Errorf("fsync returned and the store has %d bytes", len(got))
	}
}

// keysFile is a file of credentials, and the environment of a mount that looks nowhere else.
func keysFile(t *testing.T, keys servers.Keys) (env []string, replace func(servers.Keys)) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "credentials")
	replace = func(keys servers.Keys) {
		t.Helper()
		if err := errors.Join(os.WriteFile(name+".new", []byte(keys.File()), 0o600), os.Rename(name+".new", name)); err != nil {
			t.Fatal(err)
		}
	}
	replace(keys)
	return []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_SHARED_CREDENTIALS_FILE=" + name}, replace
}

func expiredKeys(t *testing.T) trouble {
	s, proxy := harness.NewStore(t, harness.MinIO).Behind(t)
	temporary := func() servers.Keys {
		t.Helper()
		keys, err := s.Server.TemporaryKeys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	first := temporary()
	env, replace := keysFile(t, first)
	return trouble{store: s, env: env, errno: syscall.EACCES,
		begin: func() {
			proxy.Deny(servers.Refusal{Status: http.StatusBadRequest, Code: "ExpiredToken", Key: first.Access})
		},
		mend: func() { replace(temporary()) },
		says: []string{"not authenticated", "ExpiredToken", "the temporary credentials have ended: put valid ones into the AWS configuration files"},
	}
}

func revokedKeys(t *testing.T) trouble {
	server := servers.MinIO(t)
	s := harness.NewStoreOn(t, server)
	env, replace := keysFile(t, server.Keys())
	return trouble{store: s, env: env, errno: syscall.EACCES,
		begin: func() {
			if err := server.ChangeKeys(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		mend: func() { replace(server.Keys()) },
		says: []string{"not authenticated", "InvalidAccessKeyId", "does not know these credentials, or not any more: put valid ones"},
	}
}

func wrongClock(t *testing.T) trouble {
	s, proxy := harness.NewStore(t, harness.MinIO).Behind(t)
	return trouble{store: s, errno: syscall.EACCES,
		begin: func() { proxy.Deny(servers.Refusal{Status: http.StatusForbidden, Code: "RequestTimeTooSkewed"}) },
		mend:  proxy.Permit,
		says:  []string{"RequestTimeTooSkewed", "the clock of this machine and that of the store differ: set this one right; the store has"},
	}
}

func movedBucket(t *testing.T) trouble {
	s, proxy := harness.NewStore(t, harness.MinIO).Behind(t)
	return trouble{store: s, errno: syscall.EIO,
		begin: func() {
			proxy.Deny(servers.Refusal{Status: http.StatusMovedPermanently, Code: "PermanentRedirect", Region: "eu-west-1"})
		},
		mend: proxy.Permit,
		says: []string{"the bucket " + s.Bucket + " is in the region eu-west-1, not in us-east-1: set region=eu-west-1"},
	}
}

func deletedBucket(t *testing.T) trouble {
	s := harness.NewStore(t, harness.MinIO)
	return trouble{store: s, errno: syscall.EIO,
		begin: func() { deleteBucket(t, s) },
		mend: func() {
			if err := s.Server.CreateBucket(t.Context(), s.Bucket); err != nil {
				t.Fatal(err)
			}
		},
		says: []string{"no such store: there is no bucket " + s.Bucket, "restore it, or make a new one"},
	}
}

// deleteBucket deletes a bucket with everything in it, be it that the mount puts something there meanwhile.
func deleteBucket(t *testing.T, s *harness.Store) {
	t.Helper()
	client := s.Server.Client()
	await(t, "the end of the bucket", func() bool {
		page, err := client.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &s.Bucket})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			if _, err := client.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &s.Bucket, Key: o.Key}); err != nil {
				t.Fatal(err)
			}
		}
		_, err = client.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: &s.Bucket})
		return err == nil
	})
}

func quotaOfMinIO(t *testing.T) trouble {
	s := harness.NewStore(t, harness.MinIO)
	limit := func(n int64) func() {
		return func() {
			t.Helper()
			if err := s.Server.SetQuota(t.Context(), s.Bucket, n); err != nil {
				t.Fatal(err)
			}
		}
	}
	// MinIO counts what is there now and then, and refuses what alone is too much at once.
	return trouble{store: s, begin: limit(99_000), mend: limit(0), errno: syscall.EDQUOT,
		says: []string{"quota exceeded", "XMinioAdminBucketQuotaExceeded", "delete something in the store, or have its quota raised"},
	}
}

// swiftStore returns a container as a store with a name, and how to change what the file of its secrets holds.
func swiftStore(t *testing.T, swift *servers.SwiftServer) (s *harness.Store, env []string, replace func(key string)) {
	t.Helper()
	s = harness.NewSwift(t, swift)
	dir := t.TempDir()
	secrets, config := filepath.Join(dir, "secrets"), filepath.Join(dir, "config.toml")
	replace = func(key string) {
		t.Helper()
		text := "ST_USER=" + swift.User + "\nST_KEY=" + key + "\n"
		if err := errors.Join(os.WriteFile(secrets+".new", []byte(text), 0o600), os.Rename(secrets+".new", secrets)); err != nil {
			t.Fatal(err)
		}
	}
	replace(swift.Key)
	text := "[stores.shares]\nurl = \"" + s.URL + "\"\nsecrets = \"" + secrets + "\"\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.URL = "shares"
	return s, []string{"SHAREFS_CONFIG=" + config}, replace
}

func forgetTokens(t *testing.T, swift *servers.SwiftServer) {
	t.Helper()
	if err := swift.RestartMemcached(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func revokedKeyOfSwift(t *testing.T, swift *servers.SwiftServer) trouble {
	s, env, replace := swiftStore(t, swift)
	return trouble{store: s, env: env, errno: syscall.EACCES,
		begin: func() { replace("revoked"); forgetTokens(t, swift) },
		mend:  func() { replace(swift.Key) },
		says:  []string{"not authenticated: logging in", "put them into the store's file of secrets"},
	}
}

func quotaOfSwift(t *testing.T, swift *servers.SwiftServer) trouble {
	s, env, _ := swiftStore(t, swift)
	limit := func(header, value string) func() {
		return func() {
			t.Helper()
			res, err := swift.Do(t.Context(), servers.SwiftRequest{Method: http.MethodPost, Container: s.Bucket, Header: http.Header{header: {value}}})
			if err != nil {
				t.Fatal(err)
			}
			forgetTokens(t, swift) // and what the proxy remembers of the container
			if err := res.Body.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return trouble{store: s, env: env, errno: syscall.EDQUOT,
		begin: limit("X-Container-Meta-Quota-Bytes", "99000"),
		mend:  limit("X-Remove-Container-Meta-Quota-Bytes", "x"),
		says:  []string{"quota exceeded", "HTTP 413"},
	}
}

func deletedContainer(t *testing.T, swift *servers.SwiftServer) trouble {
	s, env, _ := swiftStore(t, swift)
	return trouble{store: s, env: env, errno: syscall.EIO,
		begin: func() {
			deleteContainer(t, swift, s.Bucket)
			forgetTokens(t, swift) // and what the proxy remembers of the container
		},
		mend: func() {
			if err := swift.CreateContainer(t.Context(), s.Bucket); err != nil {
				t.Fatal(err)
			}
		},
		says: []string{"no such store: there is no container " + s.Bucket, "restore it, or make a new one"},
	}
}

// deleteContainer deletes a container with everything in it, be it that the mount puts something there, or that the listing lags,
// meanwhile.
func deleteContainer(t *testing.T, swift *servers.SwiftServer, name string) {
	t.Helper()
	remove := func(key string) error {
		res, err := swift.Do(t.Context(), servers.SwiftRequest{Method: http.MethodDelete, Container: name, Key: key})
		if err != nil {
			return err
		}
		return res.Body.Close()
	}
	await(t, "the end of the container", func() bool {
		listed, err := swift.List(t.Context(), name, "", "")
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range listed {
			var status *servers.SwiftStatus
			if err := remove(l.Name); err != nil && !(errors.As(err, &status) && status.Status == http.StatusNotFound) {
				t.Fatal(err)
			}
		}
		return remove("") == nil
	})
}

// forgottenTokens restarts what keeps the tokens under a writer, which does not notice.
func forgottenTokens(t *testing.T, swift *servers.SwiftServer) {
	s, env, _ := swiftStore(t, swift)
	m := harness.PrepareMount(t, s)
	m.Env = env
	if err := m.TryMount(); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		forgetTokens(t, swift)
		body := step{Seed: uint64(n), Size: 100_000}.bytes()
		if err := writeSynced(m.Path("f"), body); err != nil {
			t.Errorf("after %d restarts: %v", n+1, err)
		}
		if got := s.Object(t, "f").Body; !bytes.Equal(got, body) {
			t.Errorf("after %d restarts the store has %d other bytes", n+1, len(got))
		}
	}
}

package test

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sharefs/test/harness"
	"sharefs/test/servers"
)

// refused is one way of refusing, and what comes of it.
type refused struct {
	refusal servers.Refusal
	errno   syscall.Errno
	says    string
}

// refusalsOf are the ways in which a kind of store refuses everything. Swift has statuses and no codes: these are names. Its
// quotas refuse only what needs room: see TestATroubledSwift.
func refusalsOf(kind harness.Kind) []refused {
	if kind == harness.Swift || kind == harness.SwiftSmall {
		return []refused{
			{servers.Refusal{Status: http.StatusForbidden, Code: "Forbidden"}, syscall.EACCES, "access denied"},
			{servers.Refusal{Status: http.StatusInsufficientStorage, Code: "InsufficientStorage"}, syscall.EDQUOT, "quota exceeded"},
			{servers.Refusal{Status: http.StatusUnauthorized, Code: "Unauthorized"}, syscall.EACCES, "not authenticated"},
			{servers.Refusal{Status: http.StatusNotFound, Code: "NotFound"}, syscall.EIO, "no such store"},
			{servers.Refusal{Status: 498, Code: "RateLimited"}, syscall.EIO, "throttled"},
			{servers.Refusal{Status: http.StatusInternalServerError, Code: "InternalError"}, syscall.EIO, "unavailable"},
		}
	}
	return []refused{
		{servers.Refusal{Status: http.StatusForbidden, Code: "AccessDenied"}, syscall.EACCES, "access denied"},
		{servers.Refusal{Status: http.StatusForbidden, Code: "QuotaExceeded"}, syscall.EDQUOT, "quota exceeded"},
		{servers.Refusal{Status: http.StatusInsufficientStorage, Code: "XMinioStorageFull"}, syscall.EDQUOT, "quota exceeded"},
		{servers.Refusal{Status: http.StatusBadRequest, Code: "ExpiredToken"}, syscall.EACCES, "not authenticated"},
		{servers.Refusal{Status: http.StatusForbidden, Code: "InvalidAccessKeyId"}, syscall.EACCES, "not authenticated"},
		{servers.Refusal{Status: http.StatusNotFound, Code: "NoSuchBucket"}, syscall.EIO, "no such store"},
		{servers.Refusal{Status: http.StatusServiceUnavailable, Code: "SlowDown"}, syscall.EIO, "throttled"},
		{servers.Refusal{Status: http.StatusInternalServerError, Code: "InternalError"}, syscall.EIO, "unavailable"},
	}
}

// TestAStoreThatRefusesLosesNothing lets every request fail in one way: who asks for the store gets the error, the rest of the
// work goes on, status and log say what waits and why, and when the cause is mended all is stored without a remount.
func TestAStoreThatRefusesLosesNothing(t *testing.T) {
	t.Parallel()
	kind := harness.InsteadOf(harness.MinIO)
	for _, tc := range refusalsOf(kind) {
		t.Run(tc.refusal.Code, func(t *testing.T) {
			t.Parallel()
			s, proxy := harness.NewStore(t, kind).Behind(t)
			timeout := 2 * time.Second
			if s.Swift != nil {
				timeout = 15 * time.Second // what it may take when it does answer
			}
			m := harness.NewMount(t, s, "--writeback", "100ms", "--io-timeout", timeout.String())
			harness.Script(t, m.Dir, "mkdir d; echo old >d/old; echo gone >gone; echo moved >moved")
			m.Flush()
			proxy.Deny(tc.refusal)

			body := step{Seed: 1, Size: 100_000}.bytes()
			if err := os.WriteFile(m.Path("d/f"), body, 0o644); err != nil {
				t.Fatalf("writing and closing needs no store: %v", err)
			}
			harness.Script(t, m.Dir, "rm gone; mv moved there; test \"$(cat d/old)\" = old")
			for what, name := range map[string]string{"the file": "d/f", "its directory": "d", "the root": "."} {
				began := time.Now()
				if err := fsyncOf(m.Path(name)); !errors.Is(err, tc.errno) {
					t.Errorf("fsync of %s: %v, want %v", what, err, tc.errno)
				}
				if took := time.Since(began); took > timeout+busy {
					t.Errorf("fsync of %s took %v", what, took)
				}
			}
			if _, err := m.Sharefs("flush", m.Dir); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("flush: %v, want: %s", err, tc.says)
			}
			await(t, "the status to name what is stuck", func() bool {
				stuck := map[string]string{}
				for _, p := range m.Status().Stuck {
					stuck[p.Path] = p.Error
				}
				return strings.Contains(stuck["/d/f"], tc.says) && strings.Contains(stuck["/there"], tc.says) && strings.Contains(stuck["/gone"], tc.says)
			})
			if log := m.Log(); !strings.Contains(log, "/d/f") || !strings.Contains(log, tc.says) {
				t.Errorf("the log does not say that /d/f cannot be stored, and why: %s", log)
			}
			if err := readBack(m.Path("d/f"), body); err != nil {
				t.Error(err)
			}
			if keys := s.Keys(t); !slices.Equal(keys, []string{"d/", "d/old", "gone", "moved"}) && !slices.Equal(keys, []string{"d/old", "gone", "moved"}) {
				t.Errorf("the bucket has %q", keys)
			}

			proxy.Permit()
			if err := fsyncOf(m.Path("d/f")); err != nil {
				t.Errorf("fsync when the cause is mended: %v", err)
			}
			if got := s.Object(t, "d/f").Body; !bytes.Equal(got, body) {
				t.Errorf("fsync returned and the bucket has %d bytes", len(got))
			}
			await(t, "the rest to be stored without being asked for", func() bool {
				st := m.Status()
				return st.Pending.Files == 0 && len(st.Stuck) == 0
			})
			if keys := s.Keys(t); slices.Contains(keys, "gone") || slices.Contains(keys, "moved") || !slices.Contains(keys, "there") {
				t.Errorf("the bucket has %q", keys)
			}
		})
	}
}

// fsyncOf fsyncs a file or directory.
func fsyncOf(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func TestAnFsyncThatWaitsEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	s, proxy := harness.NewStore(t, harness.InsteadOf(harness.MinIO)).Behind(t)
	m := harness.NewMount(t, s, "--writeback", "1h", "--io-timeout", "5m")
	if err := os.WriteFile(m.Path("f"), []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	proxy.Deny(servers.Refusal{Status: http.StatusServiceUnavailable, Code: "SlowDown"})
	began := time.Now()
	out, err := exec.Command("timeout", "--signal=INT", "1", "sync", m.Path("f")).CombinedOutput()
	if took := time.Since(began); err == nil || took > 1*time.Second+busy {
		t.Errorf("after %v: %v: %s", took, err, out)
	}
	proxy.Permit()
	m.Flush()
}

// TestWhatFsyncConfirmedSurvivesTheLossOfTheCache takes the whole cache directory away from a killed daemon.
func TestWhatFsyncConfirmedSurvivesTheLossOfTheCache(t *testing.T) {
	t.Parallel()
	harness.OnEach(t, func(t *testing.T, s *harness.Store) {
		m := harness.NewMount(t, s, "--writeback", "1h")
		at := time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)
		bodies := map[string][]byte{"f": step{Seed: 2, Size: 100_000}.bytes(), "d/e/g": step{Seed: 3, Size: 20 << 20}.bytes(), "d/empty": {}}
		if err := os.MkdirAll(m.Path("d/e"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, body := range bodies {
			f, err := os.OpenFile(m.Path(name), os.O_CREATE|os.O_RDWR, 0o640)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.Write(body)
			if err := errors.Join(err, f.Chmod(0o604), os.Chtimes(m.Path(name), at, at), f.Sync()); err != nil {
				t.Fatal(err)
			}
			defer f.Close() // it is open when the daemon is killed
		}
		m.Kill()
		m.Detach()
		m.RemountEmpty()
		for name, body := range bodies {
			if err := readBack(m.Path(name), body); err != nil {
				t.Error(err)
			}
			info, err := os.Stat(m.Path(name))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode() != 0o604 || !info.ModTime().Equal(at) {
				t.Errorf("%s: mode %v, time %v", name, info.Mode(), info.ModTime())
			}
		}
	})
}

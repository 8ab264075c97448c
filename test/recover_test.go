package test

import (
	"bytes"
	"os"
	"testing"
	"time"

	"sharefs/test/harness"
	"sharefs/test/servers"
)

func TestWhatCpHasCopiedSurvivesAKilledDaemon(t *testing.T) {
	t.Parallel()
	source := sourceTree(t, 80)
	want := harness.ReadTree(t, source)
	harness.OnEach(t, func(t *testing.T, s *harness.Store) {
		m := harness.NewMount(t, s)
		harness.Run(t, "/", "cp", "-a", source, m.Path("copy"))
		m.Kill()
		m.Remount()
		harness.MustEqual(t, "the mount after the kill", want, harness.ReadTree(t, m.Path("copy")))
		m.Unmount()
		m.RemountEmpty()
		harness.MustEqual(t, "a mount with an empty cache", want, harness.ReadTree(t, m.Path("copy")))
	})
}

// TestAFileThatIsBeingUploadedSurvivesAKilledDaemon kills the daemon when some of the file's bytes have reached the server.
func TestAFileThatIsBeingUploadedSurvivesAKilledDaemon(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		what string
		size int
		kind servers.Request // that is under way
	}{
		{"in one request", 20 << 20, servers.Put},
		{"in parts", 50 << 20, servers.PutPart},
	} {
		t.Run(tc.what, func(t *testing.T) {
			t.Parallel()
			s, proxy := harness.NewStore(t, harness.InsteadOf(harness.MinIO)).Behind(t)
			if s.Kind == harness.SwiftSmall {
				tc.kind = servers.PutPart // both: no object there may have so much
			}
			m := harness.NewMount(t, s, "--writeback", "100ms")
			body := step{Seed: 1, Size: tc.size}.bytes()
			if err := os.WriteFile(m.Path("big"), body, 0o644); err != nil {
				t.Fatal(err)
			}
			await(t, "bytes of the file at the server", func() bool { return proxy.Counts()[tc.kind].Sent > 0 })
			proxy.Stall()
			m.Kill()
			if keys := s.Keys(t); len(keys) > 0 {
				t.Fatalf("the upload was over before the kill: the bucket has %q", keys)
			}
			proxy.Resume()
			m.Remount()
			if err := readBack(m.Path("big"), body); err != nil {
				t.Error(err)
			}
			m.Flush()
			if got := s.Object(t, "big").Body; !bytes.Equal(got, body) {
				t.Errorf("the bucket has %d bytes of %d, or others", len(got), len(body))
			}
		})
	}
}

// await waits until something that another process does has happened.
func await(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); !happened(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

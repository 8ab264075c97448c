package tahoe

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sharefs/test/harness"
	"sharefs/test/soak"
)

// wanted asks for the tests that need Tahoe-LAFS, when it is not empty: make test-tahoe sets it.
const wanted = "SHAREFS_TAHOE"

// suites are Tahoe-LAFS's own tests of its storage server.
var suites = []string{
	"allmydata.test.test_storage", "allmydata.test.test_storage_http", "allmydata.test.test_storage_https",
	"allmydata.test.test_crawler", "allmydata.test.test_storage_web", "allmydata.test.test_istorageserver",
}

// trial is Twisted's runner of tests, with its own lock elsewhere: it is a symlink beside the working directory, and a mount with the
// profile tahoe has none.
const trial = `
from twisted.python.lockfile import FilesystemLock
from twisted.scripts.trial import run
from twisted.trial import util
util.FilesystemLock = lambda name: FilesystemLock("/run/trial.lock")
run()
`

// suitesTimeout is how long all suites together may take, on a machine that has other work.
const suitesTimeout = 20 * time.Minute

func TestMain(m *testing.M) { harness.Main(m, nil) }

// debian returns the root with Tahoe-LAFS, and skips the test when nobody has asked for it.
func debian(t *testing.T) string {
	t.Helper()
	if !soak.Long() && os.Getenv(wanted) == "" {
		t.Skip("make test-tahoe and make soak run this")
	}
	root, err := Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestSoakTahoesOwnSuitesPassOnAMount runs them with everything they write on the bare disk, on a mount, and on a mount with the
// profile for a storage node: each test ends alike. The short count has mounts of MinIO.
func TestSoakTahoesOwnSuitesPassOnAMount(t *testing.T) {
	root := debian(t)
	var bare Results
	var bareTime time.Duration
	t.Run("bare disk", func(t *testing.T) {
		bare, bareTime = runSuites(t, root, t.TempDir())
	})
	for _, kind := range harness.KindsOr(harness.MinIO) {
		for _, tc := range []struct {
			name  string
			flags []string
		}{
			{"mount", nil},
			{"mount with the profile tahoe", []string{"--profile", "tahoe"}},
		} {
			t.Run(fmt.Sprintf("%s of %s", tc.name, kind), func(t *testing.T) {
				m := harness.PrepareMount(t, harness.NewStore(t, kind), tc.flags...)
				results, took := suitesOn(t, root, m, len(tc.flags) > 0)
				for _, d := range results.Differences(bare) {
					t.Error("other than on the bare disk: ", d)
				}
				soak.Record(t, "times the bare disk", fmt.Sprintf("%.1f", took.Seconds()/bareTime.Seconds()))
				if len(tc.flags) == 0 {
					survives(t, m)
				}
			})
		}
	}
}

// suitesOn runs all suites on a mount, with or without the profile tahoe, and has it store what they leave.
func suitesOn(t *testing.T, root string, m *harness.Mount, profile bool) (Results, time.Duration) {
	t.Helper()
	m.LeavesScratch = true // storage servers of tests leave unfinished uploads
	m.Patience = 2 * suitesTimeout
	if err := m.TryMount(); err != nil {
		t.Fatal(err)
	}
	results, took := runSuites(t, root, m.Dir)
	status := m.Status()
	t.Logf("status: %+v of %d requests", status.Kept, status.TotalRequests())
	if (status.Kept.ScratchSeen > 0) != profile || (status.Kept.LazySeen > 0) != profile {
		t.Errorf("status says %+v of scratch and lazy paths", status.Kept)
	}
	began := time.Now()
	m.Flush()
	soak.Record(t, "seconds more until all is stored", fmt.Sprintf("%.1f", time.Since(began).Seconds()))
	if stuck := m.Status().Stuck; len(stuck) > 0 {
		t.Errorf("not stored: %+v", stuck)
	}
	return results, took
}

// runSuites runs all suites in a directory, and fails the test when one of theirs fails.
func runSuites(t *testing.T, root, dir string) (Results, time.Duration) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o1777); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), suitesTimeout)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := Command(ctx, root, dir, append([]string{"python3", "-c", trial, "--reporter=subunit"}, suites...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	err := cmd.Run()
	took := time.Since(began)
	results := ParseResults(out.Bytes())
	soak.Record(t, "results", results)
	soak.Record(t, "seconds", fmt.Sprintf("%.1f", took.Seconds()))
	if err != nil || !results.Good() {
		t.Fatalf("trial: %v\n%s\n%s", err, results.Failures(), lastLines(errs.Bytes()))
	}
	return results, took
}

// survives mounts with an empty cache what a mount has, and compares.
func survives(t *testing.T, m *harness.Mount) {
	t.Helper()
	began := time.Now()
	want := harness.ReadTree(t, m.Dir)
	m.Unmount()
	m.RemountEmpty()
	harness.MustEqual(t, "after a remount with an empty cache", want, harness.ReadTree(t, m.Dir))
	t.Logf("comparing %d files and directories took %v", len(want), time.Since(began))
}

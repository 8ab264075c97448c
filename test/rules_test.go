package test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"sharefs/test/harness"
	"sharefs/test/servers"
)

// TestScratchFilesStayOnThisDisk leaves an upload unfinished: no object comes of it, an unmount does not wait for it and
// says so, and the next mount has it.
func TestScratchFilesStayOnThisDisk(t *testing.T) {
	t.Parallel()
	s := harness.NewStore(t, harness.InsteadOf(harness.MinIO))
	m := harness.NewMount(t, s, "--profile", "tahoe", "--writeback", "100ms")
	harness.Script(t, m.Dir, "mkdir -p shares/incoming/aa; echo half >shares/incoming/aa/0; sync -d shares/incoming/aa/0")
	m.Flush()
	if found := s.Contents(t); len(found) != 0 {
		t.Errorf("the store has %d objects of a share that is not finished", len(found))
	}
	kept := m.Status().Kept
	if kept.Scratch != 1 || kept.ScratchBytes != 5 || kept.ScratchSeen == 0 {
		t.Errorf("status says %+v, want one scratch file of 5 bytes", kept)
	}
	m.LeavesScratch = true
	m.Kill()
	m.Detach()
	m.Remount()
	m.Unmount()
	m.Remount()
	harness.Script(t, m.Dir, "grep -q half shares/incoming/aa/0; mv shares/incoming/aa/0 shares/0; rmdir shares/incoming/aa")
	m.Flush()
	if body := string(s.Object(t, "shares/0").Body); body != "half\n" {
		t.Errorf("the share in the store is %q", body)
	}
	m.LeavesScratch = false
}

// TestStateFilesAreLazy rewrites a crawler's state as Tahoe-LAFS does.
func TestStateFilesAreLazy(t *testing.T) {
	t.Parallel()
	s, proxy := harness.NewStore(t, harness.InsteadOf(harness.MinIO)).Behind(t)
	m := harness.NewMount(t, s, "--profile", "tahoe", "--writeback", "50ms")
	proxy.Reset()
	for i := range 10 {
		tmp, name := m.Path("lease_checker.state.json.tmp"), m.Path("lease_checker.state.json")
		if err := os.WriteFile(tmp, fmt.Appendf(nil, "{%d}", i), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, name); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // longer than the write-back delay: only the rule keeps it
	}
	if n := proxy.Counts()[servers.Put].Requests; n != 0 {
		t.Errorf("the state was stored %d times at once", n)
	}
	if kept := m.Status().Kept; kept.LazySeen == 0 {
		t.Errorf("status says %+v, want lazy changes", kept)
	}
	out, err := m.Sharefs("status", m.Dir)
	if err != nil || !strings.Contains(out, "lazy changes wait") {
		t.Errorf("status says nothing of lazy paths: %v\n%s", err, out)
	}
	m.Unmount()
	if body := string(s.Object(t, "lease_checker.state.json").Body); body != "{9}" {
		t.Errorf("after the unmount the store has %q", body)
	}
	if n := proxy.Counts()[servers.Put].Requests; n != 1 {
		t.Errorf("the state was stored %d times, want once", n)
	}
}

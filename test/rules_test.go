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

// tahoe are the flags of a storage node's mount, with a write-back delay that a busy machine does not outlast between
// two steps.
var tahoe = []string{"--profile", "tahoe", "--writeback", "5s"}

// TestStoringAShareCostsOnePut stores shares as Tahoe-LAFS's storage server does, and counts at the server.
func TestStoringAShareCostsOnePut(t *testing.T) {
	t.Parallel()
	const files, steps, size = 10, 8, 128 << 10
	for _, kind := range []harness.Kind{harness.MinIO, harness.VersityGW} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s, proxy := harness.NewStore(t, kind).Behind(t)
			m := harness.NewMount(t, s, tahoe...)
			harness.Script(t, m.Dir, "mkdir -p shares/incoming; ls -lR . >/dev/null")
			m.Flush()
			proxy.Reset()
			for i := range files {
				storeInSteps(t, m, fmt.Sprintf("shares/incoming/%d", i), fmt.Sprintf("shares/%d", i), steps, size)
			}
			m.Flush()
			counts := proxy.Counts()
			if total := counts.Total(); total.Requests != files || counts[servers.Put].Requests != files {
				t.Errorf("%d shares cost %v, want one PUT each and nothing else", files, counts)
			}
			if sent := counts[servers.Put].Sent; sent > files*steps*size*101/100 {
				t.Errorf("%d bytes were sent for %d bytes of shares", sent, files*steps*size)
			}
			kept := m.Status().Kept
			if kept.Scratch != 0 || kept.ScratchSeen == 0 {
				t.Errorf("status says %+v of scratch paths, want none now and some before", kept)
			}
		})
	}
}

// TestScratchFilesStayOnThisDisk leaves an upload unfinished: no object comes of it, an unmount does not wait for it and
// says so, and the next mount has it.
func TestScratchFilesStayOnThisDisk(t *testing.T) {
	t.Parallel()
	s := harness.NewStore(t, harness.MinIO)
	m := harness.NewMount(t, s, "--profile", "tahoe", "--writeback", "100ms")
	harness.Script(t, m.Dir, "mkdir -p shares/incoming/aa; echo half >shares/incoming/aa/0; sync -d shares/incoming/aa/0")
	m.Flush()
	if found := s.Contents(t); len(found) != 0 {
		t.Errorf("the store has %d objects of a share that is not finished", len(found))
	}
	kept := m.Status().Kept
	if kept.Scratch != 1 || kept.ScratchBytes != 5 {
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
	s, proxy := harness.NewStore(t, harness.MinIO).Behind(t)
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

package test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sharefs/test/harness"
	"sharefs/test/servers"
	"sharefs/test/soak"
)

// shortClaim makes the times of a claim short: renewed every second, to hold for three, watched for five. In Swift, which checks no
// conditions, a claim settles for five seconds before it counts.
func shortClaim(s *harness.Store) string {
	if settles(s) {
		return "SHAREFS_TEST_CLAIM=5s,25s,40s"
	}
	return "SHAREFS_TEST_CLAIM=1s,3s,5s"
}

// settles reports whether a store checks no conditions, so that its claim is left to settle.
func settles(s *harness.Store) bool {
	return s.Kind == harness.Swift || s.Kind == harness.SwiftSmall || s.Kind == harness.SwiftS3
}

// TestSoakTwoMountsRaceForTheClaim starts two mounts of one store at once, again and again.
func TestSoakTwoMountsRaceForTheClaim(t *testing.T) {
	t.Parallel()
	rounds := soak.Count(5, 100)
	harness.OnEach(t, func(t *testing.T, s *harness.Store) {
		mounts := []*harness.Mount{harness.PrepareMount(t, s), harness.PrepareMount(t, s)}
		won := [2]int{}
		for round := range rounds {
			errs := make([]error, len(mounts))
			var wg sync.WaitGroup
			for i, m := range mounts {
				wg.Go(func() { errs[i] = m.TryMount() })
			}
			wg.Wait()
			winner := 0
			if errs[0] != nil {
				winner = 1
			}
			if errs[winner] != nil || errs[1-winner] == nil {
				t.Fatalf("round %d: not one, but: %v; %v", round, errs[0], errs[1])
			}
			won[winner]++
			holder := fmt.Sprintf("(process %d) holds it", mounts[winner].PID())
			if text := errs[1-winner].Error(); !strings.Contains(text, holder) || !strings.Contains(text, "--take-over") {
				t.Fatalf("round %d: the refusal does not name the holder, %q: %s", round, holder, text)
			}
			if state := mounts[winner].Status().Claim.State; state != "held" {
				t.Fatalf("round %d: the winner's claim is %q", round, state)
			}
			mounts[winner].Unmount()
		}
		soak.Record(t, "races for the claim, won by the first and by the second", fmt.Sprintf("%d, %d and %d", rounds, won[0], won[1]))
	})
}

// TestSoakAStoppedHolderSendsNothing stops a mount under writers, with an upload half sent, lets another take the store, and
// lets the first go on.
func TestSoakAStoppedHolderSendsNothing(t *testing.T) {
	t.Parallel()
	for _, kind := range harness.Served() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			store := harness.NewStore(t, kind)
			behind, proxy := store.Behind(t)
			m := harness.PrepareMount(t, behind, "--writeback", "20ms", "--lazy", "same=1h") // not under way when it is stopped
			other := harness.PrepareMount(t, store)
			long := 0 * time.Second
			if soak.Long() {
				long = 5 * time.Minute // and the real times of a claim
				m.Patience, other.Patience = 4*long, 4*long
			} else {
				m.Env, other.Env = []string{shortClaim(store)}, []string{shortClaim(store)}
			}
			if err := m.TryMount(); err != nil {
				t.Fatal(err)
			}
			body := step{Seed: 1, Size: 12 << 20}.bytes()
			if err := os.WriteFile(m.Path("same"), []byte("before"), 0o644); err != nil {
				t.Fatal(err)
			}
			m.Flush()
			writers := writeUntilRefused(t, m)
			await(t, "files in the store", func() bool { return proxy.Counts()[servers.Put].Requests > 20 })
			proxy.Stall()
			if err := os.WriteFile(m.Path("big"), body, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(m.Path("same"), []byte("mine"), 0o644); err != nil {
				t.Fatal(err)
			}
			await(t, "uploads under way", func() bool { return m.Status().Pending.Uploading > 0 })
			time.Sleep(200 * time.Millisecond) // for what fits into buffers on the way
			pid := m.PID()
			t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGCONT) }) // also when the test fails: whoever looks at its mount waits for it
			m.Signal(unix.SIGSTOP)
			proxy.Resume()
			time.Sleep(long)
			if err := other.TryMount("--take-over"); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(other.Path("same"), []byte("theirs"), 0o644); err != nil {
				t.Fatal(err)
			}
			other.Flush()
			before := store.Contents(t)
			proxy.Reset()
			m.Signal(unix.SIGCONT)
			t.Logf("the writers ended with %q", <-writers)
			if err := os.WriteFile(m.Path("more"), nil, 0o644); !errors.Is(err, syscall.EROFS) {
				t.Errorf("a change after the claim was lost: %v, want EROFS", err)
			}
			status := m.Status()
			if c := status.Claim; c.State != "lost" || c.PID != other.PID() || !status.ReadOnly || status.Pending.Files == 0 {
				t.Errorf("the status is %+v", status)
			}
			time.Sleep(2 * time.Second) // for what it may try to send
			counts := proxy.Counts()
			for _, kind := range []servers.Request{servers.Put, servers.Copy, servers.Delete, servers.DeleteBatch, servers.CreateUpload,
				servers.PutPart, servers.CopyPart, servers.CompleteUpload, servers.AbortUpload} {
				if n := counts[kind].Requests; n > 0 {
					t.Errorf("%d %s left after it went on", n, kind)
				}
			}
			if after := store.Contents(t); !maps.EqualFunc(before, after, func(a, b []byte) bool { return string(a) == string(b) }) {
				t.Errorf("the store has changed: %d objects before, %d after, same: %q", len(before), len(after), after["same"])
			}
			if got, err := os.ReadFile(m.Path("same")); err != nil || string(got) != "mine" {
				t.Errorf("the mount that lost its claim reads %q, %v", got, err)
			}
			soak.Record(t, "stopped with uploads under way; requests seen when it went on", counts)
			m.Leave()
			other.Unmount()
			m.Remount()
			kept := map[string]string{}
			for _, c := range m.Status().Conflicts {
				text, err := os.ReadFile(c.Kept)
				if err != nil {
					t.Error(err)
				}
				kept[c.Path] = string(text)
			}
			if kept["/same"] != "mine" || kept["/big"] != string(body) {
				t.Errorf("what was not stored is not kept: same is %q, big has %d bytes of %d", kept["/same"], len(kept["/big"]), len(body))
			}
			m.Flush()
			if after := store.Contents(t); !maps.EqualFunc(before, after, func(a, b []byte) bool { return string(a) == string(b) }) {
				t.Errorf("the next mount has changed the store: %d objects before, %d after, same: %q", len(before), len(after), after["same"])
			}
			if err := readBack(m.Path("same"), []byte("theirs")); err != nil {
				t.Error(err)
			}
		})
	}
}

// writeUntilRefused changes files of all kinds until that fails, and returns what the shell says then. It is a process of its
// own: one that is made while this one has a file of the mount open closes that, and waits for a daemon that is stopped.
func writeUntilRefused(t *testing.T, m *harness.Mount) <-chan string {
	const script = `n=0
		while :; do
			n=$((n+1)); f=f$((n%50))
			echo "content $n" >$f || exit
			[ $((n%4)) != 0 ] || mv $f $f-renamed || exit
			[ $((n%4)) != 1 ] || rm $f || exit
			sleep 0.005
		done`
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = m.Dir
	var text bytes.Buffer
	cmd.Stderr = &text
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan string, 1)
	go func() {
		_ = cmd.Wait() // it ends by failing
		ended <- text.String()
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it may have ended
	return ended
}

func TestAStoreIsTakenOverFromAMountThatIsGone(t *testing.T) {
	t.Parallel()
	harness.OnEach(t, func(t *testing.T, s *harness.Store) {
		m, other := harness.PrepareMount(t, s), harness.PrepareMount(t, s)
		m.Env, other.Env = []string{shortClaim(s)}, []string{shortClaim(s)}
		if err := m.TryMount(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(m.Path("f"), []byte("1"), 0o644); err != nil {
			t.Fatal(err)
		}
		m.Flush()
		reader := harness.NewMount(t, s, "--read-only")
		if err := readBack(reader.Path("f"), []byte("1")); err != nil {
			t.Error("a read-only mount beside the holder:", err)
		}
		if err := other.TryMount("--take-over"); err == nil || !strings.Contains(err.Error(), "it is alive") {
			t.Fatalf("the store of a mount that is alive: %v", err)
		}
		m.Kill()
		m.Remount() // at once, without a flag
		if err := readBack(m.Path("f"), []byte("1")); err != nil {
			t.Error(err)
		}
		m.Kill()
		m.Detach()
		if err := other.TryMount(); err == nil || !strings.Contains(err.Error(), "--take-over") {
			t.Fatalf("the store of a mount that was killed, with another cache directory: %v", err)
		}
		began := time.Now()
		if err := other.TryMount("--take-over"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 5*time.Second {
			t.Errorf("it was watched for %v only", took)
		}
		other.Kill()
		other.Detach()
		began = time.Now()
		if err := m.TryMount("--take-over", "--force"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Logf("by force it took %v", took)
		}
		if err := readBack(m.Path("f"), []byte("1")); err != nil {
			t.Error(err)
		}
	})
}

// TestSoakWhatAClaimCosts counts the requests of a mount that does nothing. The long one is the real ten minutes.
func TestSoakWhatAClaimCosts(t *testing.T) {
	t.Parallel()
	s, proxy := harness.NewStore(t, harness.InsteadOf(harness.MinIO)).Behind(t)
	m := harness.PrepareMount(t, s)
	idle, want := 10*time.Minute, 10
	if !soak.Long() {
		m.Env, idle, want = []string{"SHAREFS_TEST_CLAIM=2s,20s,30s"}, 10*time.Second, 5
		if settles(s) {
			m.Env, idle, want = []string{"SHAREFS_TEST_CLAIM=4s,20s,30s"}, 20*time.Second, 5
		}
	}
	// Who takes it lists and writes, and reads the claim that was there; and lists for a checkpoint. One who holds it writes.
	// Where it settles they look once more: that is a LIST.
	first, again, release, each := 3, 3, 2, 1
	renew := idle / time.Duration(want)
	if settles(s) {
		first, again, release, each, want = 4, 5, 4, 2, 2*want
	}
	renewals := func(since time.Time) int { return each * int(time.Since(since)/renew) } // on a slow machine
	m.Patience = max(m.Patience, 2*idle)
	mount := func(want int) {
		t.Helper()
		proxy.Reset()
		began := time.Now()
		if err := m.TryMount(); err != nil {
			t.Fatal(err)
		}
		if n := proxy.Own().Total().Requests; n < want || n > want+renewals(began) {
			t.Errorf("taking the claim took %d requests, want %d", n, want)
		}
	}
	unmount := func() {
		t.Helper()
		proxy.Reset()
		began := time.Now()
		m.Unmount()
		if counts, own := proxy.Counts(), proxy.Own(); counts.Total().Requests > 0 || own.Total().Requests > release+renewals(began) {
			t.Errorf("an unmount with nothing to store took %v and %v, want %d at most to release the claim", counts, own, release)
		}
	}
	mount(first)
	unmount()
	mount(again)
	time.Sleep(500 * time.Millisecond) // what a mount asks when it begins
	proxy.Reset()
	time.Sleep(idle) // that nothing else is asked is the subject
	counts, own := proxy.Counts(), proxy.Own()
	if n := own.Total().Requests; n < want*3/5 || n > want || counts.Total().Requests > 0 {
		t.Errorf("idle for %v: %v and %v, want %d renewals", idle, counts, own, want)
	}
	soak.Record(t, fmt.Sprintf("requests in %v without anything to do", idle), own.Total().Requests)
	unmount()
}

// TestAnOutageThatOutlastsTheClaimEndsByItself: changes wait until the claim is renewed.
func TestAnOutageThatOutlastsTheClaimEndsByItself(t *testing.T) {
	t.Parallel()
	s, proxy := harness.NewStore(t, harness.InsteadOf(harness.MinIO)).Behind(t)
	m := harness.PrepareMount(t, s, "--io-timeout", "3s")
	m.Env = []string{shortClaim(s)}
	if err := m.TryMount(); err != nil {
		t.Fatal(err)
	}
	harness.Script(t, m.Dir, "ls -l . >/dev/null")
	if err := proxy.GoAway(); err != nil {
		t.Fatal(err)
	}
	await(t, "the end of the claim", func() bool { return m.Status().Claim.State == "unsure" })
	if err := os.WriteFile(m.Path("f"), []byte("1"), 0o644); err != nil {
		t.Errorf("a write while the claim is not renewed: %v", err)
	}
	if err := readBack(m.Path("f"), []byte("1")); err != nil {
		t.Error(err)
	}
	if err := proxy.ComeBack(); err != nil {
		t.Fatal(err)
	}
	await(t, "the claim", func() bool { return m.Status().Claim.State == "held" })
	await(t, "the file in the store", func() bool { return len(s.Keys(t)) == 1 })
}

package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"sharefs/test/harness"
	"sharefs/test/soak"
)

// outage is how long the store is away.
func outage() time.Duration { return time.Duration(soak.Count(6, 30)) * time.Second }

// busy is how long something that does not need the store may take on a busy machine.
const busy = 20 * time.Second

// TestSoakWorkGoesOnWhileTheStoreIsAway takes the endpoint away under a writer and readers.
func TestSoakWorkGoesOnWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"refuses connections", "does not answer"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			s, proxy := harness.NewStore(t, harness.InsteadOf(harness.MinIO)).Behind(t)
			body := func(name string) []byte { return step{Seed: uint64(len(name)), Size: 300_000}.bytes() }
			for _, name := range []string{"cached", "cold", "colder"} {
				s.Put(t, name, body(name), nil)
			}
			m := harness.NewMount(t, s, "--io-timeout", "60s")
			harness.Script(t, m.Dir, "ls -l . >/dev/null; cat cached >/dev/null")

			stop := make(chan struct{})
			writer := during(stop, func(n int) error {
				return os.WriteFile(m.Path(fmt.Sprintf("written%d", n)), body(fmt.Sprint(n)), 0o644)
			})
			reader := during(stop, func(int) error { return readBack(m.Path("cached"), body("cached")) })
			gone(t, proxy.GoAway, proxy.Stall, way)
			began := time.Now()
			cold := make(chan error, 1)
			go func() { cold <- readBack(m.Path("cold"), body("cold")) }()
			time.Sleep(outage()) // how long the store is away is the subject
			select {
			case err := <-cold:
				t.Errorf("a read that needs the store did not wait for it: %v", err)
			default:
			}
			if err := proxy.ComeBack(); err != nil {
				t.Fatal(err)
			}
			proxy.Resume()
			if err := <-cold; err != nil {
				t.Errorf("a read that waited for the store: %v", err)
			}
			t.Logf("the store was away for %v; the waiting read was served after %v", outage(), time.Since(began))
			close(stop)
			for who, work := range map[string]*repeated{"writer": writer, "reader of a cached file": reader} {
				<-work.ended
				if work.err != nil || work.longest > busy || work.count < 2 {
					t.Errorf("the %s: %d times, the longest took %v, error %v", who, work.count, work.longest, work.err)
				}
				soak.Record(t, who+": times, longest", fmt.Sprintf("%d, %v", work.count, work.longest.Round(time.Millisecond)))
			}
			m.Flush()
			for n := range writer.count {
				if got := s.Object(t, fmt.Sprintf("written%d", n)); !bytes.Equal(got.Body, body(fmt.Sprint(n))) {
					t.Errorf("written%d has other content in the store", n)
				}
			}
			if err := readBack(m.Path("colder"), body("colder")); err != nil {
				t.Error(err)
			}
		})
	}
}

// gone makes the store go away.
func gone(t *testing.T, goAway func() error, stall func(), way string) {
	t.Helper()
	if way == "does not answer" {
		stall()
		return
	}
	if err := goAway(); err != nil {
		t.Fatal(err)
	}
}

// repeated is something that is done again and again. Its fields hold once ended is closed.
type repeated struct {
	ended   chan struct{}
	count   int
	longest time.Duration
	err     error
}

// during does something until stop is closed, or fails.
func during(stop <-chan struct{}, do func(n int) error) *repeated {
	r := &repeated{ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		for ; ; r.count++ {
			began := time.Now()
			if r.err = do(r.count); r.err != nil {
				return
			}
			r.longest = max(r.longest, time.Since(began))
			select {
			case <-stop:
				r.count++
				return
			case <-time.After(20 * time.Millisecond): // a pace
			}
		}
	}()
	return r
}

func readBack(name string, want []byte) error {
	got, err := os.ReadFile(name)
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%s: other content", name)
	}
	return err
}

// TestNothingHangsLongerThanTheTimeout waits for a store that stays away.
func TestNothingHangsLongerThanTheTimeout(t *testing.T) {
	t.Parallel()
	const timeout = 3 * time.Second
	for _, way := range []string{"refuses connections", "does not answer"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			s, proxy := harness.NewStore(t, harness.InsteadOf(harness.MinIO)).Behind(t)
			s.Put(t, "cold", []byte("content"), nil)
			s.Put(t, "unknown/cold", []byte("content"), nil)
			m := harness.NewMount(t, s, "--io-timeout", timeout.String(), "--writeback", "100ms")
			harness.Script(t, m.Dir, "ls -l . >/dev/null")
			gone(t, proxy.GoAway, proxy.Stall, way)
			for _, wait := range []struct {
				what    string
				atLeast time.Duration // a read waits for a store that may come back
				do      func() error
			}{
				{"reading", timeout / 2, func() error { return readBack(m.Path("cold"), []byte("content")) }},
				{"listing", timeout / 2, func() error { _, err := os.ReadDir(m.Path("unknown")); return err }},
				{"fsync", 0, func() error { return writeSynced(m.Path("synced"), []byte("content")) }},
			} {
				began := time.Now()
				err := wait.do()
				if took := time.Since(began); !errors.Is(err, syscall.EIO) || took > timeout+busy || took < wait.atLeast {
					t.Errorf("%s without the store: after %v: %v, want an input/output error after %v", wait.what, took, err, timeout)
				}
			}
			if err := proxy.ComeBack(); err != nil {
				t.Fatal(err)
			}
			proxy.Resume()
			m.Flush()
			if o := s.Object(t, "synced"); string(o.Body) != "content" {
				t.Errorf("a file whose fsync failed is %q in the store", o.Body)
			}
			harness.Script(t, m.Dir, "cat cold unknown/cold >/dev/null")
		})
	}
}

func writeSynced(name string, body []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	return errors.Join(err, f.Sync(), f.Close())
}

package servers

import (
	"net"
	"os/exec"
	"sync"
	"testing"
)

func TestAPortIsGivenOnce(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		addr, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if seen[addr] {
			t.Fatalf("%s was given twice", addr)
		}
		seen[addr] = true
	}
}

func TestAPortWhereSomethingListensIsNotFree(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := probePort(l.Addr().(*net.TCPAddr).Port); err == nil {
		t.Error("it was called free")
	}
}

// TestAProxyComesBackWhileProgramsAreStarted has programs inherit the listener for the moment before they begin.
func TestAProxyComesBackWhileProgramsAreStarted(t *testing.T) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(done)
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := exec.CommandContext(t.Context(), "true").Run(); err != nil && t.Context().Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	p := Proxy(t, "http://127.0.0.1:9")
	for range 300 {
		if err := p.GoAway(); err != nil {
			t.Fatal(err)
		}
		if err := p.ComeBack(); err != nil {
			t.Fatal(err)
		}
	}
}

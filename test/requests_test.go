package test

import (
	"fmt"
	"os"
	"testing"

	"sharefs/test/harness"
	"sharefs/test/servers"
)

// TestAFileWrittenInStepsAndRenamedCostsAtMostTwoRequests stores files as a share server does.
func TestAFileWrittenInStepsAndRenamedCostsAtMostTwoRequests(t *testing.T) {
	t.Parallel()
	const files, steps, size = 20, 10, 64 << 10
	for _, kind := range harness.Served() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s, proxy := harness.NewStore(t, kind).Behind(t)
			// A write-back delay that a busy machine does not outlast between two steps.
			m := harness.NewMount(t, s, "--writeback", "10s")
			harness.Script(t, m.Dir, "mkdir incoming shares; ls -lR . >/dev/null; echo x >shares/first; echo x >incoming/first")
			m.Flush()
			before := m.Status()
			proxy.Reset()
			for i := range files {
				storeInSteps(t, m, fmt.Sprintf("incoming/%d", i), fmt.Sprintf("shares/%d", i), steps, size)
			}
			m.Flush()
			counts := proxy.Counts()
			sent := int(m.Status().TotalRequests() - before.TotalRequests())
			t.Logf("%d files: %v; sharefs counts %d requests", files, counts, sent)
			if total := counts.Total(); total.Requests > 2*files || total.Requests < files {
				t.Errorf("the server saw %d requests for %d files, at most %d are allowed: %v", total.Requests, files, 2*files, counts)
			} else if total.Requests != sent {
				t.Errorf("the server saw %d requests, and sharefs counts %d", total.Requests, sent)
			}
			if body := counts[servers.Put].Sent; body < files*steps*size || body > files*steps*size*101/100 {
				t.Errorf("%d bytes were sent for %d bytes of files", body, files*steps*size)
			}
			for i := range files {
				if o := s.Object(t, fmt.Sprintf("shares/%d", i)); len(o.Body) != steps*size {
					t.Errorf("share %d has %d bytes in the store", i, len(o.Body))
				}
			}
		})
	}
}

// storeInSteps writes a file in a directory of its own, opened anew for each step, and moves it to its place.
func storeInSteps(t *testing.T, m *harness.Mount, dir, place string, steps, size int) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.Mkdir(m.Path(dir), 0o755))
	name := m.Path(dir + "/share")
	check(os.WriteFile(name, nil, 0o644))
	for i := range steps {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		check(err)
		_, err = f.WriteAt(step{Seed: uint64(i), Size: size}.bytes(), int64(i*size))
		check(err)
		check(f.Close())
	}
	check(os.Rename(name, m.Path(place)))
	check(os.Remove(m.Path(dir)))
}

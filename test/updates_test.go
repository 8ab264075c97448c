package test

import (
	"bytes"
	"os"
	"testing"

	"sharefs/test/harness"
	"sharefs/test/servers"
)

// TestABurstOfUpdatesIsOnePut changes a stored file of 1 MiB ten times within a second, each time opened anew, and looks at what
// reaches the server: the file once, and its bytes before only if they were not local. Who opens for writing and writes
// nothing costs nothing.
func TestABurstOfUpdatesIsOnePut(t *testing.T) {
	t.Parallel()
	const size, cycles = 1 << 20, 10
	for _, kind := range harness.Served() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s, proxy := harness.NewStore(t, kind).Behind(t)
			m := harness.NewMount(t, s)
			body := step{Seed: 1, Size: size}.bytes()
			if err := os.WriteFile(m.Path("file"), body, 0o644); err != nil {
				t.Fatal(err)
			}
			for _, tc := range []struct {
				name          string
				cold          bool
				write         bool
				puts, gets    int
				sent, fetched int64
			}{
				{"updates of a local file", false, true, 1, 0, size, 0},
				{"opens for writing", false, false, 0, 0, 0, 0},
				{"updates of a file that is not local", true, true, 1, 1, size, size},
			} {
				m.Unmount()
				if tc.cold {
					m.RemountEmpty()
				} else {
					m.Remount()
				}
				harness.Script(t, m.Dir, "ls -l . >/dev/null")
				proxy.Reset()
				for i := range cycles {
					f, err := os.OpenFile(m.Path("file"), os.O_RDWR, 0)
					if err != nil {
						t.Fatal(err)
					}
					if tc.write {
						part := step{Seed: uint64(100 + i), Size: 100}.bytes()
						if _, err := f.WriteAt(part, int64(i*100_000)); err != nil {
							t.Fatal(err)
						}
						copy(body[i*100_000:], part)
					}
					if err := f.Close(); err != nil {
						t.Fatal(err)
					}
				}
				m.Flush()
				counts := proxy.Counts()
				t.Logf("%s: %v", tc.name, counts)
				if counts[servers.Put].Requests != tc.puts || counts[servers.Put].Sent > tc.sent*101/100 {
					t.Errorf("%s: %+v for a PUT, want %d requests", tc.name, counts[servers.Put], tc.puts)
				}
				if counts[servers.Get].Requests > tc.gets || counts[servers.Get].Received > tc.fetched {
					t.Errorf("%s: %+v for a GET, want at most %d bytes", tc.name, counts[servers.Get], tc.fetched)
				}
				if other := counts.Total().Requests - counts[servers.Put].Requests - counts[servers.Get].Requests; other != 0 {
					t.Errorf("%s: other requests: %v", tc.name, counts)
				}
				if got := s.Object(t, "file").Body; !bytes.Equal(got, body) {
					t.Errorf("%s: the object has other content", tc.name)
				}
			}
		})
	}
}

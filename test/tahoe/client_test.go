package tahoe

import (
	_ "embed"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

//go:embed client.py
var clientProgram string

var nurlPattern = regexp.MustCompile(`"(pb://[^"]*#v=1)"`)

// nurl returns where the node is found.
func (s *serving) nurl() string {
	s.t.Helper()
	m := nurlPattern.FindStringSubmatch(s.announcement)
	if m == nil {
		s.t.Fatalf("no NURL in %s", s.announcement)
	}
	return m[1]
}

// TestTahoesProtocolClientAgrees runs Tahoe-LAFS's own client of the protocol through all its calls, with its checks of the answers.
func TestTahoesProtocolClientAgrees(t *testing.T) {
	root := debian(t)
	base := t.TempDir()
	s := newServing(t, filepath.Join(base, "node"), "--location", "127.0.0.1:"+freePort(t))
	out, err := Command(t.Context(), root, base, "python3", "-c", clientProgram, s.nurl()).CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "done\n") {
		t.Errorf("%v\n%s", err, lastLines(out))
	}
}

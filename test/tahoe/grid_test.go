package tahoe

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sharefs/test/harness"
)

// TestSoakATahoeClientUsesThreeNodesOfOurs is a grid of one client of Tahoe-LAFS and three nodes, of which any two can give a file back: on
// directories, on mounts of each kind of store, and on mounts that the nodes make themselves.
func TestSoakATahoeClientUsesThreeNodesOfOurs(t *testing.T) {
	root := debian(t)
	for _, tc := range []struct {
		name string
		args func(t *testing.T, node string) (shares string, args []string)
	}{
		{"directories", func(_ *testing.T, node string) (string, []string) {
			return filepath.Join(node, "storage"), nil
		}},
		{"mounts of directories", onMountOf(harness.File)},
		{"mounts of MinIO", onMountOf(harness.MinIO)},
		{"directories that they mount", func(t *testing.T, node string) (string, []string) {
			return filepath.Join(node, "mount"), []string{"--store", harness.NewStore(t, harness.File).URL}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base := t.TempDir()
			g := &grid{t: t, base: base}
			var announcements []string
			for _, name := range []string{"a", "b", "c"} {
				dir := filepath.Join(base, name)
				shares, args := tc.args(t, dir)
				s := newServing(t, dir, append(args, "--location", "127.0.0.1:"+freePort(t), "--nickname", name)...)
				g.shares = append(g.shares, shares)
				announcements = append(announcements, s.announcement)
			}
			g.client = newClient(t, root, base, announcements...)
			g.client.start()
			g.use()
			g.repair()
			g.client.end()
		})
	}
}

func onMountOf(kind harness.Kind) func(t *testing.T, node string) (string, []string) {
	return func(t *testing.T, _ string) (string, []string) {
		m := harness.PrepareMount(t, harness.NewStore(t, kind), "--profile", "tahoe")
		m.Patience = time.Hour
		if err := m.TryMount(); err != nil {
			t.Fatal(err)
		}
		return m.Dir, []string{"--store", m.Dir}
	}
}

// grid is a client with its servers.
type grid struct {
	t      *testing.T
	base   string // /mnt for the client
	client *node
	shares []string // the storage directories of the servers
}

// tahoe runs a command of the client's user.
func (g *grid) tahoe(args ...string) string {
	g.t.Helper()
	return g.client.tahoe(append([]string{"-d", "/mnt/client"}, args...)...)
}

// file makes a local file of random bytes and returns its name for the client.
func (g *grid) file(name string, size int) string {
	g.t.Helper()
	path := filepath.Join(g.base, name)
	g.client.check(os.MkdirAll(filepath.Dir(path), 0o755))
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, name, size))).Read(data) // never fails
	g.client.check(os.WriteFile(path, data, 0o644))
	return "/mnt/" + name
}

// same compares a file of the grid with a local one.
func (g *grid) same(remote, local string) {
	g.t.Helper()
	g.tahoe("get", remote, "/mnt/got")
	got, err := os.ReadFile(filepath.Join(g.base, "got"))
	g.client.check(err)
	want, err := os.ReadFile(filepath.Join(g.base, strings.TrimPrefix(local, "/mnt/")))
	g.client.check(err)
	if !bytes.Equal(got, want) {
		g.t.Errorf("%s has %d bytes, %s %d, or others", remote, len(got), local, len(want))
	}
}

// use stores and changes files of every kind, moves them, and reads them back.
func (g *grid) use() {
	g.t.Helper()
	g.client.awaitConnected(len(g.shares))
	g.tahoe("create-alias", "g")
	large := g.file("large", 3_000_000)
	g.tahoe("put", large, "g:large")
	g.same("g:large", large)
	g.tahoe("mkdir", "g:dir")
	for _, name := range []string{"tree/one", "tree/two", "tree/below/three"} {
		g.file(name, 100_000+len(name))
	}
	g.tahoe("cp", "-r", "/mnt/tree", "g:dir")
	g.tahoe("mv", "g:dir/tree/one", "g:dir/moved")
	if got := strings.Fields(g.tahoe("ls", "g:dir")); strings.Join(got, " ") != "moved tree" {
		g.t.Errorf("the directory has %q", got)
	}
	if got := strings.Fields(g.tahoe("ls", "g:dir/tree")); strings.Join(got, " ") != "below two" {
		g.t.Errorf("the tree has %q", got)
	}
	g.same("g:dir/moved", "/mnt/tree/one")
	g.same("g:dir/tree/below/three", "/mnt/tree/below/three")
	for _, format := range []string{"sdmf", "mdmf"} {
		g.tahoe("put", "--format="+format, g.file("first", 5000), "g:"+format)
		for _, size := range []int{300_000, 1234} {
			g.tahoe("put", g.file("next", size), "g:"+format)
			g.same("g:"+format, "/mnt/next")
		}
	}
}

var checked = regexp.MustCompile(`done: (\d+) objects checked`)

// deepCheck checks everything that the alias leads to, and returns what was said.
func (g *grid) deepCheck(args ...string) string {
	g.t.Helper()
	out := g.tahoe(append([]string{"deep-check"}, append(args, "g:")...)...)
	if m := checked.FindStringSubmatch(out); m == nil || m[1] != "10" {
		g.t.Errorf("deep-check says %q, want 10 objects", out)
	}
	return out
}

// repair loses all shares of one server, and has the client make them again.
func (g *grid) repair() {
	g.t.Helper()
	const healthy = "10 healthy, 0 unhealthy"
	if out := g.deepCheck("--verify", "--add-lease"); !strings.Contains(out, healthy) {
		g.t.Errorf("everything is there, and deep-check says %q", out)
	}
	lost := g.shares[0]
	prefixes, err := filepath.Glob(filepath.Join(lost, "shares", "??"))
	g.client.check(err)
	if len(prefixes) < 5 {
		g.t.Errorf("the first server has %d prefixes", len(prefixes))
	}
	for _, p := range prefixes {
		g.client.check(os.RemoveAll(p))
	}
	if out := g.deepCheck(); strings.Contains(out, healthy) {
		g.t.Errorf("one server has lost all shares, and deep-check says %q", out)
	}
	if out := g.deepCheck("--verify", "--repair"); !strings.Contains(out, "10 repairs attempted, 10 successful, 0 failed") {
		g.t.Errorf("deep-check --repair says %q", out)
	}
	if out := g.deepCheck("--verify"); !strings.Contains(out, healthy) {
		g.t.Errorf("everything is repaired, and deep-check says %q", out)
	}
	g.same("g:large", "/mnt/large")
}

package tahoe

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sharefs/storage/container"
	"sharefs/test/harness"
	"sharefs/test/soak"
)

// objects is how many files and directories use makes.
const objects = 10

// place is where a node keeps its shares.
type place struct {
	dir   string
	args  []string       // of the node: that it is there
	store *harness.Store // what it is a mount of; nil: it is a directory
	flush func()         // has the mount store everything
}

// TestSoakATahoeClientUsesThreeNodesOfOurs is a grid of one client of Tahoe-LAFS and three nodes, of which any two can give a file back: on
// directories, on mounts of each kind of store, and on mounts that the nodes make themselves.
func TestSoakATahoeClientUsesThreeNodesOfOurs(t *testing.T) {
	root := debian(t)
	for _, tc := range []struct {
		name  string
		place func(t *testing.T, node string) place
	}{
		{"directories", func(_ *testing.T, node string) place { return place{dir: filepath.Join(node, "storage")} }},
		{"mounts of directories", onMountOf(harness.File)},
		{"mounts of MinIO", onMountOf(harness.MinIO)},
		{"mounts of Swift", onMountOf(harness.Swift)},
		{"directories that they mount", func(t *testing.T, node string) place {
			store := harness.NewStore(t, harness.File)
			return place{filepath.Join(node, "mount"), []string{"--store", store.URL}, store, func() {}} // the node does, at its end
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			began := time.Now()
			g := &grid{t: t, base: t.TempDir()}
			var announcements []string
			var nodes []*serving
			for _, name := range []string{"a", "b", "c"} {
				dir := filepath.Join(g.base, name)
				p := tc.place(t, dir)
				s := newServing(t, dir, append(p.args, "--location", "127.0.0.1:"+freePort(t), "--nickname", name)...)
				g.places, nodes = append(g.places, p), append(nodes, s)
				announcements = append(announcements, s.announcement)
			}
			g.client = newClient(t, root, g.base, announcements...)
			g.client.start()
			g.use()
			g.renew()
			g.repair()
			g.client.end()
			for n, p := range g.places {
				shares := g.shares(p)
				nodes[n].stop()
				p.stored(t, shares)
			}
			soak.Record(t, "seconds", fmt.Sprintf("%.0f", time.Since(began).Seconds()))
		})
	}
}

func onMountOf(kind harness.Kind) func(t *testing.T, node string) place {
	return func(t *testing.T, _ string) place {
		m := harness.PrepareMount(t, harness.NewStore(t, kind), "--profile", "tahoe")
		m.Patience = time.Hour
		if err := m.TryMount(); err != nil {
			t.Fatal(err)
		}
		return place{m.Dir, []string{"--store", m.Dir}, m.Store, m.Flush}
	}
}

// stored waits until all shares of the directory are in the store: the listing of Swift may be late.
func (p place) stored(t *testing.T, shares []string) {
	t.Helper()
	if p.store == nil {
		return
	}
	p.flush()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		stored := sharesIn(p.store.Keys(t))
		if slices.Equal(stored, shares) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("the store has\n%q\nand the directory had\n%q", stored, shares)
			return
		}
	}
}

// grid is a client with its servers.
type grid struct {
	t      *testing.T
	base   string // /mnt for the client
	client *node
	places []place // of the servers
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
	g.client.awaitConnected(len(g.places))
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
		g.change(format)
	}
}

// slotCap is the capability of a mutable file: URI:SSK: is of SDMF.
var slotCap = regexp.MustCompile(`URI:(?:SSK|MDMF):\S+`)

// change makes a mutable file and updates it, larger and smaller. It stays the same file.
func (g *grid) change(format string) {
	g.t.Helper()
	remote := "g:" + format
	made := slotCap.FindString(g.tahoe("put", "--format="+format, g.file("first", 5000), remote))
	if mdmf := strings.HasPrefix(made, "URI:MDMF:"); made == "" || mdmf != (format == "mdmf") {
		g.t.Errorf("%s has the capability %q", remote, made)
	}
	for _, size := range []int{300_000, 1234} {
		if updated := slotCap.FindString(g.tahoe("put", g.file("next", size), remote)); updated != made {
			g.t.Errorf("%s is updated, and has the capability %q instead of %q", remote, updated, made)
		}
		g.same(remote, "/mnt/next")
	}
}

var checked = regexp.MustCompile(`done: (\d+) objects checked`)

// deepCheck checks everything that the alias leads to. What is said has a text.
func (g *grid) deepCheck(want string, args ...string) {
	g.t.Helper()
	out := g.tahoe(append([]string{"deep-check"}, append(args, "g:")...)...)
	if m := checked.FindStringSubmatch(out); m == nil || m[1] != fmt.Sprint(objects) {
		g.t.Errorf("deep-check says %q, want %d objects", out, objects)
	}
	if !strings.Contains(out, want) {
		g.t.Errorf("deep-check %q says %q, want %q", args, out, want)
	}
}

// What deep-check says.
var (
	healthy  = fmt.Sprintf("%d healthy, 0 unhealthy", objects)
	degraded = fmt.Sprintf("0 healthy, %d unhealthy", objects)
	repaired = fmt.Sprintf("%d repairs attempted, %[1]d successful, 0 failed", objects)
)

// renew checks everything and renews the leases of all shares.
func (g *grid) renew() {
	g.t.Helper()
	began := time.Now().Truncate(time.Second) // as leases have it
	g.deepCheck(healthy, "--verify", "--add-lease")
	for _, p := range g.places {
		for _, name := range g.shares(p) {
			file := filepath.Join(p.dir, name)
			if renewed := g.renewed(file); renewed.Before(began) {
				g.t.Errorf("the leases of %s were renewed %v, want after %v", file, renewed, began)
			}
		}
	}
}

// shares returns the names of a server's shares below its directory, in order. It has one of each object at least: where a client repairs
// a file it may send a server one that another has too.
func (g *grid) shares(p place) []string {
	g.t.Helper()
	names, err := fs.Glob(os.DirFS(p.dir), "shares/??/*/*")
	g.client.check(err)
	indexes := map[string]bool{}
	for _, name := range names {
		indexes[path.Dir(name)] = true
	}
	if len(indexes) != objects {
		g.t.Errorf("%s has shares of %d objects, want %d: %q", p.dir, len(indexes), objects, names)
	}
	return names
}

// renewed returns when the newest lease of a share was made or renewed.
func (g *grid) renewed(file string) (newest time.Time) {
	g.t.Helper()
	f, err := os.Open(file)
	g.client.check(err)
	defer f.Close()
	fi, err := f.Stat()
	g.client.check(err)
	c, err := container.Open(file, f, fi.Size())
	g.client.check(err)
	leases, err := c.Leases()
	g.client.check(err)
	for _, l := range leases {
		if l.Renewed().After(newest) {
			newest = l.Renewed()
		}
	}
	return newest
}

// repair loses all shares of one server, and has the client make them again.
func (g *grid) repair() {
	g.t.Helper()
	lost := g.places[0]
	for _, name := range g.shares(lost) {
		g.client.check(os.RemoveAll(filepath.Join(lost.dir, path.Dir(name))))
	}
	g.deepCheck(degraded)
	g.deepCheck(repaired, "--verify", "--repair")
	g.deepCheck(healthy, "--verify")
	g.shares(lost)
	g.same("g:large", "/mnt/large")
}

package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"sharefs/test/harness"
	"sharefs/test/servers"
	"sharefs/test/soak"
)

// copied is what sharefs copy tells of itself.
type copied struct {
	Complete bool
	Copied   count
	Same     count
	Failed   int64
	Failures []struct{ Key, Error string }
	Seconds  float64
	Error    string
}

type count struct{ Objects, Bytes int64 }

// copying is a sharefs copy that runs.
type copying struct {
	t         *testing.T
	cmd       *exec.Cmd
	out, errs bytes.Buffer
	ended     chan struct{}
}

// patience is how long a copy may take: the long one goes to a Swift of one process.
const patience = 30 * time.Minute

// startCopy runs sharefs copy.
func startCopy(t *testing.T, u *harness.User, from, to *harness.Store, more ...string) *copying {
	t.Helper()
	c := &copying{t: t, cmd: u.Command(append([]string{"copy", "--json", from.URL, to.URL}, more...)...), ended: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.errs
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = c.cmd.Wait() // the exit code tells
		close(c.ended)
	}()
	t.Cleanup(func() { c.signal(unix.SIGKILL) })
	return c
}

// signal sends a signal to a copy, if it runs, and waits for its end.
func (c *copying) signal(s syscall.Signal) {
	_ = c.cmd.Process.Signal(s) // it may have ended
	c.wait()
}

func (c *copying) wait() {
	select {
	case <-c.ended:
	case <-time.After(patience):
		c.t.Errorf("the copy does not end: %s", &c.errs)
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
}

// result waits for the end of a copy, which must be with the exit code.
func (c *copying) result(code int) copied {
	c.t.Helper()
	var r copied
	if got := c.exit(); got != code {
		c.t.Fatalf("exit code %d, want %d: %s%s", got, code, &c.out, &c.errs)
	}
	if err := json.Unmarshal(c.out.Bytes(), &r); err != nil {
		c.t.Fatalf("%v in %s", err, &c.out)
	}
	return r
}

// exit waits for the end of a copy and returns the exit code.
func (c *copying) exit() int {
	c.wait()
	return c.cmd.ProcessState.ExitCode()
}

// stuckAt waits until the proxy holds a request up, as it was told to by Break, and the copy with it.
func (c *copying) stuckAt(p *servers.ReverseProxy) {
	c.t.Helper()
	for end := time.Now().Add(patience); p.Broken()[servers.StallFor] == 0; time.Sleep(20 * time.Millisecond) {
		select {
		case <-c.ended:
			c.t.Fatalf("the copy has ended before: %s%s", &c.out, &c.errs)
		default:
		}
		if time.Now().After(end) {
			c.t.Fatalf("no request was held up within %v", patience)
		}
	}
}

// holdUp lets every n-th request of a kind wait for longer than anything here.
func holdUp(p *servers.ReverseProxy, kind servers.Request, n int) {
	p.Break(1, servers.Fault{Effects: []servers.Effect{servers.StallFor}, Kinds: []servers.Request{kind}, Every: n, Stall: time.Hour})
}

// fillSource makes a tree of all kinds of things below a mount.
func fillSource(t *testing.T, m *harness.Mount, files int) {
	t.Helper()
	dir := t.TempDir()
	copySource(t, filepath.Join(dir, "source"), files)
	harness.Script(t, dir, `
head -c 20000000 /dev/urandom >big                  # in parts
: >empty
ln -s source/README dangling
ln -s big link
ln -s link 'a link with spaces'
mkdir -p deep/er/empty deep/private 'dir with spaces'
chmod 700 deep/private; chmod 2775 deep
for name in 'plus+percent%20' 'a%01' 'ünïcödé-名前' "quote'\"s" '&<>?#;*|\' '.hidden' '-dash' "$(printf 'control\001and\011tab')" "$(printf 'not\377utf8')" 'dir with spaces/and a file'; do
	printf %s "$name" >"$name"
done
chmod 4755 big; chmod 000 -- -dash; chmod 604 empty
touch -d '2001-02-03 04:05:06.123456789' big
setfattr -n user.comment -v 'a value' big; setfattr -n user.bytes -v 0x00ff deep/private
`)
	if os.Geteuid() == 0 {
		harness.Run(t, dir, "chown", "-h", "1234:5678", "big", "deep/private", "link")
	}
	harness.Run(t, "/", "cp", "-a", dir+"/.", m.Dir)
}

// mustBeAlike compares mounts of two stores, with all that their tools tell.
func mustBeAlike(t *testing.T, want, got *harness.Mount) {
	t.Helper()
	harness.Run(t, "/", "diff", "-r", "--no-dereference", want.Dir, got.Dir)
	harness.MustEqual(t, "the copy", harness.ReadTree(t, want.Dir), harness.ReadTree(t, got.Dir))
	for _, script := range []string{
		`find . -mindepth 1 -printf '%p %M %U %G\n' | sort`,
		`find . -mindepth 1 -print0 | sort -z | xargs -0 getfattr --absolute-names -hd -m '^user\.' -e hex`,
	} {
		if w, g := harness.Script(t, want.Dir, script), harness.Script(t, got.Dir, script); w != g {
			t.Errorf("%s says\n%s\nand of the copy\n%s", script, w, g)
		}
	}
}

func TestACopyThatIsKilledGoesOn(t *testing.T) {
	t.Parallel()
	from, to := harness.NewStore(t, harness.File), harness.NewStore(t, harness.InsteadOf(harness.MinIO))
	source := harness.NewMount(t, from)
	fillSource(t, source, 40)
	source.Unmount()
	all := int64(len(harness.ReadTree(t, from.Dir))) - ownEntries(t, from.Dir)

	behind, proxy := to.Behind(t)
	u := harness.NewUser(t, to)
	holdUp(proxy, servers.PutPart, 2)
	c := startCopy(t, u, from, behind)
	c.stuckAt(proxy)
	c.signal(unix.SIGKILL)
	if n := to.Uploads(t, ""); n != 1 {
		t.Errorf("the killed copy has left %d uploads in parts, want 1", n)
	}
	if err := harness.PrepareMount(t, to).TryMount(); err == nil || !strings.Contains(err.Error(), "the store is in use") {
		t.Errorf("a mount of what is half copied: %v", err)
	}

	holdUp(proxy, servers.Put, 30)
	c = startCopy(t, u, from, behind, "--parallel=4")
	c.stuckAt(proxy)
	_ = c.cmd.Process.Signal(unix.SIGINT)
	if r := c.result(5); r.Complete || r.Error == "" || r.Copied.Objects < 20 {
		t.Errorf("interrupted: %+v", r)
	}
	if text := c.errs.String(); !strings.Contains(text, "the same command goes on from there") {
		t.Error(text)
	}

	proxy.Break(0)
	r := startCopy(t, u, from, behind, "--verify=read").result(0)
	if !r.Complete || r.Same.Objects < 20 || r.Copied.Objects == 0 || r.Same.Objects+r.Copied.Objects != all {
		t.Errorf("the source has %d objects: %+v", all, r)
	}
	if n := to.Uploads(t, ""); n != 0 {
		t.Errorf("%d uploads in parts are left", n)
	}
	if r := startCopy(t, u, from, to).result(0); r.Same.Objects != all || r.Copied.Objects != 0 {
		t.Errorf("once more: %+v", r)
	}
	source.Remount()
	mustBeAlike(t, source, harness.NewMount(t, to))
}

func TestACopyWhoseStoreIsTakenOverStops(t *testing.T) {
	t.Parallel()
	from, to := harness.NewStore(t, harness.File), harness.NewStore(t, harness.InsteadOf(harness.MinIO))
	copySource(t, from.Dir, 60)
	behind, proxy := to.Behind(t)
	holdUp(proxy, servers.Put, 30)
	times := "SHAREFS_TEST_CLAIM=1s,30s,40s"
	if settles(to) {
		times = shortClaim(to)
	}
	c := startCopy(t, harness.NewUser(t, to).With(times), from, behind)
	c.stuckAt(proxy)
	m := harness.PrepareMount(t, to)
	m.Env = []string{times}
	if err := m.TryMount("--take-over", "--force"); err != nil {
		t.Fatal(err)
	}
	if r := c.result(5); r.Complete || !strings.Contains(r.Error, "has taken it over") {
		t.Errorf("%+v", r)
	}
	if r := startCopy(t, harness.NewUser(t, to).With(times), from, to).exit(); r != 6 {
		t.Errorf("a copy to a store that is mounted ends with %d", r)
	}
}

// ownEntries is how many entries of a directory are sharefs's own.
func ownEntries(t *testing.T, dir string) (n int64) {
	t.Helper()
	for path := range harness.ReadTree(t, dir) {
		if path == ".sharefs" || strings.HasPrefix(path, ".sharefs/") {
			n++
		}
	}
	return n
}

// TestSoakADirectoryMovesFromStoreToStore leaves a disk for MinIO, and MinIO for Swift, and is killed twice on the first way.
func TestSoakADirectoryMovesFromStoreToStore(t *testing.T) {
	t.Parallel()
	files := soak.Count(60, 5000)
	var stores []*harness.Store
	for _, kind := range []harness.Kind{harness.File, harness.MinIO, harness.Swift} {
		stores = append(stores, harness.NewStore(t, kind))
	}
	fillDirectory(t, stores[0].Dir, files)
	source := harness.NewMount(t, stores[0])
	addOdd(t, source.Dir)
	source.Unmount()
	all := int64(len(harness.ReadTree(t, stores[0].Dir))) - ownEntries(t, stores[0].Dir)
	u := harness.NewUser(t, stores...)

	behind, proxy := stores[1].Behind(t)
	for range 2 {
		holdUp(proxy, servers.Put, files/3)
		c := startCopy(t, u, stores[0], behind, "--parallel=4")
		c.stuckAt(proxy)
		c.signal(unix.SIGKILL)
	}
	proxy.Break(0)
	from := stores[0]
	for _, to := range []*harness.Store{behind, stores[2]} {
		r := startCopy(t, u, from, to).result(0)
		if r.Same.Objects+r.Copied.Objects != all || to == behind && r.Same.Objects < int64(files/3) {
			t.Errorf("to %s: %+v, want %d objects", to.Kind, r, all)
		}
		soak.Record(t, fmt.Sprintf("from %s to %s: objects there already, copied, MiB, seconds", from.Kind, to.Kind),
			fmt.Sprintf("%d, %d, %.1f, %.1f", r.Same.Objects, r.Copied.Objects, float64(r.Copied.Bytes)/(1<<20), r.Seconds))
		from = to
	}
	source.Patience = time.Hour
	source.Remount()
	for _, s := range stores[1:] {
		m := harness.PrepareMount(t, s)
		m.Patience = time.Hour
		if err := m.TryMount(); err != nil {
			t.Fatal(err)
		}
		warm(t, m.Dir)
		mustBeAlike(t, source, m)
		m.Unmount()
	}
	soak.Record(t, "kills survived", 2)
}

// warm reads all files below a directory, many at a time, so that the programs that look at them afterwards find them in the
// cache: a Swift of one process takes minutes for thousands that are read one after the other.
func warm(t *testing.T, dir string) {
	t.Helper()
	g := errgroup.Group{}
	g.SetLimit(32)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			g.Go(func() error {
				_, err := os.ReadFile(path)
				return err
			})
		}
		return err
	})
	if err := errors.Join(err, g.Wait()); err != nil {
		t.Fatal(err)
	}
}

// fillDirectory makes a directory as a server that keeps files has made it.
func fillDirectory(t *testing.T, dir string, files int) {
	t.Helper()
	const perBucket = 10
	copySource(t, filepath.Join(dir, "source"), files/2)
	for i := range files - files/2 {
		name := filepath.Join(dir, "shares", fmt.Sprintf("%02d", i/perBucket%100), fmt.Sprintf("%06d", i/perBucket), fmt.Sprint(i%perBucket))
		if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, step{Seed: uint64(i), Size: i * 7 % 9000}.bytes(), 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

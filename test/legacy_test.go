package test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sharefs/test/harness"
	"sharefs/test/servers"
)

// daemon is a server program that listens on an address of this machine and keeps its files in a mount.
type daemon struct {
	t    *testing.T
	addr string
	cmd  *exec.Cmd
	log  bytes.Buffer
	done chan struct{}
}

// start starts a server program and waits until it accepts connections. It ends with the test, or by stop.
func start(t *testing.T, addr, name string, args ...string) *daemon {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("the program %s is missing: test/setup.sh installs it (%v)", name, err)
	}
	d := &daemon{t: t, addr: addr, cmd: exec.Command(path, args...), done: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.done)
		_ = d.cmd.Wait() // it is ended by a signal
	}()
	t.Cleanup(d.stop)
	await(t, name+" to listen", func() bool {
		select {
		case <-d.done:
			t.Fatalf("%s has ended: %s", name, &d.log)
		default:
		}
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return d
}

// stop ends the server and waits for its end.
func (d *daemon) stop() {
	_ = d.cmd.Process.Signal(os.Interrupt) // it may have ended already
	select {
	case <-d.done:
	case <-time.After(busy):
		_ = d.cmd.Process.Kill()
		<-d.done
	}
}

// freeAddr returns an address of 127.0.0.1 to listen on, and its port.
func freeAddr(t *testing.T) (addr, port string) {
	t.Helper()
	addr, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ = strings.Cut(addr, ":")
	return addr, port
}

// again mounts with an empty cache what a mount has stored, and compares.
func again(t *testing.T, m *harness.Mount) {
	t.Helper()
	want := harness.ReadTree(t, m.Dir)
	m.Unmount()
	m.RemountEmpty()
	harness.MustEqual(t, "after a remount with an empty cache", want, harness.ReadTree(t, m.Dir))
}

// TestAMailDeliveryAgentFillsAMaildir delivers with procmail, which is of another group than the mount's, many messages at once.
func TestAMailDeliveryAgentFillsAMaildir(t *testing.T) {
	t.Parallel()
	const messages = 20
	s := harness.NewStore(t, harness.InsteadOf(harness.MinIO))
	m := harness.NewMount(t, s, "--allow-other")
	dir := t.TempDir()
	harness.Script(t, dir, `
		echo "DEFAULT=$1/" >rc
		mkdir -p $1/tmp $1/new $1/cur
		deliver() { printf 'From: a@example.org\nSubject: message %s\n\nbody %s\n' $1 $1 | procmail -m ./rc; }
		for n in $(seq $2); do deliver $n & done
		for job in $(jobs -p); do wait $job; done`, m.Path("Maildir"), fmt.Sprint(messages))
	m.Flush()
	found := map[string]bool{}
	for key, body := range s.Contents(t) {
		if filepath.Dir(key) != "Maildir/new" {
			t.Errorf("the bucket has %s", key)
		}
		found[string(body)] = true
	}
	for n := 1; n <= messages; n++ {
		if want := fmt.Sprintf("From: a@example.org\nSubject: message %d\n\nbody %d\n", n, n); !found[want] {
			t.Errorf("message %d is not in the bucket", n)
		}
	}
	again(t, m)
	// A reader takes one.
	harness.Script(t, m.Path("Maildir"), `first=$(ls new | head -n 1); mv new/$first cur/$first:2,S; rm new/*; test "$(ls cur new tmp | grep -c :2,S)" = 1`)
	m.Flush()
	if files := slices.Collect(maps.Keys(s.Contents(t))); len(files) != 1 || filepath.Dir(files[0]) != "Maildir/cur" {
		t.Errorf("after a message was read and the others were deleted the bucket has %q", files)
	}
}

const nginxConfig = `
daemon off; user root; worker_processes 2; pid %[1]s/pid; error_log stderr;
events {}
http {
	access_log off; sendfile on; if_modified_since before; client_max_body_size 0; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	types { text/html html; }
	server { listen %[2]s; root %[3]s; autoindex on; dav_methods PUT DELETE MKCOL MOVE; create_full_put_path on; }
}
`

// startNginx serves a mount.
func startNginx(t *testing.T, m *harness.Mount) *daemon {
	t.Helper()
	addr, _ := freeAddr(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, addr, m.Dir), 0o644); err != nil {
		t.Fatal(err)
	}
	return start(t, addr, "nginx", "-e", "stderr", "-p", dir, "-c", config)
}

// ask sends a request and returns the status and the body of the answer.
func (d *daemon) ask(method, path string, body []byte, headers map[string]string) (int, []byte) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, "http://"+d.addr+path, bytes.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return res.StatusCode, answer
}

// TestNginxServesAMount asks for whole files and ranges, and stores, moves and deletes some.
func TestNginxServesAMount(t *testing.T) {
	t.Parallel()
	s := harness.NewStore(t, harness.InsteadOf(harness.MinIO))
	m := harness.NewMount(t, s)
	big, put := step{Seed: 1, Size: 12<<20 + 5}.bytes(), step{Seed: 2, Size: 3 << 20}.bytes()
	if err := os.WriteFile(m.Path("big"), big, 0o644); err != nil {
		t.Fatal(err)
	}
	harness.Script(t, m.Dir, "mkdir dir; echo hello >dir/index.html; mkdir listed; touch listed/one listed/two")
	d := startNginx(t, m)
	check := func(method, path string, body []byte, headers map[string]string, want int, holds []byte) {
		t.Helper()
		status, got := d.ask(method, path, body, headers)
		if status != want || holds != nil && !bytes.Equal(got, holds) {
			t.Errorf("%s %s: status %d and %d bytes, want %d and %d: %.200s", method, path, status, len(got), want, len(holds), &d.log)
		}
	}
	look := func() {
		t.Helper()
		check("GET", "/big", nil, nil, 200, big)
		check("GET", "/big", nil, map[string]string{"Range": "bytes=5000000-5000099"}, 206, big[5_000_000:5_000_100])
		check("GET", "/big", nil, map[string]string{"If-Modified-Since": time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}, 304, nil)
		check("GET", "/dir/", nil, nil, 200, []byte("hello\n"))
		check("GET", "/nothing", nil, nil, 404, nil)
		if _, list := d.ask("GET", "/listed/", nil, nil); !bytes.Contains(list, []byte(">one<")) || !bytes.Contains(list, []byte(">two<")) {
			t.Errorf("the listing is %s", list)
		}
	}
	look()
	check("PUT", "/new/put", put, nil, 201, nil)
	check("PUT", "/new/put", put[1:], nil, 204, nil)
	check("GET", "/new/put", nil, nil, 200, put[1:])
	check("MOVE", "/new/put", nil, map[string]string{"Destination": "http://" + d.addr + "/new/moved"}, 204, nil)
	check("PUT", "/new/gone", put, nil, 201, nil)
	check("DELETE", "/new/gone", nil, nil, 204, nil)
	d.stop()
	m.Flush()
	if files := slices.Sorted(maps.Keys(s.Contents(t))); strings.Join(files, " ") != "big dir/index.html listed/one listed/two new/moved" {
		t.Errorf("the bucket has %q", files)
	}
	if !bytes.Equal(s.Object(t, "new/moved").Body, put[1:]) {
		t.Error("what was put and moved has other content in the bucket")
	}
	again(t, m)
	d = startNginx(t, m)
	look()
	check("GET", "/new/moved", nil, nil, 200, put[1:])
	d.stop()
}

const rsyncConfig = `
use chroot = no
uid = root
gid = root
pid file = %[1]s/pid
lock file = %[1]s/lock
[module]
path = %[2]s
read only = no
munge symlinks = no
`

// TestAnRsyncDaemonKeepsItsModuleInAMount pushes a tree, pushes it again after changes, and pulls it.
func TestAnRsyncDaemonKeepsItsModuleInAMount(t *testing.T) {
	t.Parallel()
	s := harness.NewStore(t, harness.InsteadOf(harness.MinIO))
	m := harness.NewMount(t, s)
	source := sharedTree(t)
	work := t.TempDir()
	config := filepath.Join(work, "rsyncd.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, rsyncConfig, work, m.Dir), 0o644); err != nil {
		t.Fatal(err)
	}
	serve := func() (*daemon, string) {
		addr, port := freeAddr(t)
		return start(t, addr, "rsync", "--daemon", "--no-detach", "--address=127.0.0.1", "--port="+port, "--config="+config),
			"rsync://" + addr + "/module"
	}
	d, url := serve()
	push := func(what string) {
		t.Helper()
		harness.Run(t, source, "rsync", "-a", "--delete", "--checksum", "./", url+"/tree/")
		harness.MustEqual(t, what, harness.ReadTree(t, source), harness.ReadTree(t, m.Path("tree")))
	}
	push("the first push")
	harness.Script(t, source, "ln -s big link; mv 'name with spaces' renamed; rm plus*; printf changed | dd of=big bs=1 seek=3000000 conv=notrunc status=none; chmod 600 empty")
	push("the second push")
	m.Flush()
	harness.MustEqual(t, "the bucket", harness.ReadTree(t, m.Dir), s.Tree(t), harness.EmptyDirectories, harness.DirectoryModes)
	d.stop()
	again(t, m)
	d, url = serve()
	harness.Run(t, work, "rsync", "-a", url+"/tree/", "pulled/")
	harness.MustEqual(t, "a pull after a remount", harness.ReadTree(t, source), harness.ReadTree(t, filepath.Join(work, "pulled")))
	d.stop()
}

// TestAGitServerKeepsItsRepositoriesInAMount pushes to a bare repository, collects its garbage, clones it and checks it.
func TestAGitServerKeepsItsRepositoriesInAMount(t *testing.T) {
	t.Parallel()
	s := harness.NewStore(t, harness.InsteadOf(harness.MinIO))
	m := harness.NewMount(t, s)
	serve := func() (*daemon, string) {
		addr, port := freeAddr(t)
		return start(t, addr, "git", "daemon", "--listen=127.0.0.1", "--port="+port, "--reuseaddr", "--export-all",
			"--enable=receive-pack", "--base-path="+m.Dir, m.Dir), "git://" + addr + "/repo.git"
	}
	harness.Script(t, m.Dir, "git init --quiet --bare repo.git")
	d, url := serve()
	work := t.TempDir()
	copySource(t, filepath.Join(work, "source"), 200)
	harness.Script(t, filepath.Join(work, "source"), `
		git init --quiet --initial-branch=main; git add .; git commit --quiet -m one; git push --quiet $1 main
		for n in 1 2 3 4 5; do echo $n >file; git add file; git commit --quiet -m $n; git push --quiet $1 main; done
		git tag v1; git push --quiet $1 v1; git checkout --quiet -b side HEAD~2; echo side >side; git add side; git commit --quiet -m side
		git push --quiet $1 side; git push --quiet $1 :v1
		git clone --quiet --branch main $1 ../clone; git -C ../clone fsck --full --strict; diff -r --exclude=.git <(git ls-tree -r main) <(git -C ../clone ls-tree -r main)`, url)
	harness.Script(t, m.Path("repo.git"), "git symbolic-ref HEAD refs/heads/main; git fsck --full --strict; git gc --quiet --prune=now; git fsck --full --strict")
	harness.Script(t, filepath.Join(work, "source"), "echo after >>file; git add file; git commit --quiet -m after; git push --quiet $1 side", url)
	d.stop()
	m.Flush()
	again(t, m)
	d, url = serve()
	harness.Script(t, work, `
		git clone --quiet --mirror $1 second; git -C second fsck --full --strict
		test "$(git -C second rev-parse main side)" = "$(git -C source rev-parse main side)"`, url)
	d.stop()
	m.Unmount()
	// The repository as it lies in the bucket, without sharefs.
	copied := filepath.Join(work, "copied")
	for key, body := range s.Contents(t) {
		path := filepath.Join(copied, key)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	harness.Script(t, copied, "cd repo.git; mkdir -p refs objects; git fsck --full --strict")
}

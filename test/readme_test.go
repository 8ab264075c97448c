package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"sharefs/test/harness"
	"sharefs/test/servers"
)

// tried finds the blocks that are to be copied: each has a comment before it that says what it is tried with.
var tried = regexp.MustCompile("(?ms)^<!-- tried: ([a-z]+) -->\n```[a-z]*\n(.*?)^```\n")

// docBlocks returns the blocks of the documents by their names.
func docBlocks(t *testing.T) map[string]string {
	t.Helper()
	blocks := map[string]string{}
	for _, name := range []string{"../README.md", "../docs/operations.md"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range tried.FindAllStringSubmatch(string(text), -1) {
			if _, ok := blocks[m[1]]; ok {
				t.Errorf("two blocks are called %s", m[1])
			}
			blocks[m[1]] = m[2]
		}
	}
	return blocks
}

// TestTheLinesToCopyWork runs the lines that README.md and docs/operations.md tell to copy against servers on this machine.
// Only names, addresses and credentials are put in for those of the documents.
func TestTheLinesToCopyWork(t *testing.T) {
	blocks := docBlocks(t)
	use := func(name string) string {
		text, ok := blocks[name]
		if !ok {
			t.Fatalf("no document has the block %q", name)
		}
		delete(blocks, name)
		return text
	}
	minio := servers.MinIO(t)
	t.Run("aws", func(t *testing.T) { tryS3(t, minio, use("aws"), "eu-central-1", "shares/") })
	t.Run("minio", func(t *testing.T) { tryS3(t, minio, use("minio"), "http://127.0.0.1:9000", "") })
	keystone, swift, openrc := use("keystone"), use("swift"), use("openrc")
	t.Run("swift", func(t *testing.T) {
		s := servers.Swift(t, servers.SwiftOptions{})
		t.Run("openrc", func(t *testing.T) { tryOpenrc(t, s, openrc) })
		t.Run("keystone", func(t *testing.T) {
			t.Parallel()
			tryKeystone(t, s, keystone)
		})
		t.Run("v1", func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.trySwift(t, s, with(t, swift, "https://auth.example.org/v1.0", s.Auth, "my-account:me", s.User, "KEY=...", "KEY="+s.Key))
		})
	})
	config, secrets := use("config"), use("secrets")
	named, unit, fstab := use("named"), use("systemd"), use("fstab")
	t.Run("named", func(t *testing.T) {
		d := newDesk(t)
		d.env = append(d.env, "AWS_ENDPOINT_URL_S3="+minio.Endpoint)
		d.names(minio, config, secrets)
		d.sh(named, "/srv/tahoe", d.mnt)
		t.Run("systemd", func(t *testing.T) { d.tryUnit(t, minio, unit) })
		t.Run("fstab", func(t *testing.T) { d.tryFstab(t, minio, fstab) })
	})
	for name := range blocks {
		t.Errorf("the block %q is not tried", name)
	}
}

// desk is where somebody sits who copies lines: a home directory, a mountpoint, and sharefs in the PATH.
type desk struct {
	t      *testing.T
	base   string
	mnt    string
	bucket string
	env    []string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, base: t.TempDir(), bucket: "b" + strings.ToLower(rand.Text()[:12])}
	d.mnt = filepath.Join(d.base, "mnt")
	bin := filepath.Join(d.base, "bin")
	err := errors.Join(os.Mkdir(d.mnt, 0o755), os.Mkdir(bin, 0o755),
		os.Symlink(harness.Binary(t), filepath.Join(bin, "sharefs")), os.Symlink(harness.Binary(t), filepath.Join(bin, "mount.sharefs")))
	if err != nil {
		t.Fatal(err)
	}
	d.env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + d.base, "XDG_RUNTIME_DIR=" + d.base, "XDG_CACHE_HOME=" + d.base + "/cache",
		"XDG_STATE_HOME=" + d.base + "/state", "XDG_CONFIG_HOME=" + d.base + "/config", "AWS_EC2_METADATA_DISABLED=true"}
	t.Cleanup(d.clean)
	return d
}

// with puts values in for those of a document, in pairs. Each must be there.
func with(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for pair := range slices.Chunk(pairs, 2) {
		if !strings.Contains(text, pair[0]) {
			t.Fatalf("there is no %q in\n%s", pair[0], text)
		}
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	return text
}

// sh runs lines, with values put in. It ends at the first line that fails.
func (d *desk) sh(lines string, pairs ...string) string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 3*time.Minute)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "sh", "-euc", with(d.t, lines, pairs...))
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = d.base, d.env, &out, &out
	cmd.WaitDelay = time.Minute
	if err := cmd.Run(); err != nil {
		d.t.Fatalf("%v in\n%s\n%s", err, lines, &out)
	}
	return out.String()
}

// write writes a file through the mount.
func (d *desk) write(name string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.mnt, name), []byte("copied "+name), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// umount stores everything, and waits for the daemon, which is a child of this program.
func (d *desk) umount() {
	d.t.Helper()
	pid := d.pid()
	d.sh("sharefs umount MNT", "MNT", d.mnt)
	reap(d.t, pid)
}

// pid returns the daemon's.
func (d *desk) pid() int {
	d.t.Helper()
	var all struct{ Mounts []struct{ PID int } }
	if err := json.Unmarshal([]byte(d.sh("sharefs status --json MNT", "MNT", d.mnt)), &all); err != nil || len(all.Mounts) != 1 {
		d.t.Fatalf("%v, %+v", err, all)
	}
	return all.Mounts[0].PID
}

// reap waits for a child, which has been told to end. It may be reaped already.
func reap(t *testing.T, pid int) {
	t.Helper()
	for {
		_, err := syscall.Wait4(pid, nil, 0, nil)
		if !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}

// clean unmounts what a test that failed has left.
func (d *desk) clean() {
	if err := syscall.Unmount(d.mnt, syscall.MNT_DETACH); err == nil {
		d.t.Errorf("%s was still mounted", d.mnt)
	}
}

// allWell is what the lines print: of create, probe and status.
var allWell = []string{"is made\n", "delete    allowed\n", "claim     held"}

// tryS3 runs the lines for a server of S3. where is what the lines have of the server.
func tryS3(t *testing.T, s *servers.Server, lines, where, prefix string) {
	d := newDesk(t)
	is := s.Endpoint
	if !strings.Contains(where, "//") { // a region, of Amazon's
		is = s.Region
		d.env = append(d.env, "AWS_ENDPOINT_URL_S3="+s.Endpoint)
	}
	out := d.sh(lines, "my-bucket", d.bucket, where, is, "/srv/shares", d.mnt, "KEY_ID=...", "KEY_ID="+s.AccessKey, "ACCESS_KEY=...", "ACCESS_KEY="+s.SecretKey)
	for _, says := range allWell {
		if !strings.Contains(out, says) {
			t.Errorf("no %q in\n%s", says, out)
		}
	}
	d.write("file")
	d.umount()
	d.stored(t, s, prefix+"file")
}

func tryKeystone(t *testing.T, s *servers.SwiftServer, lines string) {
	k := s.Keystone(t)
	d := newDesk(t)
	d.trySwift(t, s, with(t, lines, "https://keystone.example.org:5000/v3", k.URL, "RegionOne", k.Region, "my-project", k.Project,
		"OS_USERNAME=me", "OS_USERNAME="+k.User, "PASSWORD=...", "PASSWORD="+k.Password, "Default", k.Domain))
}

// tryOpenrc has the secrets of a named store in Swift in a file, which is wrong for a while under the mount.
func tryOpenrc(t *testing.T, s *servers.SwiftServer, openrc string) {
	k := s.Keystone(t)
	d := newDesk(t)
	good := with(t, openrc, "https://keystone.example.org:5000/v3", k.URL, "RegionOne", k.Region, "my-project", k.Project,
		`"me"`, k.User, "PASSWORD=...", "PASSWORD="+k.Password, "Default", k.Domain)
	env := filepath.Join(d.base, "shares.env")
	secrets := func(text string) {
		t.Helper()
		if err := os.WriteFile(env, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secrets(good)
	d.config("[stores.shares]\nurl = \"swift://" + d.bucket + "\"\nsecrets = \"" + env + "\"\n")
	d.sh("sharefs create shares; sharefs mount shares MNT; ls MNT", "MNT", d.mnt)

	secrets(with(t, good, k.Password, "HUSH-this-is-wrong"))
	if err := s.ForgetTokens(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.write("kept")
	said := d.sh("! sync MNT/kept; ! sharefs doctor MNT; ! sharefs probe shares", "MNT", d.mnt)
	if !strings.Contains(said, "stuck     /kept: ") || strings.Count(said, "not authenticated") < 2 || strings.Contains(said, "HUSH") || strings.Contains(said, k.Password) {
		t.Errorf("with a wrong password:\n%s", said)
	}
	secrets(good)
	d.sh("sharefs flush MNT", "MNT", d.mnt)
	d.umount()
	d.sh("sharefs doctor shares")
}

// trySwift runs the lines for a Swift, with the login in them.
func (d *desk) trySwift(t *testing.T, s *servers.SwiftServer, lines string) {
	out := d.sh(lines, "my-container", d.bucket, "/srv/shares", d.mnt)
	for _, says := range allWell {
		if !strings.Contains(out, says) {
			t.Errorf("no %q in\n%s", says, out)
		}
	}
	d.write("file")
	d.umount()
	res, err := s.Do(t.Context(), servers.SwiftRequest{Method: "GET", Container: d.bucket, Key: "file"})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || string(text) != "copied file" {
		t.Errorf("%q, %v", text, err)
	}
}

// stored checks that an object is what write has written.
func (d *desk) stored(t *testing.T, s *servers.Server, key string) {
	t.Helper()
	out, err := s.Client().GetObject(t.Context(), &s3.GetObjectInput{Bucket: &d.bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	if text, err := io.ReadAll(out.Body); err != nil || string(text) != "copied "+filepath.Base(key) {
		t.Errorf("%q, %v", text, err)
	}
}

// names writes the config file and the secrets of the documents.
func (d *desk) names(s *servers.Server, config, secrets string) {
	d.t.Helper()
	env := filepath.Join(d.base, "shares.env")
	config = with(d.t, config, "my-bucket", d.bucket, "eu-central-1", s.Region, "/etc/sharefs/shares.env", env, `"50GiB"`, `"1GiB"`)
	secrets = with(d.t, secrets, "KEY_ID=...", "KEY_ID="+s.AccessKey, "ACCESS_KEY=...", "ACCESS_KEY="+s.SecretKey)
	d.config(config)
	if err := os.WriteFile(env, []byte(secrets), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// config writes the config file.
func (d *desk) config(text string) {
	d.t.Helper()
	dir := filepath.Join(d.base, "config", "sharefs")
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "config.toml"), []byte(text), 0o644)); err != nil {
		d.t.Fatal(err)
	}
}

// setting returns the value of a line NAME=VALUE of a unit.
func setting(t *testing.T, unit, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindStringSubmatch(unit)
	if m == nil {
		t.Fatalf("the unit has no %s", name)
	}
	return m[1]
}

// tryUnit does what systemd does with a unit: it starts the program, waits until it says that it is ready, and ends it by SIGTERM.
func (d *desk) tryUnit(t *testing.T, s *servers.Server, unit string) {
	if setting(t, unit, "Type") != "notify" {
		t.Fatal("it is tried with notify")
	}
	ready := notifySocket(t, d.base)
	line := with(t, setting(t, unit, "ExecStart"), "/usr/local/bin/sharefs", "exec sharefs", "/srv/tahoe", d.mnt)
	var out bytes.Buffer
	cmd := exec.Command("sh", "-euc", line)
	cmd.Dir, cmd.Stdout, cmd.Stderr = d.base, &out, &out
	cmd.Env = append(slices.Clone(d.env), "NOTIFY_SOCKET="+ready.name)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ready.ready:
	case err := <-ended:
		t.Fatalf("%s: %v\n%s", line, err, &out)
	}
	d.write("by-systemd")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatalf("%s: %v\n%s", line, err, &out)
	}
	d.stored(t, s, "shares/by-systemd")
}

// tryFstab does what mount(8) does with a line of fstab.
func (d *desk) tryFstab(t *testing.T, s *servers.Server, line string) {
	fields := strings.Fields(with(t, line, "/srv/tahoe", d.mnt))
	if len(fields) != 6 || fields[2] != "sharefs" {
		t.Fatalf("not a line for fstab: %q", line)
	}
	d.sh(fmt.Sprintf("mount.%s %s %s -n -o rw,%s", fields[2], fields[0], fields[1], fields[3]))
	d.write("by-fstab")
	pid := d.pid()
	d.sh("umount MNT", "MNT", d.mnt)
	reap(t, pid)
	d.stored(t, s, "shares/by-fstab")
}

// notified is the socket of a service manager.
type notified struct {
	name  string
	ready chan struct{} // closed when the service has said that it is ready
}

// notifySocket listens as sd_notify(3) describes it.
func notifySocket(t *testing.T, dir string) notified {
	t.Helper()
	n := notified{filepath.Join(dir, "notify"), make(chan struct{})}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		for told := make([]byte, 4096); ; {
			size, err := conn.Read(told)
			if err != nil {
				return
			}
			if bytes.HasPrefix(told[:size], []byte("READY=1")) {
				close(n.ready)
				return
			}
		}
	}()
	return n
}

package test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"sharefs/test/harness"
	"sharefs/test/servers"
	"sharefs/test/soak"
)

const mib = 1 << 20

// largeFile is a file of many parts, on a server behind a proxy that counts, and what it is to hold.
type largeFile struct {
	t     *testing.T
	mount *harness.Mount
	store *harness.Store
	proxy *servers.ReverseProxy
	name  string
	want  []byte
	seed  uint64
}

func newLargeFile(t *testing.T, kind harness.Kind, size int) *largeFile {
	t.Helper()
	s, proxy := harness.NewStore(t, kind).Behind(t)
	// A write-back delay that a busy machine does not outlast between the steps of one change.
	f := &largeFile{t: t, store: s, proxy: proxy, name: "large", want: step{Seed: 1, Size: size}.bytes()}
	f.mount = harness.NewMount(t, s, "--writeback", "5s", "--io-timeout", "5m")
	f.check(os.WriteFile(f.mount.Path(f.name), f.want, 0o644))
	f.mount.Flush()
	f.forget()
	return f
}

func (f *largeFile) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// forget mounts anew with an empty cache, and looks at the directory.
func (f *largeFile) forget() {
	f.t.Helper()
	f.mount.Unmount()
	f.mount.RemountEmpty()
	harness.Script(f.t, f.mount.Dir, "ls -l . >/dev/null")
}

// open opens the file for change, runs the change and closes it.
func (f *largeFile) open(change func(*os.File)) {
	f.t.Helper()
	file, err := os.OpenFile(f.mount.Path(f.name), os.O_RDWR, 0)
	f.check(err)
	change(file)
	f.check(file.Close())
}

// write writes n bytes to the open file and to what is wanted.
func (f *largeFile) write(file *os.File, off, n int) {
	f.t.Helper()
	f.seed++
	p := step{Seed: f.seed, Size: n}.bytes()
	if end := off + n; end > len(f.want) {
		f.want = append(f.want, make([]byte, end-len(f.want))...)
	}
	copy(f.want[off:], p)
	_, err := file.WriteAt(p, int64(off))
	f.check(err)
}

// counts returns what passed the proxy since the last time, and fails the test when more bytes were sent or received.
func (f *largeFile) counts(what string, sent, received int) servers.Counts {
	f.t.Helper()
	counts := f.proxy.Counts()
	f.proxy.Reset()
	total := counts.Total()
	// Beside the parts there are a few bytes of XML.
	if total.Sent > int64(sent)+64<<10 || counts[servers.Get].Received > int64(received) {
		f.t.Errorf("%s: %d bytes are sent and %d fetched, at most %d and %d are allowed: %v", what, total.Sent,
			counts[servers.Get].Received, sent, received, counts)
	}
	soak.Record(f.t, what+": bytes sent", total.Sent)
	return counts
}

// verify compares what a mount with an empty cache reads, and that no upload is left.
func (f *largeFile) verify(what string) {
	f.t.Helper()
	f.forget()
	if err := readBack(f.mount.Path(f.name), f.want); err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
	if left := f.store.Uploads(f.t, f.name); left > 0 {
		f.t.Errorf("%s: %d uploads are left", what, left)
	}
	f.forget()
	f.proxy.Reset()
}

// TestSoakASmallChangeOfALargeFileSendsItsPartOnly changes a file that is not local, in every way; the long one is of 1 GiB.
func TestSoakASmallChangeOfALargeFileSendsItsPartOnly(t *testing.T) {
	t.Parallel()
	for _, kind := range harness.Served() {
		t.Run(string(kind), func(t *testing.T) {
			if !soak.Long() { // two of the long ones want more memory than a small machine has
				t.Parallel()
			}
			smallChanges(t, newLargeFile(t, kind, kind.Count(40, 1024)*mib+12345))
		})
	}
}

func smallChanges(t *testing.T, f *largeFile) {
	// A change in the middle. What is fetched are the bytes of the part that is sent.
	f.proxy.Reset()
	f.open(func(file *os.File) { f.write(file, len(f.want)/2+4321, 72) })
	f.mount.Flush()
	f.counts("72 bytes in the middle", 5*mib, 5*mib)
	f.verify("a change in the middle")

	// A share's lease and its header. A write in a part that is not local fetches 1 MiB around it.
	f.open(func(file *os.File) {
		f.write(file, len(f.want)-72, 72)
		f.write(file, 8, 4)
	})
	f.mount.Flush()
	f.counts("a change at each end", 8*mib, 7*mib)
	f.verify("a change at each end")

	// Growth, and a cut.
	f.open(func(file *os.File) { f.write(file, len(f.want), 3*mib) })
	f.mount.Flush()
	f.counts("3 MiB appended", 4*mib, 2*mib)
	f.verify("growth")
	f.want = f.want[:len(f.want)-7*mib-999]
	f.check(os.Truncate(f.mount.Path(f.name), int64(len(f.want))))
	f.mount.Flush()
	f.counts("cut short", 5*mib, 6*mib)
	f.verify("a cut")

	// A file that is open, stored by fsync in the middle, twice, and renamed.
	f.open(func(file *os.File) {
		for i, what := range []string{"fsync", "the next fsync", "another fsync"} {
			f.write(file, (10+7*i)*mib, 100)
			f.check(file.Sync())
			f.counts(what, 5*mib, 6*mib)
		}
		f.name = "renamed"
		f.check(os.Rename(f.mount.Path("large"), f.mount.Path(f.name)))
		f.write(file, 3*mib, 72)
	})
	f.mount.Flush()
	if counts := f.counts("a change of a renamed file", 5*mib, 6*mib); counts[servers.Copy].Requests > 0 {
		t.Errorf("a rename with a change is more than one request: %v", counts)
	}
	f.verify("a rename with a change")
	if keys := f.store.Keys(t); len(keys) != 1 || keys[0] != "renamed" {
		t.Errorf("the bucket has %q", keys)
	}

	// What is dirty survives a killed daemon, of a file that is not local and of one that is wholly read.
	for _, what := range []string{"not local", "local"} {
		if what == "local" {
			f.check(readBack(f.mount.Path(f.name), f.want))
			f.proxy.Reset()
		}
		f.open(func(file *os.File) { f.write(file, 20*mib+77, 72) })
		f.mount.Kill()
		f.mount.Remount()
		f.mount.Flush()
		f.counts("a change before a kill, "+what, 5*mib, 6*mib)
		f.verify("a change before a kill, " + what)
	}
}

// TestALargeFileWhoseObjectWasChangedBehindIsNotMixed: another program replaces the object, or deletes it, while a change of
// its file waits. What is wholly local is stored as a whole; what is not stays, and is reported.
func TestALargeFileWhoseObjectWasChangedBehindIsNotMixed(t *testing.T) {
	t.Parallel()
	kind := harness.InsteadOf(harness.MinIO)
	theirs := step{Seed: 99, Size: 30 * mib}.bytes()
	if kind == harness.SwiftSmall {
		theirs = theirs[:harness.SmallObject] // as much as another program stores there in one request
	}
	for _, way := range []string{"replaced", "deleted"} {
		for _, local := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, local: %v", way, local), func(t *testing.T) {
				t.Parallel()
				f := newLargeFile(t, kind, 30*mib)
				if local {
					f.check(readBack(f.mount.Path(f.name), f.want))
				}
				f.open(func(file *os.File) { f.write(file, 12*mib, 72) })
				if way == "replaced" {
					f.store.Put(t, "large", theirs, nil)
				} else {
					f.store.Delete(t, f.name)
				}
				_, err := f.mount.Sharefs("flush", f.mount.Dir)
				if local {
					f.check(err)
					f.verify("the file")
					return
				}
				stuck := f.mount.Status().Stuck
				if err == nil || len(stuck) != 1 || stuck[0].Path != "/large" {
					t.Errorf("flush: %v; status: %+v", err, stuck)
				}
				if len(stuck) == 1 && !strings.Contains(stuck[0].Error, "another program") {
					t.Errorf("the status does not say why: %q", stuck[0].Error)
				}
				if way == "replaced" && !bytes.Equal(f.store.Object(t, "large").Body, theirs) {
					t.Error("the other program's object is replaced by a mixture")
				} else if way == "deleted" && len(f.store.Keys(t)) != 0 {
					t.Error("something is stored")
				}
				f.check(os.Remove(f.mount.Path(f.name))) // so that the mount can end
			})
		}
	}
}

// TestNoUploadInPartsIsLeftBehindByAKilledDaemon, whatever became of the file.
func TestNoUploadInPartsIsLeftBehindByAKilledDaemon(t *testing.T) {
	t.Parallel()
	for _, kind := range harness.Served() {
		for _, when := range []servers.Request{servers.CreateUpload, servers.PutPart, servers.CompleteUpload} {
			t.Run(fmt.Sprintf("%s, %s", kind, when), func(t *testing.T) {
				t.Parallel()
				s, proxy := harness.NewStore(t, kind).Behind(t)
				m := harness.NewMount(t, s, "--writeback", "100ms")
				proxy.Reset() // what the mount has tried is counted too
				body := step{Seed: 1, Size: 50 * mib}.bytes()
				if err := os.WriteFile(m.Path("big"), body, 0o644); err != nil {
					t.Fatal(err)
				}
				await(t, "the request", func() bool { return proxy.Counts()[when].Requests > 0 })
				m.Kill()
				m.Remount()
				if err := readBack(m.Path("big"), body); err != nil {
					t.Error(err)
				}
				m.Flush()
				if left := s.Uploads(t, "big"); left > 0 {
					t.Errorf("%d uploads are left", left)
				}
				if got := s.Object(t, "big").Body; !bytes.Equal(got, body) {
					t.Errorf("the bucket has %d bytes of %d, or others", len(got), len(body))
				}
			})
		}
	}
}

// TestAnUploadOfAFileThatIsGoneIsAborted: the daemon is killed during an upload, and the file is removed before the next one
// could store it.
func TestAnUploadOfAFileThatIsGoneIsAborted(t *testing.T) {
	t.Parallel()
	s, proxy := harness.NewStore(t, harness.InsteadOf(harness.MinIO)).Behind(t)
	m := harness.NewMount(t, s, "--writeback", "100ms")
	proxy.Reset()
	if err := os.WriteFile(m.Path("big"), step{Seed: 1, Size: 50 * mib}.bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	await(t, "bytes at the server", func() bool { return proxy.Counts()[servers.PutPart].Sent > 0 })
	proxy.Stall()
	m.Kill()
	if s.Uploads(t, "big") == 0 {
		t.Fatal("there is no upload to abort")
	}
	began := time.Now()
	proxy.Resume()
	m.Remount()
	if err := os.Remove(m.Path("big")); err != nil && err != syscall.ENOENT {
		t.Fatal(err)
	}
	await(t, "the end of the upload", func() bool { return s.Uploads(t, "big") == 0 })
	t.Logf("aborted %v after the mount", time.Since(began))
	m.Flush()
	if keys := s.Keys(t); len(keys) > 0 {
		t.Errorf("the bucket has %q", keys)
	}
}

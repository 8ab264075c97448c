package stage

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"hash/crc32"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestTheSidecarFormatStays holds a sidecar byte for byte: those of earlier programs must stay readable.
func TestTheSidecarFormatStays(t *testing.T) {
	s := openStore(t, t.TempDir())
	s.limits.smallFile = 0
	s.now = func() time.Time { return time.Unix(1_700_000_000, 5) }
	f, _ := adoptAbsent(t, s, 1, pattern(30, 100*page+1))
	if err := f.fillWindow(bg, window{3, 5}); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, f, make([]byte, 9*page), 16*page)
	if err := f.Truncate(bg, 90*page+7); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(s.mapPath(1))
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/sidecar-v1.hex"
	if *update {
		if err := os.WriteFile(golden, []byte(dump(got)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if dump(got) != string(want) {
		t.Errorf("the sidecar is\n%s\nwant\n%s", dump(got), want)
	}
}

// dump is hexdump -C without the lines of zeros.
func dump(p []byte) string {
	var b strings.Builder
	for _, line := range strings.SplitAfter(hex.Dump(p), "\n") {
		if !strings.Contains(line, strings.Repeat("00 ", 8)+" "+strings.Repeat("00 ", 8)) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestLoadRefusesASidecarThatItCannotTrust(t *testing.T) {
	tests := []struct {
		name   string
		damage func([]byte) []byte
		want   string
	}{
		{"empty", func([]byte) []byte { return nil }, "read the header"},
		{"cut short", func(p []byte) []byte { return p[:len(p)-1] }, "bytes long"},
		{"something else", func(p []byte) []byte { return bytes.Repeat([]byte("x"), len(p)) }, "not a sidecar"},
		{"a later version", func(p []byte) []byte {
			binary.LittleEndian.PutUint32(p[sideAtVersion:], 2)
			return p
		}, "version 2"},
		{"a flipped bit", func(p []byte) []byte {
			p[sideAtBaseSize] ^= 1
			return p
		}, "checksum"},
		{"another page size", func(p []byte) []byte {
			binary.LittleEndian.PutUint32(p[sideAtPageSize:], 8192)
			binary.LittleEndian.PutUint32(p[sideAtSum:], crc32.Checksum(p[:sideAtSum], castagnoli))
			return p
		}, "page size"},
		{"a limit beyond the base", func(p []byte) []byte {
			binary.LittleEndian.PutUint64(p[sideAtLimit:], 1<<40)
			return p
		}, "limit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, t.TempDir())
			f, base := adoptAbsent(t, s, 1, pattern(31, 9*page))
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			p, err := os.ReadFile(s.mapPath(1))
			if err != nil {
				t.Fatal(err)
			}
			p = tt.damage(p)
			if err := os.WriteFile(s.mapPath(1), p, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = s.Load(1, base.load)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), s.mapPath(1)) {
				t.Errorf("error %v; want the file's name and %q", err, tt.want)
			}
			if after, err := os.ReadFile(s.mapPath(1)); err != nil || !bytes.Equal(after, p) {
				t.Errorf("the refused sidecar was changed: %v", err)
			}
		})
	}
}

func TestLoadNeedsABaseForAbsentPages(t *testing.T) {
	s := openStore(t, t.TempDir())
	adoptAbsent(t, s, 1, pattern(32, 9*page))
	for name, base := range map[string]func(int64) Base{"none": nil, "one that gives none": func(int64) Base { return nil }} {
		if _, err := s.Load(1, base); err == nil || !strings.Contains(err.Error(), "no base") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var size int64
	f, err := s.Load(1, func(n int64) Base {
		size = n
		return &memBase{}
	})
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, f)
	if size != 9*page {
		t.Errorf("the base is said to have %d bytes, want %d", size, 9*page)
	}
}

func TestAfterARebootOnlyChangedPagesAreTrusted(t *testing.T) {
	object := pattern(33, 12*page)
	s := openStore(t, t.TempDir())
	s.limits.smallFile = 0
	f, base := adoptAbsent(t, s, 1, object)
	patch := pattern(34, 2*page)
	mustWrite(t, f, patch, 5*page)
	if err := f.Fill(bg); err != nil {
		t.Fatal(err)
	}
	// What was fetched, and not synced, is lost with the power: its blocks read as zeros.
	if err := os.WriteFile(s.Path(1), put(make([]byte, 12*page), patch, 5*page), 0o600); err != nil {
		t.Fatal(err)
	}
	rebooted, err := Open(s.dir, Options{Logger: s.log, BootID: strings.Repeat("ab", 16)})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // and again in the same boot
		loaded, err := rebooted.Load(1, base.load)
		if err != nil {
			t.Fatal(err)
		}
		closeLater(t, loaded)
		wantContent(t, loaded, put(bytes.Clone(object), patch, 5*page))
	}
}

// TestASidecarThatCannotBeWrittenStopsChangesAndLosesNothing is about full disks whose filesystem copies on write: there
// even an overwrite fails.
func TestASidecarThatCannotBeWrittenStopsChangesAndLosesNothing(t *testing.T) {
	object, patch := pattern(35, 12*page), pattern(36, 3*page)
	s := openStore(t, t.TempDir())
	s.limits.smallFile = 0
	f, base := adoptAbsent(t, s, 1, object)
	mustWrite(t, f, patch, 2*page)
	want := put(bytes.Clone(object), patch, 2*page)

	writable := f.pages.side.file
	readOnly, err := os.Open(s.mapPath(1))
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	f.pages.side.file = readOnly
	failing := map[string]func(*File) error{
		"a write": writeOp(6*page, page),
		"a hole": func(f *File) error {
			return f.Allocate(bg, 0, page, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE)
		},
		"a longer file": func(f *File) error { return f.Truncate(bg, 20*page) },
		"reserved room": func(f *File) error { return f.Allocate(bg, 12*page, page, 0) },
		"a fill":        func(f *File) error { return f.Fill(bg) },
	}
	for name, do := range failing {
		if err := do(f); err != unix.EBADF {
			t.Errorf("%s: %v, want the error of the sidecar's write", name, err)
		}
	}
	wantContent(t, f, want)
	if err := f.Truncate(bg, 7*page+1); err != nil {
		t.Fatalf("a shorter file: %v", err)
	}
	if err := f.Truncate(bg, 12*page); err != unix.EBADF {
		t.Errorf("a longer file, with the limit not lowered: %v", err)
	}
	wantContent(t, f, want[:7*page+1])

	f.pages.side.file = writable
	if err := f.Truncate(bg, 12*page); err != nil {
		t.Fatal(err)
	}
	loaded, err := s.Load(1, base.load)
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, loaded)
	wantContent(t, loaded, resize(want[:7*page+1], 12*page))
}

func TestPagesThatCannotBeMarkedDoNotCountAsWritten(t *testing.T) {
	s := openStore(t, t.TempDir())
	s.limits.smallFile = 0
	f, _ := adoptAbsent(t, s, 1, pattern(37, 12*page))
	if err := f.fillWindow(bg, window{0, 4}); err != nil {
		t.Fatal(err)
	}
	readOnly, err := os.Open(s.mapPath(1))
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	writable := f.pages.side.file
	f.pages.side.file = readOnly
	n, err := f.accept(2*page+5, 6*page) // of which two pages and a bit are present
	f.pages.side.file = writable
	if n != 2*page-5 || err != unix.EBADF {
		t.Errorf("%d, %v; want the bytes up to the first absent page", n, err)
	}
	if f.pages.absent.Load() != 8 || !f.pages.isAbsent(4) {
		t.Errorf("%d pages are absent, want 8", f.pages.absent.Load())
	}
}

// TestAfterARebootAFileThatWasSyncedWholeNeedsItsObjectNoMore is about a file whose object was given up because all of it was
// here, durably.
func TestAfterARebootAFileThatWasSyncedWholeNeedsItsObjectNoMore(t *testing.T) {
	object, patch := pattern(37, 12*page), pattern(38, 2*page)
	s := openStore(t, t.TempDir())
	s.limits.smallFile = 0
	f, _ := adoptAbsent(t, s, 1, object)
	mustWrite(t, f, patch, 5*page)
	if err := f.Fill(bg); err != nil {
		t.Fatal(err)
	}
	before := f.Gen()
	if gen, err := f.Sync(); err != nil || gen != before {
		t.Fatalf("sync: gen %d, want %d, %v", gen, before, err)
	}
	rebooted, err := Open(s.dir, Options{Logger: s.log, BootID: strings.Repeat("ab", 16)})
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := rebooted.Load(1, func(int64) Base { t.Error("it asks for the object"); return nil })
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, loaded)
	wantContent(t, loaded, put(bytes.Clone(object), patch, 5*page))
}

package fusefs

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMountpointsThatCannotBeUsedAreRefused(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"mnt", "cache/stage", "store/deep/er", "host/cache"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(base, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"to-cache": "cache", "to-store": "store/deep", "to-mnt": "mnt", "dangling": "nowhere", "loop": "loop"} {
		if err := os.Symlink(filepath.Join(base, target), filepath.Join(base, link)); err != nil {
			t.Fatal(err)
		}
	}
	own := func(paths ...string) []ownPath {
		var list []ownPath
		for _, p := range paths {
			list = append(list, ownPath{"the " + strings.Split(p, "/")[0] + " directory", filepath.Join(base, p)})
		}
		return list
	}
	for _, tc := range []struct {
		name string
		dir  string
		own  []ownPath
		want []string // in the error; none: accepted, as base/mnt
	}{
		{"a good one", "mnt", own("cache", "store/deep"), nil},
		{"a good one by a symlink", "to-mnt", own("cache", "store/deep"), nil},
		{"beside a cache that does not exist yet", "mnt", own("mnt-cache"), nil},
		{"missing", "missing", nil, []string{"does not exist", "mkdir -p"}},
		{"below a missing directory", "missing/deep", nil, []string{"does not exist"}},
		{"a symlink to nothing", "dangling", nil, []string{"does not exist"}},
		{"a symlink to itself", "loop", nil, []string{"mountpoint", "too many links"}},
		{"a file", "file", nil, []string{"not a directory"}},
		{"below a file", "file/x", nil, []string{"not a directory"}},
		{"the cache directory", "cache", own("cache"), []string{"is the cache directory", "another mountpoint"}},
		{"the cache directory by a symlink", "to-cache", own("cache"), []string{"is the cache directory"}},
		{"in the cache directory", "cache/stage", own("cache"), []string{"lies in the cache directory"}},
		{"in a cache directory named by a symlink", "cache/stage", own("to-cache"), []string{"lies in the to-cache directory"}},
		{"above the cache directory", "host", own("host/cache"), []string{"would hide"}},
		{"above a cache directory that does not exist yet", "mnt", own("mnt/new/cache"), []string{"would hide"}},
		{"in the store", "store/deep/er", own("cache", "store/deep"), []string{"lies in the store directory"}},
		{"above the store", "store", own("cache", "store/deep"), []string{"would hide"}},
		{"above a store named by a symlink", "store", own("to-store"), []string{"would hide"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := prepareMountpoint(t.Context(), filepath.Join(base, tc.dir), tc.own, slog.New(slog.DiscardHandler))
			if tc.want == nil {
				if want := filepath.Join(base, "mnt"); err != nil || got != want {
					t.Errorf("got %q, %v, want %q", got, err, want)
				}
				return
			}
			if err == nil {
				t.Fatalf("accepted as %s", got)
			}
			for _, want := range append(tc.want, base) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q has more than a line", err)
			}
		})
	}
}

func TestMountpointWithEntriesIsMentioned(t *testing.T) {
	for _, tc := range []struct {
		name  string
		entry bool
	}{{"with an entry", true}, {"empty", false}} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if tc.entry {
				if err := os.Mkdir(filepath.Join(dir, "entry"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			var out bytes.Buffer
			if _, err := prepareMountpoint(t.Context(), dir, nil, slog.New(slog.NewTextHandler(&out, nil))); err != nil {
				t.Fatal(err)
			}
			if warned := strings.Contains(out.String(), "not empty"); warned != tc.entry {
				t.Errorf("the log says %q", &out)
			}
		})
	}
}

func TestMissingDeviceIsExplained(t *testing.T) {
	err := checkDevice(filepath.Join(t.TempDir(), "fuse"))
	if err == nil || !strings.Contains(err.Error(), "modprobe fuse") || !strings.Contains(err.Error(), "--device") {
		t.Errorf("got %v", err)
	}
}

func TestUsersMayAllowOthersOnlyWhenConfigured(t *testing.T) {
	for _, tc := range []struct {
		name string
		conf string
		want bool
	}{
		{"no file", "", false},
		{"commented out", "#user_allow_other\n", false},
		{"allowed", "# rules\nmount_max = 10\n user_allow_other\n", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conf := filepath.Join(t.TempDir(), "fuse.conf")
			if tc.conf != "" {
				if err := os.WriteFile(conf, []byte(tc.conf), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := othersAllowed(conf); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestMountTableIsRead(t *testing.T) {
	const table = `22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda rw
36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue
31 22 0:44 / /mnt/with\040blank\134 rw,nosuid,nodev - fuse.sharefs s3://bucket/a\040b rw,user_id=1000,group_id=1001,default_permissions
not a line of the table
`
	got := parseMountinfo(table)
	want := []MountEntry{
		{Device: "0:20", Dir: "/", FSType: "ext4", Source: "/dev/vda"},
		{Device: "98:0", Dir: "/mnt2", FSType: "ext3", Source: "/dev/root"},
		{Device: "0:44", Dir: `/mnt/with blank\`, FSType: "fuse.sharefs", Source: "s3://bucket/a b", UID: 1000},
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	if got[0].Ours() || !got[2].Ours() {
		t.Error("fuse.sharefs, and nothing else, is ours")
	}
}

package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sharefs/cmd/sharefs/internal/control"
)

// full is a status with a value in every field.
func full() control.Status {
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	return control.Status{
		Entry: control.Entry{PID: 7, Dir: "/mnt/a", Store: "s3://b", CacheDir: "/c", LogFile: "/l", Since: at, Version: "v1"},
		State: control.Mounted, ReadOnly: true,
		Pending:   control.Pending{Files: 3, Bytes: 3 << 20, Oldest: &at, Uploading: 2},
		Stuck:     []control.Problem{{Path: "/a", Error: "access denied", Since: at, Tries: 5}},
		Kept:      control.Kept{Scratch: 1, ScratchBytes: 2 << 20, ScratchSeen: 12, Lazy: 3, LazySeen: 34},
		Cache:     control.Cache{Size: 1 << 30, MaxSize: 10 << 30, Memory: 1 << 20, Hits: 3, Misses: 1, HitRate: 0.75},
		Stage:     control.Stage{Size: 5 << 20, MaxSize: 64 << 20, KeepFree: 3 << 20, Free: 4 << 20, Waiting: 2, Since: &at},
		Space:     control.Space{Capacity: 1 << 50, Used: 1234567, Files: 7, Dirs: 2},
		Conflicts: []control.Conflict{{Path: "/b", Why: "was not safe on the disk when the system went down", Kept: "/c/conflicts/b", Size: 3 << 20, Time: at}},
		Requests: control.Requests{ByKind: map[string]control.RequestKind{"put": {Count: 1234, Errors: 2, BytesIn: 1, BytesOut: 2, P50ms: 3, P99ms: 4}, "list": {Count: 1}},
			InFlight: 1},
		Claim:  &control.Claim{State: "held", Since: at, Host: "h", PID: 7, Started: at, Renewed: at},
		Hidden: 6, Foreign: 3, Unsure: 7,
		Errors: []control.LogLine{{Time: at, Level: "warn", Message: "refused"}},
	}
}

// Scripts of users read these names.
func TestJSONOfStatusKeepsItsNames(t *testing.T) {
	const want = `{
  "mounts": [
    {
      "pid": 7,
      "dir": "/mnt/a",
      "store": "s3://b",
      "cache_dir": "/c",
      "log_file": "/l",
      "since": "2030-01-02T03:04:05Z",
      "version": "v1",
      "state": "mounted",
      "read_only": true,
      "pending": {
        "files": 3,
        "bytes": 3145728,
        "oldest": "2030-01-02T03:04:05Z",
        "uploading": 2
      },
      "stuck": [
        {
          "path": "/a",
          "error": "access denied",
          "since": "2030-01-02T03:04:05Z",
          "tries": 5
        }
      ],
      "kept": {
        "scratch": 1,
        "scratch_bytes": 2097152,
        "scratch_seen": 12,
        "lazy": 3,
        "lazy_seen": 34
      },
      "conflicts": [
        {
          "path": "/b",
          "why": "was not safe on the disk when the system went down",
          "kept": "/c/conflicts/b",
          "size": 3145728,
          "time": "2030-01-02T03:04:05Z"
        }
      ],
      "claim": {
        "state": "held",
        "since": "2030-01-02T03:04:05Z",
        "host": "h",
        "pid": 7,
        "started": "2030-01-02T03:04:05Z",
        "renewed": "2030-01-02T03:04:05Z"
      },
      "cache": {
        "size": 1073741824,
        "max_size": 10737418240,
        "memory": 1048576,
        "hits": 3,
        "misses": 1,
        "hit_rate": 0.75
      },
      "stage": {
        "size": 5242880,
        "max_size": 67108864,
        "keep_free": 3145728,
        "free": 4194304,
        "waiting": 2,
        "stalled": false,
        "since": "2030-01-02T03:04:05Z"
      },
      "space": {
        "capacity": 1125899906842624,
        "used": 1234567,
        "files": 7,
        "directories": 2,
        "counted": false
      },
      "requests": {
        "by_kind": {
          "list": {
            "count": 1,
            "errors": 0,
            "bytes_in": 0,
            "bytes_out": 0,
            "p50_ms": 0,
            "p99_ms": 0
          },
          "put": {
            "count": 1234,
            "errors": 2,
            "bytes_in": 1,
            "bytes_out": 2,
            "p50_ms": 3,
            "p99_ms": 4
          }
        },
        "in_flight": 1
      },
      "hidden_keys": 6,
      "foreign": 3,
      "unsure": 7,
      "errors": [
        {
          "time": "2030-01-02T03:04:05Z",
          "level": "warn",
          "message": "refused"
        }
      ],
      "problem": "why"
    }
  ]
}
`
	var b bytes.Buffer
	if err := printJSON(&b, []mountStatus{{Status: full(), Problem: "why"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestStatusForPeople(t *testing.T) {
	s := full()
	since := s.Since.Local().Format(time.DateTime)
	want := "  state     mounted, read-only, since " + since + " (1m0s), pid 7\n" +
		"  claim     held, renewed 1m0s ago\n" +
		"  waiting   3 files, 3.0 MiB, the oldest for 1m0s; 2 uploading\n" +
		"  stuck     /a: access denied (5 tries in 1m0s)\n" +
		"  kept      1 scratch files, 2.0 MiB (12 since the mount), 3 lazy changes wait (34)\n" +
		"  conflict  /b: was not safe on the disk when the system went down; 3.0 MiB are kept in /c/conflicts/b\n" +
		"  cache     1.0 GiB of 10 GiB on disk, 1.0 MiB in memory, hit rate 75.0 %\n" +
		"  staged    5.0 MiB of 64 MiB on disk, which has 4.0 MiB free and keeps 3.0 MiB; full for 1m0s, 2 writers wait\n" +
		"  space     1.2 MiB of 1.0 PiB in 7 files; what is in directories that nobody has looked into since the mount is not known\n" +
		"  requests  list 1, put 1,234 (2 failed)\n" +
		"  hidden    6 keys of the store that are no path, or have the name of a directory\n" +
		"  foreign   3 objects that another program had changed were replaced or deleted; the log names them\n" +
		"  unsure    7 directories that another program has changed are to be listed once more\n" +
		"  warn      " + since + " refused\n" +
		"  cache dir /c\n" +
		"  log       /l\n"
	var b bytes.Buffer
	mountText(&b, s, s.Since.Add(time.Minute))
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

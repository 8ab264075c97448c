// Package control is how the commands talk to the daemon of a mount: HTTP with JSON over a unix socket in a runtime
// directory that only the user can enter. The names of the JSON fields are also what "sharefs status --json" prints;
// they do not change, others may be added.
//
//	GET  /v1/status   a Status
//	POST /v1/flush    Events, one JSON object a line, the last with Done
//	POST /v1/umount   likewise; ?no_wait=true leaves what is not stored to the next mount
//	POST /v1/reconcile   Events, one JSON object a line, the last with Reconciled
//
// A command that goes away (^C) ends its flush or umount; the mount stays. The daemon serves its own user and root.
package control

import (
	"time"
)

// State is where a daemon stands.
type State string

// The states of a daemon, in this order; an umount that fails leads from Draining back to Mounted.
const (
	Starting  State = "starting"  // opening the store, mounting
	Mounted   State = "mounted"   //
	Draining  State = "draining"  // mounted, and storing everything before it unmounts
	Unmounted State = "unmounted" // no longer mounted, storing what is left before it ends
)

// What commands say of a daemon that does not speak for itself.
const (
	Silent State = "silent" // it lives but does not answer
	Dead   State = "dead"   // it has gone and left its mount behind
)

// Entry names a daemon and its mount; it is in the file that the daemon keeps locked beside its socket.
type Entry struct {
	PID      int       `json:"pid"`
	Dir      string    `json:"dir"`
	Store    string    `json:"store"` // without secrets
	CacheDir string    `json:"cache_dir"`
	LogFile  string    `json:"log_file,omitempty"` // empty: stderr
	Since    time.Time `json:"since"`
	Version  string    `json:"version"`
}

// Status is what a daemon says of its mount.
type Status struct {
	Entry
	State    State     `json:"state"`
	ReadOnly bool      `json:"read_only"`
	Pending  Pending   `json:"pending"`
	Stuck    []Problem `json:"stuck"`
	Kept     Kept      `json:"kept"`
	// Conflicts are kept for a person to look at.
	Conflicts []Conflict `json:"conflicts"`
	Claim     *Claim     `json:"claim,omitempty"` // nil: a read-only mount has none
	Cache     Cache      `json:"cache"`
	Stage     Stage      `json:"stage"`
	Space     Space      `json:"space"`
	Requests  Requests   `json:"requests"`
	Hidden    int64      `json:"hidden_keys"` // of the store, that are no path: met since the mount, and not shown in it
	Foreign   int64      `json:"foreign"`     // objects that another program had changed, found when they were replaced or deleted
	Unsure    int        `json:"unsure"`      // directories that are not as the store has them, and are to be listed once more
	Errors    []LogLine  `json:"errors"`      // the last warnings and errors of the log, oldest first
}

// Pending is what waits to be stored.
type Pending struct {
	Files     int        `json:"files"`
	Bytes     int64      `json:"bytes"`
	Oldest    *time.Time `json:"oldest,omitempty"` // since when the oldest waits
	Uploading int        `json:"uploading"`        // of Files, how many are on their way
}

// Problem is a file that could not be stored. It stays staged, and is tried again.
type Problem struct {
	Path  string    `json:"path"`
	Error string    `json:"error"`
	Since time.Time `json:"since"`
	Tries int       `json:"tries"`
}

// Kept is what the path rules --scratch and --lazy keep from the store. Seen counts are since the mount.
type Kept struct {
	Scratch      int   `json:"scratch"`       // files, which are not in Pending
	ScratchBytes int64 `json:"scratch_bytes"` // of them
	ScratchSeen  int64 `json:"scratch_seen"`
	Lazy         int   `json:"lazy"` // changes, which are in Pending too
	LazySeen     int64 `json:"lazy_seen"`
}

// Claim is the mount's claim on the store: nobody else changes it. It is held; or unsure, when it could not be renewed
// for too long and nothing is stored until it is; or lost, to the holder that is named then.
type Claim struct {
	State   string    `json:"state"`
	Since   time.Time `json:"since"` // of the state
	Host    string    `json:"host"`  // of the holder, as pid, started and renewed
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Renewed time.Time `json:"renewed"`
	Problem string    `json:"problem,omitempty"` // why it was not renewed at the last try
	Shared  []string  `json:"shared,omitempty"`  // the mounts that share the store, of which this is one; none: it has it for itself
}

// Conflict is content that could not be stored. The file has what the store has instead.
type Conflict struct {
	Path string    `json:"path"` // of the file
	Why  string    `json:"why"`  // it was not stored
	Kept string    `json:"kept"` // where the content is, a note beside it
	Size int64     `json:"size"` // bytes
	Time time.Time `json:"time"` // when it was put there
}

// Cache is the state of the read cache. Sizes are in bytes; counts are since the mount.
type Cache struct {
	Size    int64   `json:"size"`
	MaxSize int64   `json:"max_size"`
	Memory  int64   `json:"memory"`
	Hits    int64   `json:"hits"`
	Misses  int64   `json:"misses"`
	HitRate float64 `json:"hit_rate"` // 0 to 1; 0 before the first read
}

// Stage is what changed files have of the local disk, in bytes.
type Stage struct {
	Size     int64      `json:"size"`
	MaxSize  int64      `json:"max_size"`
	KeepFree int64      `json:"keep_free"`       // what stays free of the disk
	Free     int64      `json:"free"`            // what is free of it
	Waiting  int        `json:"waiting"`         // writers that wait for room
	Stalled  bool       `json:"stalled"`         // nothing got free for too long: writers that need room get ENOSPC
	Since    *time.Time `json:"since,omitempty"` // since when there is no room
}

// Space is what files take of the store, each at its length; df shows the same in blocks.
type Space struct {
	Capacity int64 `json:"capacity"` // bytes
	Used     int64 `json:"used"`     // bytes
	Files    int64 `json:"files"`    // and symlinks
	Dirs     int64 `json:"directories"`
	Counted  bool  `json:"counted"` // false: directories that were not listed yet may hold more
}

// Requests are the requests sent to the store since the mount.
type Requests struct {
	ByKind   map[string]RequestKind `json:"by_kind"`
	InFlight int64                  `json:"in_flight"`
}

// RequestKind counts the requests of one kind.
type RequestKind struct {
	Count    int64   `json:"count"`
	Errors   int64   `json:"errors"`
	BytesIn  int64   `json:"bytes_in"`
	BytesOut int64   `json:"bytes_out"`
	P50ms    float64 `json:"p50_ms"` // of the time until the answer
	P99ms    float64 `json:"p99_ms"`
}

// LogLine is one line of the log.
type LogLine struct {
	Time    time.Time `json:"time"`
	Level   string    `json:"level"`
	Message string    `json:"message"`
}

// Event is one line of an answer that takes time. One field is set.
type Event struct {
	Progress   *Pending    `json:"progress,omitempty"`
	Done       *Outcome    `json:"done,omitempty"`
	Objects    int64       `json:"objects,omitempty"` // that a reconcile has compared so far
	Reconciled *Reconciled `json:"reconciled,omitempty"`
}

// Reconciled is what a comparison with the store has found, or how it failed.
type Reconciled struct {
	Objects     int64   `json:"objects"` // in the store
	Bytes       int64   `json:"bytes"`   // of them
	Hidden      int64   `json:"hidden_keys"`
	Directories int     `json:"directories"` // in which something differed
	Seconds     float64 `json:"seconds"`
	Error       string  `json:"error,omitempty"`
}

// Result is how a flush or an umount ended.
type Result string

// The results.
const (
	Stored Result = "stored" // everything is in the store, and for umount: it is unmounted
	Left   Result = "left"   // unmounted as asked with no_wait; Outcome.Left stays for the next mount
	Failed Result = "failed" // not everything could be stored, see Error; Mounted tells whether it still is
	InUse  Result = "busy"   // everything is stored, but a process uses the mount, and so it stays
)

// Outcome is the end of a flush or an umount.
type Outcome struct {
	Result  Result    `json:"result"`
	Mounted bool      `json:"mounted"`
	Error   string    `json:"error,omitempty"`
	Left    Pending   `json:"left"`
	Kept    Kept      `json:"kept"`
	Stuck   []Problem `json:"stuck,omitempty"`
	Users   []string  `json:"users,omitempty"` // of a busy mount: "name (pid)"
}

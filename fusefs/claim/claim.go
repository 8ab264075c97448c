// Package claim keeps a store for one writer.
//
// A claim is a small object below .sharefs/, claim-N, that names its holder (Record). Whoever wants to change the store takes
// it first, renews it every minute, and sends no change later than two minutes after the start of the last renewal that
// succeeded (Fence), by a clock that goes on while the process is stopped and while the machine sleeps. Who takes the
// claim of a holder that seems to be dead first watches it, by his own clock, for three minutes: when nothing was renewed
// for so long, that holder sends nothing any more. No two clocks are compared.
//
// How the claim is taken and renewed depends on what the store can do; see rules.go. What a store promises of conditions
// (provider.Capabilities) is what this rests on.
//
// Not promised: that a request which had left before its sender was stopped does not take effect later. Who takes the
// claim from a holder that is alive, with Options.Force, has that holder's changes until its next renewal fails.
package claim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sharefs/provider"
)

// The times of a claim.
const (
	DefaultRenew = time.Minute     // between renewals
	DefaultHold  = 2 * time.Minute // from the start of the last good renewal until nothing may be sent any more
	DefaultWatch = 3 * time.Minute // how long a claim must not change to be taken from its holder
	// DefaultSettle is how long a claim must stand in a store that checks no conditions, and whose listings may be so late.
	DefaultSettle = 5 * time.Second
)

// Prefix is that of the claim's keys, which go on with a number.
const Prefix = ".sharefs/claim-"

// Record is what a claim says. It is JSON in the store.
type Record struct {
	Host     string    `json:"host"`    // for people
	Machine  string    `json:"machine"` // the machine's id
	PID      int       `json:"pid"`     // for people
	Token    string    `json:"token"`   // random, new for each taking
	Catalog  string    `json:"catalog"` // the id of the holder's catalog
	Seq      uint64    `json:"seq"`     // and its durable sequence number when this was written
	Started  time.Time `json:"started"` // times are those of the holder's clock, for people
	Renewed  time.Time `json:"renewed"`
	Released bool      `json:"released,omitempty"` // nobody holds it: the last holder left in good order
	Sharing  []Sharer  `json:"sharing,omitempty"`  // who share the store, see Share; none: one holder has it
}

// Holder names the holder for people.
func (r Record) Holder() string {
	if r.Token == "" {
		return "somebody whose claim cannot be read"
	}
	if len(r.Sharing) > 0 {
		names := make([]string, len(r.Sharing))
		for i, s := range r.Sharing {
			names[i] = fmt.Sprintf("%s (process %d)", s.Host, s.PID)
		}
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s (process %d)", r.Host, r.PID)
}

// same reports whether two records are of the same write.
func (r Record) same(o Record) bool {
	return r.Token == o.Token && r.Renewed.Equal(o.Renewed) && r.Seq == o.Seq && r.Released == o.Released
}

// Options are the options of Take. Host, Machine and Catalog must be set.
type Options struct {
	Host, Machine, Catalog string
	PID                    int

	// LastToken is that of the last claim that this catalog held; empty: none. TriedTokens are those that Keep was called with
	// since, of which it is not known whether they were held. A claim of this machine and catalog with one of them is our
	// own, of a process that is dead, for the caller holds the lock of the cache directory: it is taken at once.
	LastToken   string
	TriedTokens []string
	// Keep is called before a claim with the token is written, with the one that is there (nil: none), and whether that one
	// is our own: when it returns, all of that must be durable. It may be called more than once. It may be nil.
	Keep func(token string, before *Record, own bool) error
	// Seq returns the catalog's durable sequence number. It may be nil.
	Seq func() uint64

	TakeOver bool // a claim that somebody else holds is taken after it has been watched for Watched without a change
	Force    bool // with TakeOver: at once
	// Watch is told how long held is still to be watched; it may be nil.
	Watch func(held Record, left time.Duration)

	Logger *slog.Logger

	// Of tests; zero values are the defaults.
	Renew, Hold, Watched, Settle time.Duration
	Gap                          time.Duration        // between listing and writing, in a store that checks no conditions. 0: Settle/2
	Boottime                     func() time.Duration // since some moment; goes on while the machine sleeps
	Now                          func() time.Time
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		to *time.Duration
		is time.Duration
	}{{&o.Renew, DefaultRenew}, {&o.Hold, DefaultHold}, {&o.Watched, DefaultWatch}, {&o.Settle, DefaultSettle}} {
		if *d.to <= 0 {
			*d.to = d.is
		}
	}
	if o.Gap <= 0 {
		o.Gap = o.Settle / 2
	}
	if o.Boottime == nil {
		o.Boottime = boottime
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Keep == nil {
		o.Keep = func(string, *Record, bool) error { return nil }
	}
	if o.Seq == nil {
		o.Seq = func() uint64 { return 0 }
	}
	if o.Watch == nil {
		o.Watch = func(Record, time.Duration) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// boottime is CLOCK_BOOTTIME.
func boottime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		panic(err) // the kernel has had it since 2.6.39
	}
	return time.Duration(now.Nano())
}

// ErrLost is in the error of a request that the Fence has stopped, because the claim does not hold.
var ErrLost = errors.New("the claim on the store does not hold")

// HeldError is the error of Take when somebody else holds the claim.
type HeldError struct {
	Holder  Record
	Changed bool // while it was watched: the holder is alive
	Watched time.Duration
	Same    bool // the holder was on this machine
}

// Error names the holder and says what to do.
func (e *HeldError) Error() string {
	if e.Holder.Shared() {
		return e.sharedText()
	}
	text := "the store is in use: " + e.Holder.Holder() + " holds it"
	if e.Same {
		text += ", with another cache directory"
	}
	if e.Holder.Token != "" {
		text += fmt.Sprintf(", since %s, last heard of at %s", stamp(e.Holder.Started), stamp(e.Holder.Renewed))
	}
	if e.Changed {
		return text + ": it is alive, so the store was not taken over: unmount it there, or mount here with --read-only"
	}
	return text + fmt.Sprintf(": unmount it there, or mount here with --read-only; if it is gone for good, mount with --take-over, which watches for %v that it is silent", e.Watched)
}

// sharedText is Error when the store is shared.
func (e *HeldError) sharedText() string {
	text := fmt.Sprintf("the store is shared by %s, last heard of at %s: ", e.Holder.Holder(), stamp(e.Holder.Renewed))
	if e.Changed {
		return text + "they are alive, so the store was not taken over: unmount it there, or mount here with --shared or --read-only"
	}
	return text + fmt.Sprintf("mount here with --shared too, or with --read-only, or unmount it there; if they are gone for good, mount with --take-over, which watches for %v that they are silent", e.Watched)
}

func stamp(t time.Time) string { return t.Local().Format(time.DateTime) }

// MachineID returns what tells this machine from others: its machine-id, or its name where it has none.
func MachineID(host string) string {
	for _, name := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		if text, err := os.ReadFile(name); err == nil {
			if id := strings.TrimSpace(string(text)); id != "" && id != "uninitialized" {
				return id
			}
		}
	}
	return "host " + host
}

// Look returns what the claim on a store says, without taking it; nil: there is none.
func Look(ctx context.Context, store provider.Provider) (*Record, error) {
	found, err := newRegister(store, Options{}.withDefaults()).look(ctx, place{})
	if err != nil || found.n == 0 {
		return nil, err
	}
	return &found.record, nil
}

// Take takes the claim on a store. It returns the claim, which is renewed until Release, and the record that was there
// before (nil: none). *HeldError when somebody else holds it.
func Take(ctx context.Context, store provider.Provider, o Options) (c *Claim, before *Record, err error) {
	o = o.withDefaults()
	t := taker{o: o, r: newRegister(store, o)}
	t.rules = t.r.rules()
	return t.take(ctx)
}

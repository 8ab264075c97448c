package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"sharefs/cmd/sharefs/internal/control"
	"sharefs/cmd/sharefs/internal/doctor"
	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/cmd/sharefs/internal/stores"
	"sharefs/fusefs/claim"
	"sharefs/fusefs/tree"
)

// diagnosis is what sharefs doctor has found. The names of its fields are those of --json, and stay.
type diagnosis struct {
	What      string    `json:"what"` // "store", "mount" or "cache"
	Name      string    `json:"name"`
	Store     string    `json:"store,omitempty"` // of a mount or a cache directory
	Objects   *int64    `json:"objects,omitempty"`
	Bytes     *int64    `json:"bytes,omitempty"`
	Claim     *holder   `json:"claim,omitempty"`
	CacheSize *int64    `json:"cache_size,omitempty"`
	StageSize *int64    `json:"stage_size,omitempty"`
	Findings  []finding `json:"findings"`
}

// holder is who holds the claim on a store, or was the last to give it up.
type holder struct {
	Host     string    `json:"host"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Renewed  time.Time `json:"renewed"`
	Released bool      `json:"released"`
	text     string
}

type finding struct {
	Kind   string     `json:"kind"`
	Key    string     `json:"key,omitempty"` // or a path
	Text   string     `json:"text,omitempty"`
	Size   *int64     `json:"size,omitempty"`
	Time   *time.Time `json:"time,omitempty"`
	Young  bool       `json:"young,omitempty"`
	Mended bool       `json:"mended,omitempty"`
}

// texts say what a kind of finding in a store means for the one who reads it.
var texts = map[doctor.Kind]string{
	doctor.Uploads:     "an upload that was not ended, or parts that one left",
	doctor.Leftovers:   "a part of a file that was never finished, or is not stored yet",
	doctor.Probes:      "left by a probe",
	doctor.Checkpoints: "an older checkpoint",
	doctor.Claims:      "an older claim",
	doctor.NoPath:      "not a path, and so not seen through a mount",
	doctor.Shadowed:    "hidden by the directory of the same name",
	doctor.Strange:     "not of sharefs",
}

func ofStore(s stores.Store, r *doctor.Report) *diagnosis {
	d := &diagnosis{What: "store", Name: s.String(), Objects: &r.Objects, Bytes: &r.Bytes, Findings: []finding{}}
	if r.Claim != nil {
		d.Claim = &holder{r.Claim.Host, r.Claim.PID, r.Claim.Started, r.Claim.Renewed, r.Claim.Released, r.Claim.Holder()}
	}
	if r.Unlisted != nil {
		d.Findings = append(d.Findings, finding{Kind: string(doctor.Uploads), Text: "they cannot be listed: " + r.Unlisted.Error()})
	}
	for _, f := range r.Findings {
		one := finding{Kind: string(f.Kind), Key: f.Key, Text: texts[f.Kind], Young: f.Young, Mended: f.Mended}
		if f.Size >= 0 {
			one.Size = &f.Size
		}
		if !f.Time.IsZero() {
			one.Time = &f.Time
		}
		d.Findings = append(d.Findings, one)
	}
	return d
}

func ofMount(m mountStatus) *diagnosis {
	d := &diagnosis{What: "mount", Name: m.Dir, Store: m.Store, Findings: []finding{}}
	add := func(kind, key, text string, size *int64, at *time.Time) {
		d.Findings = append(d.Findings, finding{Kind: kind, Key: key, Text: text, Size: size, Time: at})
	}
	if m.Problem != "" {
		add("daemon", m.Dir, m.Problem, nil, nil)
		return d
	}
	d.CacheSize, d.StageSize = &m.Cache.Size, &m.Stage.Size
	for _, p := range m.Stuck {
		add("stuck", p.Path, p.Error, nil, &p.Since)
	}
	d.conflicts(m.Conflicts)
	if c := m.Claim; c != nil && claim.Status(c.State) != claim.Held {
		add("claim", "", claimProblem(*c), nil, &c.Since)
	}
	if m.Stage.Stalled || m.Stage.Waiting > 0 {
		add("room", "", fmt.Sprintf("no room for changes: %s of %s are taken, and the disk has %s free", bytesText(m.Stage.Size),
			bytesText(m.Stage.MaxSize), bytesText(m.Stage.Free)), nil, m.Stage.Since)
	}
	return d
}

func claimProblem(c control.Claim) string {
	if claim.Status(c.State) == claim.Lost {
		return fmt.Sprintf("the store was taken over by %s (process %d)", c.Host, c.PID)
	}
	return "it cannot be renewed, and nothing is stored until it is: " + c.Problem
}

func ofCache(dir string, in tree.Inspection) *diagnosis {
	d := &diagnosis{What: "cache", Name: dir, Store: in.Store, CacheSize: &in.CacheSize, StageSize: &in.StageSize, Findings: []finding{}}
	if in.Superseded {
		d.Findings = append(d.Findings, finding{Kind: "claim", Text: "another mount has had the store since: what waits here will be kept aside, not stored"})
	}
	if in.Pending > 0 {
		d.Findings = append(d.Findings, finding{Kind: "pending", Size: &in.Bytes, Time: &in.Oldest,
			Text: fmt.Sprintf("%s changes are not stored: mount the store with this cache directory", humanize.Comma(int64(in.Pending)))})
	}
	for _, path := range in.Paths {
		d.Findings = append(d.Findings, finding{Kind: "pending", Key: path})
	}
	conflicts := make([]control.Conflict, len(in.Conflicts))
	for i, c := range in.Conflicts {
		conflicts[i] = control.Conflict(c)
	}
	d.conflicts(conflicts)
	return d
}

func (d *diagnosis) conflicts(all []control.Conflict) {
	for _, c := range all {
		d.Findings = append(d.Findings, finding{Kind: "conflicts", Key: c.Path, Text: c.Why + "; kept in " + c.Kept, Size: &c.Size, Time: &c.Time})
	}
}

// judge makes the exit code.
func (d *diagnosis) judge() error {
	left := 0
	for _, f := range d.Findings {
		if !f.Mended && !f.Young {
			left++
		}
	}
	if left == 0 {
		return nil
	}
	return exit.Errorf(exit.Findings, "%s: %d findings", d.Name, left)
}

// shown is how many findings of a kind are printed for people; --json has all.
const shown = 20

func (d *diagnosis) print(w io.Writer) error {
	var b bytes.Buffer
	now := time.Now()
	fmt.Fprintf(&b, "%s %s\n", d.What, d.Name)
	if d.Store != "" {
		line(&b, "of", d.Store)
	}
	if d.Objects != nil {
		line(&b, "holds", fmt.Sprintf("%s objects, %s", humanize.Comma(*d.Objects), bytesText(*d.Bytes)))
		line(&b, "claim", heldText(d.Claim, now))
	}
	if d.CacheSize != nil {
		line(&b, "disk", fmt.Sprintf("%s read cache, %s changes", bytesText(*d.CacheSize), bytesText(*d.StageSize)))
	}
	printed := map[string]int{}
	for _, f := range d.Findings {
		if printed[f.Kind]++; printed[f.Kind] <= shown {
			line(&b, f.Kind, f.text(now))
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(printed)) {
		if n := printed[kind]; n > shown {
			line(&b, kind, fmt.Sprintf("and %s more (--json has all)", humanize.Comma(int64(n-shown))))
		}
	}
	if len(d.Findings) == 0 {
		line(&b, "found", "nothing that is wrong")
	}
	_, err := w.Write(b.Bytes())
	return err
}

func heldText(c *holder, now time.Time) string {
	switch {
	case c == nil:
		return "none: no mount has written here"
	case c.Released:
		return fmt.Sprintf("free, given up by %s %s ago", c.text, age(now, c.Renewed))
	}
	return fmt.Sprintf("held by %s since %s, renewed %s ago by its clock", c.text, c.Started.Local().Format(time.DateTime), age(now, c.Renewed))
}

func (f finding) text(now time.Time) string {
	text := f.Key
	if f.Text != "" {
		if text != "" {
			text += ": "
		}
		text += f.Text
	}
	if f.Size != nil {
		text += ", " + bytesText(*f.Size)
	}
	if f.Time != nil && !f.Time.IsZero() {
		text += ", " + age(now, *f.Time) + " old"
	}
	switch {
	case f.Mended:
		text += ": mended"
	case f.Young:
		text += ": too young to be mended, see --older"
	}
	return text
}

package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"sharefs/cmd/sharefs/internal/control"
)

// printStatus prints mounts for people.
func printStatus(w io.Writer, all []mountStatus) error {
	var b bytes.Buffer
	if len(all) == 0 {
		b.WriteString("no mounts\n")
	}
	now := time.Now()
	for i, m := range all {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s  on  %s\n", m.Store, m.Dir)
		if m.Problem != "" {
			line(&b, string(m.State), m.Problem)
			continue
		}
		mountText(&b, m.Status, now)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// line prints one named line.
func line(b *bytes.Buffer, name, text string) { fmt.Fprintf(b, "  %-9s %s\n", name, text) }

func mountText(b *bytes.Buffer, s control.Status, now time.Time) {
	state := string(s.State)
	if s.ReadOnly {
		state += ", read-only"
	}
	line(b, "state", fmt.Sprintf("%s, since %s (%s), pid %d", state, s.Since.Local().Format(time.DateTime), age(now, s.Since), s.PID))
	claimText(b, s.Claim, now)
	line(b, "waiting", waitingText(s.Pending, now))
	for _, p := range s.Stuck {
		line(b, "stuck", fmt.Sprintf("%s: %s (%d tries in %s)", p.Path, p.Error, p.Tries, age(now, p.Since)))
	}
	if s.Kept.ScratchSeen+s.Kept.LazySeen > 0 {
		line(b, "kept", fmt.Sprintf("%s (%s since the mount), %s lazy changes wait (%s)", scratchText(s.Kept),
			humanize.Comma(s.Kept.ScratchSeen), humanize.Comma(int64(s.Kept.Lazy)), humanize.Comma(s.Kept.LazySeen)))
	}
	for _, c := range s.Conflicts {
		line(b, "conflict", fmt.Sprintf("%s: %s; %s are kept in %s", c.Path, c.Why, bytesText(c.Size), c.Kept))
	}
	line(b, "cache", cacheText(s.Cache))
	line(b, "staged", stageText(s.Stage, now))
	line(b, "space", spaceText(s.Space))
	line(b, "requests", requestsText(s.Requests))
	if s.Hidden > 0 {
		line(b, "hidden", fmt.Sprintf("%s keys of the store that are no path, or have the name of a directory", humanize.Comma(s.Hidden)))
	}
	if s.Foreign > 0 {
		line(b, "foreign", fmt.Sprintf("%s objects that another program had changed were replaced or deleted; the log names them", humanize.Comma(s.Foreign)))
	}
	if s.Unsure > 0 {
		line(b, "unsure", fmt.Sprintf("%s directories that another program has changed are to be listed once more", humanize.Comma(int64(s.Unsure))))
	}
	for _, e := range s.Errors {
		line(b, e.Level, e.Time.Local().Format(time.DateTime)+" "+e.Message)
	}
	line(b, "cache dir", s.CacheDir)
	if s.LogFile != "" {
		line(b, "log", s.LogFile)
	}
}

func waitingText(p control.Pending, now time.Time) string {
	if p.Files == 0 {
		return "nothing, all is stored"
	}
	text := pendingText(p)
	if p.Oldest != nil {
		text += ", the oldest for " + age(now, *p.Oldest)
	}
	return fmt.Sprintf("%s; %d uploading", text, p.Uploading)
}

// scratchText says how much scratch paths hold.
func scratchText(k control.Kept) string {
	return fmt.Sprintf("%s scratch files, %s", humanize.Comma(int64(k.Scratch)), bytesText(k.ScratchBytes))
}

func cacheText(c control.Cache) string {
	text := fmt.Sprintf("%s of %s on disk, %s in memory", bytesText(c.Size), bytesText(c.MaxSize), bytesText(c.Memory))
	if c.Hits+c.Misses > 0 {
		text += fmt.Sprintf(", hit rate %.1f %%", 100*c.HitRate)
	}
	return text
}

func stageText(s control.Stage, now time.Time) string {
	text := fmt.Sprintf("%s of %s on disk, which has %s free and keeps %s", bytesText(s.Size), bytesText(s.MaxSize), bytesText(s.Free), bytesText(s.KeepFree))
	if s.Since == nil {
		return text
	}
	if s.Stalled {
		return fmt.Sprintf("%s; full for %s, and nothing gets free: writes that need room fail", text, age(now, *s.Since))
	}
	return fmt.Sprintf("%s; full for %s, %d writers wait", text, age(now, *s.Since), s.Waiting)
}

func spaceText(s control.Space) string {
	text := fmt.Sprintf("%s of %s in %s", bytesText(s.Used), bytesText(s.Capacity), filesText(int(s.Files)))
	if !s.Counted {
		text += "; what is in directories that nobody has looked into since the mount is not known"
	}
	return text
}

func requestsText(r control.Requests) string {
	if len(r.ByKind) == 0 {
		return "none"
	}
	var kinds []string
	for _, name := range slices.Sorted(maps.Keys(r.ByKind)) {
		k := r.ByKind[name]
		text := fmt.Sprintf("%s %s", name, humanize.Comma(k.Count))
		if k.Errors > 0 {
			text += fmt.Sprintf(" (%s failed)", humanize.Comma(k.Errors))
		}
		kinds = append(kinds, text)
	}
	return strings.Join(kinds, ", ")
}

func bytesText(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// age is a rounded time span.
func age(now, since time.Time) string {
	d := now.Sub(since)
	switch {
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < 48*time.Hour:
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

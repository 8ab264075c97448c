package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"sharefs/cmd/sharefs/internal/control"
	life "sharefs/cmd/sharefs/internal/daemon"
	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/fusefs/claim"
)

// claimEnv is for tests: the times of the claim, as RENEW,HOLD,WATCH (1s,2s,3s). All mounts of a store must have the same.
const claimEnv = "SHAREFS_TEST_CLAIM"

// claimOptions are those that a mount takes the claim with. What it waits for is shown and logged.
func (j *job) claimOptions(h life.Host) (claim.Options, error) {
	o := claim.Options{TakeOver: j.settings.TakeOver, Force: j.settings.Force,
		Watch: func(held claim.Record, left time.Duration) {
			h.Log.Info("watching the claim on the store", "holder", held.Holder(), "renewed", held.Renewed, "left", left.Round(time.Second))
			h.Note(fmt.Sprintf("%s holds the store, last heard of at %s: taking it over if it stays silent for another %v",
				held.Holder(), held.Renewed.Local().Format(time.DateTime), left.Round(time.Second)))
		}}
	return o, claimTimes(&o)
}

// claimTimes sets the times that claimEnv asks for.
func claimTimes(o *claim.Options) error {
	text := os.Getenv(claimEnv)
	if text == "" {
		return nil
	}
	times := []*time.Duration{&o.Renew, &o.Hold, &o.Watched}
	words := strings.Split(text, ",")
	for i, word := range words {
		if len(words) != len(times) {
			return exit.Errorf(exit.Usage, "%s=%s: it takes three times", claimEnv, text)
		}
		var err error
		if *times[i], err = time.ParseDuration(word); err != nil {
			return exit.Errorf(exit.Usage, "%s=%s: %w", claimEnv, text, err)
		}
	}
	return nil
}

// claimReport is the part of a status that tells of the claim.
func claimReport(s *claim.State) *control.Claim {
	if s == nil {
		return nil
	}
	return &control.Claim{State: string(s.Status), Since: s.Since, Host: s.Holder.Host, PID: s.Holder.PID, Started: s.Holder.Started,
		Renewed: s.Holder.Renewed, Problem: s.Problem, Shared: sharers(s.Holder)}
}

// sharers names the mounts that share the store.
func sharers(r claim.Record) []string {
	var names []string
	for _, s := range r.Sharing {
		names = append(names, fmt.Sprintf("%s (process %d)", s.Host, s.PID))
	}
	return names
}

// claimText prints how the claim stands.
func claimText(b *bytes.Buffer, c *control.Claim, now time.Time) {
	if c == nil {
		return
	}
	switch claim.Status(c.State) {
	case claim.Held:
		text := "held, renewed "
		if len(c.Shared) > 0 {
			text = fmt.Sprintf("shared by %d (%s), renewed ", len(c.Shared), strings.Join(c.Shared, ", "))
		}
		text += age(now, c.Renewed) + " ago"
		if c.Problem != "" {
			text += "; it cannot be renewed now: " + c.Problem
		}
		line(b, "claim", text)
	case claim.Unsure:
		line(b, "claim", fmt.Sprintf("not renewed for %s: nothing is stored until it is: %s", age(now, c.Renewed), c.Problem))
	case claim.Lost:
		line(b, "claim", fmt.Sprintf("lost to %s (process %d), which took the store over at %s: nothing can be changed here any more; what was not stored stays in the cache directory",
			c.Host, c.PID, c.Started.Local().Format(time.DateTime)))
	}
}

package main

import (
	"context"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"sharefs/cmd/sharefs/internal/control"
	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/fusefs"
	"sharefs/fusefs/claim"
)

func newStatus() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [DIR]",
		Short: "Show the mounts: what waits to be stored, the cache, requests, errors",
		Long: `status shows the mounts of this user (for root: of everybody), or the one on DIR.

The exit code is 5 when a file cannot be stored or another mount has taken the store over, 7 when a daemon is gone or does not answer (or when DIR is no mount), else 0.

--json prints an object with "mounts", a list; the fields of a mount keep their names:
  dir, store, state (starting, mounted, draining, unmounted; silent, dead), read_only, pid, since, version, cache_dir, log_file
  pending    files, bytes, oldest (a time), uploading: what waits to be stored
  stuck      list of path, error, since, tries: what the store does not take
  claim      state (held; unsure: not renewed for too long, nothing is stored until it is; lost), since, problem; of the
             holder: host, pid, started, renewed; shared: the mounts that share the store. A read-only mount has none
  conflicts  list of path, why, kept, size, time: contents that could not be stored, and are kept aside
  cache      size, max_size, memory (bytes), hits, misses, hit_rate (0 to 1)
  stage      size, max_size, keep_free, free (bytes): what changed files take of the local disk; waiting (writers that
             wait for room), stalled (they fail), since (a time)
  space      capacity, used (bytes), files, directories: what files have in the store, which df shows in blocks; counted (false:
             directories that were not listed yet may hold more)
  hidden_keys  keys of the store that are no path, and not shown; foreign: objects that another program had changed, found when
             they were replaced or deleted; unsure: directories to be listed once more, because another program has changed them
  requests   by_kind (by name: count, errors, bytes_in, bytes_out, p50_ms, p99_ms), in_flight
  errors     list of time, level, message: the last warnings and errors
  problem    why a silent or dead mount is one`,
		Args:              arguments(0, 1, "at most one argument: DIR"),
		ValidArgsFunction: completeMounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			rt, err := runtimeOf(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := untilInterrupted()
			defer cancel()
			places, err := wanted(rt, args)
			if err != nil {
				return err
			}
			all := make([]mountStatus, 0, len(places))
			for _, p := range places {
				all = append(all, ask(ctx, p))
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), all)
			} else {
				err = printStatus(cmd.OutOrStdout(), all)
			}
			if err != nil {
				return err
			}
			return judge(all)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// mountStatus is what is printed of a mount.
type mountStatus struct {
	control.Status
	Problem string `json:"problem,omitempty"` // of a silent or dead one
}

func wanted(rt control.Runtime, args []string) ([]place, error) {
	if len(args) == 0 {
		all, err := listPlaces(rt)
		if rt.Given {
			all = slices.DeleteFunc(all, func(p place) bool { return p.daemon == nil })
		}
		return all, err
	}
	p, err := findPlace(rt, args[0])
	return []place{p}, err
}

// ask returns the status of a place, from its daemon where there is one.
func ask(ctx context.Context, p place) mountStatus {
	var m mountStatus
	if p.mount != nil {
		m.Store = p.mount.Source
	}
	if p.daemon != nil {
		m.Entry = p.daemon.Entry
	}
	m.Dir = p.dir
	d, err := p.alive(ctx)
	if err == nil {
		var s control.Status
		if s, err = d.Status(ctx); err == nil {
			m.Status = s
			return m
		}
	}
	m.State, m.Problem = control.Silent, err.Error()
	if d == nil && fusefs.IsDead(ctx, p.dir) {
		m.State = control.Dead
	}
	return m
}

// judge makes the exit code of what was printed.
func judge(all []mountStatus) error {
	var worst error
	for _, m := range all {
		if len(m.Stuck) > 0 {
			return exit.Errorf(exit.NotStored, "%s: %s cannot be stored", m.Dir, filesText(len(m.Stuck)))
		}
		if m.Claim != nil && claim.Status(m.Claim.State) == claim.Lost {
			return exit.Errorf(exit.NotStored, "%s: the store was taken over by %s", m.Dir, m.Claim.Host)
		}
		if m.Problem != "" && worst == nil {
			worst = exit.Errorf(exit.NoMount, "%s", m.Problem)
		}
	}
	return worst
}

func printJSON(w io.Writer, all []mountStatus) error {
	for i := range all {
		s := &all[i].Status
		if s.Stuck == nil {
			s.Stuck = []control.Problem{}
		}
		if s.Conflicts == nil {
			s.Conflicts = []control.Conflict{}
		}
		if s.Errors == nil {
			s.Errors = []control.LogLine{}
		}
		if s.Requests.ByKind == nil {
			s.Requests.ByKind = map[string]control.RequestKind{}
		}
	}
	return printIndented(w, map[string]any{"mounts": all})
}

package main

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sharefs/cmd/sharefs/internal/control"
	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/cmd/sharefs/internal/mountpoint"
	"sharefs/fusefs"
)

// place is a directory that has a mount of sharefs, a daemon of one, or both.
type place struct {
	dir    string
	daemon *control.Daemon    // nil: none that this user can find
	mount  *fusefs.MountEntry // nil: nothing of ours is mounted there
}

// listPlaces returns the places of this user, those of everybody for root, by directory. What killed daemons left
// behind, and is no mount, is removed.
func listPlaces(rt control.Runtime) ([]place, error) {
	mounts, err := fusefs.Mounts()
	if err != nil {
		return nil, err
	}
	daemons, err := rt.Find()
	if err != nil {
		return nil, err
	}
	at := map[string]*place{}
	for i, m := range mounts {
		if uid := os.Geteuid(); m.Ours() && (uid == 0 || uint32(uid) == m.UID) {
			at[m.Dir] = &place{dir: m.Dir, mount: &mounts[i]}
		}
	}
	for i, d := range daemons {
		p := at[d.Dir]
		switch {
		case p == nil && !d.Alive:
			if err := d.Forget(); err != nil {
				return nil, err
			}
			continue
		case p == nil:
			p = &place{dir: d.Dir}
			at[d.Dir] = p
		case p.daemon != nil && p.daemon.Alive:
			continue // a killed one of before, in another runtime directory
		}
		p.daemon = &daemons[i]
	}
	var all []place
	for _, p := range at {
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b place) int { return strings.Compare(a.dir, b.dir) })
	return all, nil
}

// findPlace returns the place that the user means by arg.
func findPlace(rt control.Runtime, arg string) (place, error) {
	dir, err := mountpoint.Resolve(arg)
	if err != nil {
		return place{}, exit.Errorf(exit.NoMount, "no sharefs mount: %w", err)
	}
	all, err := listPlaces(rt)
	if err != nil {
		return place{}, err
	}
	i := slices.IndexFunc(all, func(p place) bool { return p.dir == dir })
	if i < 0 {
		return place{}, exit.Errorf(exit.NoMount, "no sharefs mount on %s: sharefs status lists those that are", dir)
	}
	return all[i], nil
}

// alive returns the daemon of the place, or why there is none to talk to.
func (p place) alive(ctx context.Context) (*control.Daemon, error) {
	switch {
	case p.daemon != nil && p.daemon.Alive:
		return p.daemon, nil
	case fusefs.IsDead(ctx, p.dir):
		return nil, exit.Errorf(exit.NoMount, "the daemon of %s is gone: detach the mount with: sharefs umount %s", p.dir, p.dir)
	}
	return nil, exit.Errorf(exit.NoMount, "the daemon of %s is not in the runtime directories that this command looks into: give --%s as it was given to mount", p.dir, runtimeDirFlag)
}

// withDaemon runs f with the daemon of the mount that the argument names, until it is interrupted.
func withDaemon(f func(ctx context.Context, d *control.Daemon) error) func(*cobra.Command, []string) error {
	return withPlace(func(ctx context.Context, p place) error {
		d, err := p.alive(ctx)
		if err != nil {
			return err
		}
		return f(ctx, d)
	})
}

// withPlace runs f with the place that the argument names.
func withPlace(f func(ctx context.Context, p place) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		rt, err := runtimeOf(cmd)
		if err != nil {
			return err
		}
		ctx, cancel := untilInterrupted()
		defer cancel()
		p, err := findPlace(rt, args[0])
		if err != nil {
			return err
		}
		return f(ctx, p)
	}
}

// completeMounts offers the mountpoints to the shell.
func completeMounts(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	rt, err := runtimeOf(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	all, err := listPlaces(rt)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	dirs := make([]string, len(all))
	for i, p := range all {
		dirs[i] = p.dir
	}
	return dirs, cobra.ShellCompDirectiveDefault
}

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sharefs/cmd/sharefs/internal/control"
	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/cmd/sharefs/internal/mountpoint"
	"sharefs/fusefs"
)

func newUmount() *cobra.Command {
	var noWait bool
	cmd := &cobra.Command{
		Use:     "umount DIR",
		Aliases: []string{"unmount"},
		Short:   "Store everything, then unmount",
		Long: `umount waits until everything is in the store, unmounts, and returns when the daemon has ended.

When the store refuses something, or a process uses the mount, it says so and the mount stays. With --no-wait it unmounts
at once and says what is left; that is kept in the cache directory, and the next mount stores it. A mount whose daemon
is gone is detached. ^C ends the waiting, and the mount stays.`,
		Args:              arguments(1, 1, "one argument: DIR"),
		ValidArgsFunction: completeMounts,
		RunE: withPlace(func(ctx context.Context, p place) error {
			if (p.daemon == nil || !p.daemon.Alive) && fusefs.IsDead(ctx, p.dir) {
				return detachDead(p)
			}
			d, err := p.alive(ctx)
			if err != nil {
				return err
			}
			return umount(ctx, d, noWait)
		}),
	}
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "unmount at once, leave what is not stored to the next mount")
	return cmd
}

// detachDead takes away the mount of a daemon that is gone.
func detachDead(p place) error {
	if err := fusefs.Detach(p.dir); err != nil {
		return err
	}
	where := ""
	if p.daemon != nil {
		where = " in " + p.daemon.CacheDir
		if err := p.daemon.Forget(); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "sharefs: the daemon of %s was gone: the mount is detached; what was not stored is kept%s, and the next mount stores it\n", p.dir, where)
	return nil
}

func umount(ctx context.Context, d *control.Daemon, noWait bool) error {
	bar := newProgress(os.Stderr)
	watching, stop := context.WithCancel(ctx)
	go tellHolders(watching, d.Dir)
	out, err := d.Umount(ctx, noWait, storing(bar))
	stop()
	bar.end()
	if err != nil {
		return unanswered(ctx, err, d.Dir+" stays mounted")
	}
	switch {
	case out.Result == control.Left:
		fmt.Fprintf(os.Stderr, "sharefs: %s is unmounted; not stored: %s, kept in %s for the next mount\n", d.Dir, pendingText(out.Left), d.CacheDir)
		return nil
	case out.Result == control.InUse:
		users := "lsof may tell by whom"
		if len(out.Users) > 0 {
			users = "by " + strings.Join(out.Users, ", ")
		}
		return exit.Errorf(exit.Busy, "%s is in use, %s: it stays mounted", d.Dir, users)
	case out.Result == control.Failed && out.Mounted:
		return exit.Errorf(exit.NotStored, "%s stays mounted: %s", d.Dir, notStored(out))
	case out.Result == control.Failed:
		return exit.Errorf(exit.NotStored, "%s is unmounted: %s; it is kept in %s for the next mount", d.Dir, notStored(out), d.CacheDir)
	}
	if out.Kept.Scratch > 0 {
		fmt.Fprintf(os.Stderr, "sharefs: everything is stored but %s, which stay in %s for the next mount\n", scratchText(out.Kept), d.CacheDir)
	}
	return nil
}

// holdersPause is how often it is looked who else has a mount.
const holdersPause = time.Second

// tellHolders says who else has a mount that is unmounted here, while its daemon cannot end because of that.
func tellHolders(ctx context.Context, dir string) {
	m, mounted, err := mountpoint.Top(dir)
	if err != nil || !mounted {
		return
	}
	tick := time.NewTicker(holdersPause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now, mounted, err := mountpoint.Top(dir)
		if err != nil || mounted && now.Device == m.Device {
			continue
		}
		if holders := mountpoint.Holders(m.Device); len(holders) > 0 {
			fmt.Fprintf(os.Stderr, "sharefs: %s is unmounted here, but other mount namespaces have it still, of %s: waiting until they end, or unmount it there (nsenter -m -t PID umount %s)\n",
				dir, strings.Join(holders, ", "), dir)
			return
		}
	}
}

// notStored says how much an outcome left, and why.
func notStored(out control.Outcome) string {
	var why []string
	for i, s := range out.Stuck {
		if i == 3 {
			why = append(why, fmt.Sprintf("and %d more", len(out.Stuck)-i))
			break
		}
		why = append(why, s.Path+": "+s.Error)
	}
	if len(why) == 0 {
		why = []string{out.Error}
	}
	if out.Left.Files == 0 {
		return strings.Join(why, "; ")
	}
	return fmt.Sprintf("%s not stored: %s", pendingText(out.Left), strings.Join(why, "; "))
}

// unanswered is the error of a daemon that did not bring a request to its end.
func unanswered(ctx context.Context, err error, state string) error {
	if ctx.Err() != nil {
		return exit.Errorf(exit.NotStored, "interrupted: %s", state)
	}
	return exit.With(exit.NoMount, err)
}

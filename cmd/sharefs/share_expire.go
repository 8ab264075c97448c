package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/storage"
	"sharefs/storage/container"
	"sharefs/storage/crawl"
)

func newShareExpire() *cobra.Command {
	var e shareExpire
	cmd := &cobra.Command{
		Use:   "expire --dry-run PATH",
		Short: "Tell which shares a storage node would remove, because all their leases have ended",
		Long: `expire prints the shares whose leases have all ended, and how much there is of them: what a storage node removes whose tahoe.cfg has
expire.enabled = true. With --duration a lease ends that long after it was last renewed, with --cutoff if it was last renewed before that
date, else by its own time. It removes nothing, and so wants --dry-run: removing is for the node, which knows what is being renewed.`,
		Args: arguments(1, 1, "one argument: PATH"),
		RunE: func(cmd *cobra.Command, args []string) error { return e.run(cmd, args[0]) },
	}
	cmd.Flags().BoolVar(&e.dryRun, "dry-run", false, "only tell; required")
	cmd.Flags().DurationVar(&e.duration, "duration", 0, "how long a lease holds since it was renewed, such as 744h; 0: its own time")
	cmd.Flags().StringVar(&e.cutoff, "cutoff", "", "leases that were last renewed before this date have ended, such as 2026-01-31")
	cmd.Flags().StringVar(&e.kind, "kind", "", "shares of one kind only: mutable or immutable")
	cmd.MarkFlagsMutuallyExclusive("duration", "cutoff")
	return cmd
}

// shareExpire is the flags.
type shareExpire struct {
	dryRun   bool
	duration time.Duration
	cutoff   string
	kind     string
}

// rules are what the flags say.
func (e shareExpire) rules() (crawl.Expiry, error) {
	rules := crawl.Expiry{Duration: e.duration}
	if e.duration < 0 {
		return rules, exit.Errorf(exit.Usage, "--duration %v: leases hold for more than nothing", e.duration)
	}
	if e.cutoff != "" {
		at, err := time.Parse(time.DateOnly, e.cutoff)
		if err != nil {
			return rules, exit.Errorf(exit.Usage, "--cutoff %q is no date such as 2026-01-31", e.cutoff)
		}
		rules.Cutoff = at
	}
	switch e.kind {
	case "":
	case container.Mutable.String():
		rules.Kinds = []storage.Kind{container.Mutable}
	case container.Immutable.String():
		rules.Kinds = []storage.Kind{container.Immutable}
	default:
		return rules, exit.Errorf(exit.Usage, "--kind %q: it is mutable or immutable", e.kind)
	}
	return rules, nil
}

func (e shareExpire) run(cmd *cobra.Command, path string) error {
	rules, err := e.rules()
	if err != nil {
		return err
	}
	if !e.dryRun {
		return exit.Errorf(exit.Usage, "expire only tells what a storage node would remove: say so with --dry-run (see %s --help)", cmd.CommandPath())
	}
	s, err := openShares(path)
	if err != nil {
		return err
	}
	now := time.Now()
	failed, shares, ended, freed := 0, 0, 0, int64(0)
	err = shareWalk{store: s, failed: shareReport(cmd.OutOrStdout(), &failed), share: func(index storage.Index, number int, info storage.ShareInfo) {
		shares++
		if !allEnded(rules, info, now) {
			return
		}
		ended++
		freed += info.DiskBytes
		fmt.Fprintf(cmd.OutOrStdout(), "%v %3d  %-9v %12d  %s\n", index, number, info.Kind, info.FileSize, leasesText(len(info.Leases)))
	}}.run(cmd.Context())
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s of %s would be removed, and free %s\n", sharesText(ended), sharesText(shares), bytesText(freed))
	return unread(failed)
}

// allEnded reports whether a share had leases, and none holds it.
func allEnded(rules crawl.Expiry, info storage.ShareInfo, now time.Time) bool {
	for _, l := range info.Leases {
		if !rules.Ended(info.Kind, l, now) {
			return false
		}
	}
	return len(info.Leases) > 0
}

package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"sharefs/cmd/sharefs/internal/control"
	"sharefs/cmd/sharefs/internal/exit"
)

func newFlush() *cobra.Command {
	return &cobra.Command{
		Use:               "flush DIR",
		Short:             "Wait until everything is stored",
		Long:              "flush returns when everything that was changed before is in the store. When the store refuses something it fails and says what.",
		Args:              arguments(1, 1, "one argument: DIR"),
		ValidArgsFunction: completeMounts,
		RunE: withDaemon(func(ctx context.Context, d *control.Daemon) error {
			bar := newProgress(os.Stderr)
			out, err := d.Flush(ctx, storing(bar))
			bar.end()
			if err != nil {
				return unanswered(ctx, err, "not everything of "+d.Dir+" is stored yet")
			}
			if out.Result != control.Stored {
				return exit.Errorf(exit.NotStored, "%s: %s", d.Dir, notStored(out))
			}
			return nil
		}),
	}
}

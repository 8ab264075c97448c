package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"sharefs/cmd/sharefs/internal/control"
	"sharefs/cmd/sharefs/internal/exit"
)

func newReconcile() *cobra.Command {
	return &cobra.Command{
		Use:   "reconcile DIR",
		Short: "Compare what a mount knows with its store",
		Long: `reconcile lists the whole store, a request for about a thousand objects, and compares that with what the mount knows. What
another program has added, changed or deleted is seen in the mount when it returns. What waits to be stored stays as it is.`,
		Args:              arguments(1, 1, "one argument: DIR"),
		ValidArgsFunction: completeMounts,
		RunE: withDaemon(func(ctx context.Context, d *control.Daemon) error {
			next := time.Now().Add(lineEvery)
			found, err := d.Reconcile(ctx, func(objects int64) {
				if now := time.Now(); now.After(next) {
					next = now.Add(lineEvery)
					fmt.Fprintln(os.Stderr, "comparing: "+humanize.Comma(objects)+" objects so far")
				}
			})
			if err != nil {
				return unanswered(ctx, err, d.Dir+" may not be as the store is")
			}
			if found.Error != "" {
				return exit.Errorf(exit.Store, "%s may not be as the store is: %s", d.Dir, found.Error)
			}
			fmt.Printf("%s objects, %s, compared in %.1f s: %s\n", humanize.Comma(found.Objects), bytesText(found.Bytes), found.Seconds,
				differText(found.Directories))
			return nil
		}),
	}
}

func differText(directories int) string {
	switch directories {
	case 0:
		return "all is as the mount knew it"
	case 1:
		return "1 directory was changed by another program, and is as in the store now"
	}
	return humanize.Comma(int64(directories)) + " directories were changed by another program, and are as in the store now"
}

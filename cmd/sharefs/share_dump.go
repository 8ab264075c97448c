package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/storage/container"
)

func newShareDump() *cobra.Command {
	return &cobra.Command{
		Use:   "dump FILE",
		Short: "Show what the file of a share has: its container, sizes, leases",
		Args:  arguments(1, 1, "one argument: FILE"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			fi, err := f.Stat()
			if err != nil {
				return err
			}
			c, err := container.Open(args[0], f, fi.Size())
			if err != nil {
				return exit.With(exit.Findings, err)
			}
			return dumpShare(cmd.OutOrStdout(), c, fi.Size())
		},
	}
}

// dumpShare prints a container, but no secret.
func dumpShare(out io.Writer, c container.Container, size int64) error {
	leases, err := c.Leases()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "container:  %v, version %d\n", c.Kind(), c.Version())
	fmt.Fprintf(out, "data:       %d bytes\n", c.Size())
	fmt.Fprintf(out, "file:       %d bytes\n", size)
	if m, ok := c.(*container.MutableFile); ok {
		fmt.Fprintf(out, "node:       %v\n", m.Node())
	}
	fmt.Fprintf(out, "leases:     %d\n", len(leases))
	for n, l := range leases {
		secrets := "as they are"
		if l.Hashed {
			secrets = "hashed"
		}
		fmt.Fprintf(out, "  %d: ends %s, renewed about %s, owner %d, secrets %s", n, timeText(l.Expires), timeText(l.Renewed()), l.Owner, secrets)
		if c.Kind() == container.Mutable {
			fmt.Fprintf(out, ", of node %v", l.Node)
		}
		fmt.Fprintln(out)
	}
	if i, ok := c.(*container.ImmutableFile); ok {
		return exit.With(exit.Findings, i.Check())
	}
	return nil
}

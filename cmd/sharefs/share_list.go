package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/storage"
)

func newShareList() *cobra.Command {
	return &cobra.Command{
		Use:   "ls PATH",
		Short: "List all shares: storage index, number, kind, size, leases and when the next one ends",
		Args:  arguments(1, 1, "one argument: PATH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openShares(args[0])
			if err != nil {
				return err
			}
			failed := 0
			err = shareWalk{store: s, failed: shareReport(cmd.OutOrStdout(), &failed), share: func(index storage.Index, number int, info storage.ShareInfo) {
				fmt.Fprintf(cmd.OutOrStdout(), "%v %3d  %-9v v%d %12d  %s%s\n", index, number, info.Kind, info.Version, info.Size,
					leasesText(len(info.Leases)), nextEnd(info.Leases))
			}}.run(cmd.Context())
			if err != nil {
				return err
			}
			return unread(failed)
		},
	}
}

// nextEnd is when the first of some leases ends.
func nextEnd(leases []storage.Lease) string {
	if len(leases) == 0 {
		return ""
	}
	first := leases[0].Expires
	for _, l := range leases {
		if l.Expires.Before(first) {
			first = l.Expires
		}
	}
	return ", next ends " + timeText(first)
}

func newShareFind() *cobra.Command {
	return &cobra.Command{
		Use:   "find SI [PATH]",
		Short: "Print the files of the shares of a storage index",
		Long: `find prints the files of the shares of a storage index, those that are being uploaded not among them. PATH is the current directory
where it is not given. The exit code is 1 when there is none.`,
		Args: arguments(1, 2, "one or two arguments: SI [PATH]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			index, err := storage.ParseIndex(args[0])
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			path := "."
			if len(args) > 1 {
				path = args[1]
			}
			s, err := openShares(path)
			if err != nil {
				return err
			}
			numbers, err := s.Shares(index)
			if err != nil {
				return err
			}
			for _, n := range numbers {
				fmt.Fprintln(cmd.OutOrStdout(), s.SharePath(index, n))
			}
			if len(numbers) == 0 {
				return fmt.Errorf("there is no share of %v in %s", index, filepath.Join(s.Dir(), "shares"))
			}
			return nil
		},
	}
}

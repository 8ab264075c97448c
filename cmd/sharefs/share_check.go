package main

import (
	"fmt"
	"io"
	"os"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"sharefs/storage"
)

func newShareCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check PATH",
		Short: "Read the container of every share, and report damaged ones",
		Long: `check reads the header and the leases of every share, and names each file that is no container of a known version,
or does not have the bytes that its header promises. The data of shares are not read: their hashes are for clients, see "tahoe check
--verify". The exit code is 8 when something is damaged.`,
		Args: arguments(1, 1, "one argument: PATH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openShares(args[0])
			if err != nil {
				return err
			}
			c := shareCheck{out: cmd.OutOrStdout(), progress: newProgress(os.Stderr)}
			err = shareWalk{store: s, prefix: c.show, failed: c.fail, share: c.share}.run(cmd.Context())
			c.progress.end()
			if err != nil {
				return err
			}
			fmt.Fprintf(c.out, "%s, %s, with %s; %s cannot be read\n", sharesText(c.shares), bytesText(c.bytes), leasesText(c.leases), filesText(c.failed))
			return unread(c.failed)
		},
	}
}

// shareCheck counts what is seen.
type shareCheck struct {
	out            io.Writer
	progress       progress
	shares, leases int
	bytes          int64
	failed         int
}

func (c *shareCheck) show(done, all int) {
	text := sharesText(c.shares) + ", " + filesText(c.failed) + " damaged"
	c.progress.show(amount{work: "checking", text: text, done: int64(done), whole: int64(all), noBytes: true})
}

func (c *shareCheck) share(index storage.Index, number int, info storage.ShareInfo) {
	if info.Doubt != nil {
		c.fail(fmt.Sprintf("%v/%d", index, number), info.Doubt)
		return
	}
	c.shares++
	c.leases += len(info.Leases)
	c.bytes += info.FileSize
}

func (c *shareCheck) fail(path string, err error) {
	c.progress.end() // so that the report has a line of its own
	shareReport(c.out, &c.failed)(path, err)
}

func sharesText(n int) string {
	if n == 1 {
		return "1 share"
	}
	return humanize.Comma(int64(n)) + " shares"
}

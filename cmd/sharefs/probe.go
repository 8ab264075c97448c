package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sharefs/cmd/sharefs/internal/config"
	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/cmd/sharefs/internal/probe"
	"sharefs/cmd/sharefs/internal/stores"
	"sharefs/provider"
	"sharefs/provider/all"
	"sharefs/provider/prefix"
)

// probing is a probe that was asked for.
type probing struct {
	store    stores.Store
	readOnly bool
	asJSON   bool
	rounds   int
	size     int64
	timeout  time.Duration
}

func newProbe() *cobra.Command {
	p := probing{size: 16 << 20, timeout: 20 * time.Second}
	cmd := &cobra.Command{
		Use:   "probe STORE",
		Short: "Try what can be done with a store, and how fast",
		Long: `probe says whether a store can be reached, what the credentials may do (each right is tried), what the store can do,
how long small requests take, how fast bytes move, what is wrong, and what to do about it. What it writes is below
.sharefs/probe- and is removed again, also when it is interrupted.

The exit code is 0 when all works that a mount needs, 8 when something does not, and 3 when the store cannot be reached.

--json prints an object with
  store, usable (true or false), rights (list, write, read, delete: allowed, refused or not tried)
  capabilities   what the store can do, by name; sizes in bytes, 0 is no limit; missing: not tried
  latency        list of op, count, median_ms, p95_ms
  throughput     up, down (bytes a second), bytes, streams (objects at a time); missing: not measured
  clock_seconds  how much the clock of the store is before that of this machine
  left           keys that could not be removed
  problems       list of what, error, advice`,
		Args:              arguments(1, 1, "one argument: STORE"),
		ValidArgsFunction: completeStores,
	}
	cmd.Flags().BoolVarP(&p.readOnly, "read-only", "r", false, "write nothing: only listing and reading are tried")
	cmd.Flags().IntVar(&p.rounds, "rounds", 10, "how often each kind of small request is timed; 0 times none")
	cmd.Flags().Var(config.Size(&p.size, 0), "size", "bytes that are sent and read back to measure the throughput; 0 measures none")
	cmd.Flags().Var(config.Duration(&p.timeout, time.Second, time.Hour), "timeout", "for one request")
	cmd.Flags().BoolVar(&p.asJSON, "json", false, "print JSON")
	config.BindFile(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel := untilInterrupted()
		defer cancel()
		var err error
		if p.store, err = storeOf(cmd, args[0]); err != nil {
			return err
		}
		report, err := p.run(ctx)
		if err != nil {
			return err
		}
		if p.asJSON {
			err = printIndented(cmd.OutOrStdout(), reportJSON(p.store, report))
		} else {
			err = printReport(cmd.OutOrStdout(), p.store, report)
		}
		if err != nil {
			return err
		}
		return judgeProbe(p.store, report)
	}
	return cmd
}

// storeOf returns the store that an argument means.
func storeOf(cmd *cobra.Command, arg string) (stores.Store, error) {
	file, err := config.FileOf(cmd.Flags(), places())
	if err != nil {
		return stores.Store{}, err
	}
	return stores.Find(file, arg)
}

// run opens the store without asking it anything, and tries it.
func (p *probing) run(ctx context.Context) (*probe.Report, error) {
	driver, err := p.store.Driver(ctx, all.Options{ReadOnly: true})
	if err != nil {
		return nil, p.store.Error(err)
	}
	defer driver.Close()
	below, err := prefix.New(driver, p.store.Location.Prefix())
	if err != nil {
		return nil, p.store.Error(err)
	}
	return probe.Run(ctx, below, probe.Options{ReadOnly: p.readOnly, Rounds: p.rounds, Size: p.size, Timeout: p.timeout,
		Capabilities: p.capabilities}), nil
}

// capabilities opens the store as a mount does, and returns what it can do.
func (p *probing) capabilities(ctx context.Context) (provider.Capabilities, error) {
	driver, err := p.store.Driver(ctx, all.Options{})
	if err != nil {
		return provider.Capabilities{}, err
	}
	return driver.Capabilities(), driver.Close()
}

// judgeProbe makes the exit code of what was printed.
func judgeProbe(s stores.Store, r *probe.Report) error {
	switch {
	case r.Usable():
		return nil
	case r.Unreachable():
		return s.Error(r.Problems[0].Err)
	}
	whats := make([]string, len(r.Problems))
	for i, p := range r.Problems {
		whats[i] = p.What
	}
	return exit.Errorf(exit.Findings, "the store %s cannot be used for everything: %s", s, strings.Join(whats, ", "))
}

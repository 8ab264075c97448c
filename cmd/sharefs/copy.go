package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sharefs/cmd/sharefs/internal/config"
	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/cmd/sharefs/internal/logging"
	"sharefs/cmd/sharefs/internal/stores"
	"sharefs/fusefs/claim"
	"sharefs/provider"
	"sharefs/provider/limit"
	"sharefs/provider/replicate"
	"sharefs/provider/stack"
)

func newCopy() *cobra.Command {
	var o copyOptions
	cmd := &cobra.Command{
		Use:   "copy SOURCE DESTINATION",
		Short: "Copy a whole store to another one",
		Long: `copy makes the store DESTINATION hold what the store SOURCE holds: every object under its key, with its bytes, mode, owner,
times, xattrs, symlinks and empty directories. A store is a URL, a directory or a name, as for sharefs mount.

What an earlier copy has brought is not copied again: one that was interrupted or killed goes on when the same command is run
again. An object that was changed on either side since is copied again.

The destination is claimed meanwhile, so it must not be mounted. The source is only read; best it is not mounted for writing
either. What only the destination has stays there, unless --delete is given.

The destination checks the checksum of each request; what changes in the source while it is copied is copied again; at the end
both stores are listed once more and compared by size. --verify=read also reads each copy back.

Objects that fail are listed at the end, and the exit code is 5 then, as it is after ^C. At most 128 MiB of contents are in
memory, unless a single part is larger.

--json prints an object with source, destination, dry_run; complete; copied, same (there already), deleted, extra (only the
destination has them, and they stay), each with objects and bytes; failed, a number; failures, a list of key and error, of
the first 1000; seconds; error, why it ended before its end.`,
		Args:              arguments(2, 2, "SOURCE and DESTINATION, both stores"),
		ValidArgsFunction: completeStores,
		RunE:              func(cmd *cobra.Command, args []string) error { return runCopy(cmd, args[0], args[1], o) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	config.BindFile(flags)
	flags.BoolVarP(&o.dryRun, "dry-run", "n", false, "change nothing; print what would be copied and deleted")
	flags.BoolVar(&o.delete, "delete", false, "delete what only the destination has")
	flags.StringVar(&o.verify, "verify", verifyStore, "store: the destination checks what it receives; read: each copy is read back too")
	flags.IntVar(&o.parallel, "parallel", replicate.DefaultParallel, "objects at a time")
	flags.BoolVar(&o.takeOver, "take-over", false, "take the destination from a mount or copy that is gone for good, after watching it for three minutes")
	flags.BoolVar(&o.force, "force", false, "with --take-over: at once")
	flags.BoolVar(&o.json, "json", false, "print the result as JSON")
	return cmd
}

// The ways to verify.
const (
	verifyStore = "store"
	verifyRead  = "read"
)

// maxParallel is how many requests a store is sent at a time.
const maxParallel = limit.DefaultMost

type copyOptions struct {
	dryRun, delete, takeOver, force, json bool
	verify                                string
	parallel                              int
}

func (o copyOptions) check() error {
	switch {
	case o.verify != verifyStore && o.verify != verifyRead:
		return exit.Errorf(exit.Usage, "--verify=%s: it is %s or %s", o.verify, verifyStore, verifyRead)
	case o.parallel < 1 || o.parallel > maxParallel:
		return exit.Errorf(exit.Usage, "--parallel=%d: it is a number from 1 to %d", o.parallel, maxParallel)
	case o.force && !o.takeOver:
		return exit.Errorf(exit.Usage, "--force says how to take over: give --take-over too")
	}
	return nil
}

// copying is a copy from one store to another.
type copying struct {
	o        copyOptions
	log      *slog.Logger
	src, dst *stack.Stack
	dstID    string
}

func runCopy(cmd *cobra.Command, from, to string, o copyOptions) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	file, err := config.FileOf(cmd.Flags(), places())
	if err != nil {
		return err
	}
	log, err := logging.New(logging.Options{Level: "warn"})
	if err != nil {
		return err
	}
	ctx, cancel := untilInterrupted()
	defer cancel()
	c := &copying{o: o, log: log.Logger}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.open(ctx, file, from, to); err != nil {
		return err
	}
	c.warnOfClaim(ctx)
	began := time.Now()
	p, ended, err := c.run(ctx)
	if err != nil {
		return err
	}
	if err := c.result(p, ended, time.Since(began)).print(cmd.OutOrStdout(), o.json); err != nil {
		return err
	}
	return c.judge(ctx, p, ended)
}

// run copies, with the claim on the destination. err says why it did not begin, ended how it ended.
func (c *copying) run(ctx context.Context) (p replicate.Progress, ended, err error) {
	options := replicate.Options{Parallel: c.o.parallel, Delete: c.o.delete, DryRun: c.o.dryRun, VerifyRead: c.o.verify == verifyRead}
	if c.o.dryRun {
		if !c.o.json {
			options.Changed = printChange
		}
		p, ended = c.replicate(ctx, c.dst, options)
		return p, ended, nil
	}
	held, err := c.claim(ctx)
	if err != nil {
		return p, nil, err
	}
	options.OnUpload, options.OnGone = held.state.Began, held.state.Gone
	p, ended = c.replicate(ctx, held.Fence(c.dst), options)
	switch {
	case ended == nil:
		ended = held.abortUploads(ctx, c)
	case held.Lost():
		ended = fmt.Errorf("%s has taken it over", held.State().Holder.Holder())
	}
	held.release(c.log)
	return p, ended, nil
}

// open opens both stores.
func (c *copying) open(ctx context.Context, file *config.File, from, to string) error {
	src, err := find(ctx, file, from)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	dst, err := find(ctx, file, to)
	if err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	if src.inside(dst) || dst.inside(src) {
		return exit.Errorf(exit.Usage, "%s and %s are one store, or one is in the other: a copy needs two", src, dst)
	}
	c.dstID = dst.id
	if c.src, err = src.Open(ctx, stores.Options{ReadOnly: true, Logger: c.log}); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if c.dst, err = dst.Open(ctx, stores.Options{ReadOnly: c.o.dryRun, Logger: c.log}); err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	return nil
}

// found is a store that an argument means.
type found struct {
	stores.Store
	id    string // of provider/all
	place string // the id, or a directory without symlinks
}

func find(ctx context.Context, file *config.File, text string) (f found, err error) {
	if f.Store, err = stores.Find(file, text); err != nil {
		return f, err
	}
	if f.id, err = f.ID(ctx); err != nil {
		return f, exit.With(exit.Store, err)
	}
	f.place = f.id
	if dir := f.Location.Dir(); dir != "" {
		if f.place, err = filepath.EvalSymlinks(dir); err != nil {
			return f, f.Error(err)
		}
	}
	return f, nil
}

// inside reports whether a store is another one, or a part of it.
func (f found) inside(outer found) bool {
	return strings.HasPrefix(strings.TrimSuffix(f.place, "/")+"/", strings.TrimSuffix(outer.place, "/")+"/")
}

func (c *copying) close() error {
	var errs []error
	for _, s := range []*stack.Stack{c.src, c.dst} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// warnOfClaim tells who may change the source meanwhile.
func (c *copying) warnOfClaim(ctx context.Context) {
	held, err := claim.Look(ctx, c.src)
	switch {
	case err != nil:
		c.log.Warn("whether the source is mounted cannot be seen", "error", err)
	case held != nil && !held.Released:
		fmt.Fprintf(os.Stderr, "sharefs: %s holds the source, last heard of at %s: what is not stored yet there, or changes meanwhile, may be missing at the destination\n",
			held.Holder(), held.Renewed.Local().Format(time.DateTime))
	}
}

// replicate copies and shows how far it is. The claim's requests go first.
func (c *copying) replicate(ctx context.Context, dst provider.Provider, o replicate.Options) (replicate.Progress, error) {
	r := replicate.New(c.src, dst, o)
	bar := newProgress(os.Stderr)
	done := make(chan error, 1)
	go func() { done <- r.Run(limit.Background(ctx)) }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			bar.end()
			return r.Progress(), err
		case <-tick.C:
			bar.show(copyAmount(r.Progress()))
		}
	}
}

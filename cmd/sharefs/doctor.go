package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"sharefs/cmd/sharefs/internal/config"
	"sharefs/cmd/sharefs/internal/doctor"
	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/cmd/sharefs/internal/stores"
	"sharefs/fusefs/tree"
	"sharefs/provider/stack"
)

func newDoctor() *cobra.Command {
	o := doctorOptions{older: 24 * time.Hour}
	cmd := &cobra.Command{
		Use:   "doctor STORE|DIR",
		Short: "Look for what is wrong with a store, a mount or a cache directory, and mend what it is told to",
		Long: `doctor looks through a store, a mount, or a cache directory that nobody uses, and says what is not as it should be. It changes
nothing unless --fix says what. It lists the whole store, a request for about a thousand objects.

In a store:
  uploads      in parts, neither completed nor aborted, and in Swift the segments that no file uses: the store bills them
  leftovers    below .sharefs/open/: parts of files that were written when the local disk was full. The mount that wrote them
               needs them until these files are stored: mount with its cache directory before they are mended
  probes       what a probe could not remove
  checkpoints  all but the newest
  claims       all but the one that counts
  no-path      keys that are no path (a//b, ../x): not seen through a mount. Rename them with the store's own tools
  shadowed     objects a where there is a/b as well: the mount shows the directory
  strange      keys below .sharefs/ that are none of ours
The first five can be mended. Nothing is mended while somebody holds the claim on the store (unless --force), and nothing
that is younger than --older. A claim that a dead machine left is shown, and is taken by sharefs mount --take-over.

Of a mount or a cache directory:
  stuck        what the store does not take, and why; pending: changes that wait for the next mount
  conflicts    contents that could not be stored, and are kept aside
  claim        the store was taken over by another mount, or it is not known
  room         there is no room for changes
  daemon       it is gone or does not answer

The exit code is 0 when all is well, 8 when something was found that is still there, 3 when the store cannot be opened.

--json prints an object with what (store, mount or cache), name, objects, bytes, claim (of a store: host, pid, started, renewed,
released), cache_size, stage_size, and findings, a list of kind, key (or path), text, size, time, young, mended.`,
		Args:              arguments(1, 1, "one argument: STORE or DIR"),
		ValidArgsFunction: completeStores,
	}
	cmd.Flags().StringSliceVar(&o.fix, "fix", nil, "mend these kinds: "+kindsText()+", or all; several with commas")
	cmd.Flags().Var(config.Duration(&o.older, 0, 10*365*24*time.Hour), "older", "mend only what is at least so old")
	cmd.Flags().BoolVar(&o.force, "force", false, "mend even while somebody holds the store: what he is doing may fail, or be lost")
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print JSON")
	config.BindFile(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel := untilInterrupted()
		defer cancel()
		d, failed := o.examine(ctx, cmd, args[0])
		if d == nil {
			return failed
		}
		var err error
		if o.asJSON {
			err = printIndented(cmd.OutOrStdout(), d)
		} else {
			err = d.print(cmd.OutOrStdout())
		}
		return errors.Join(failed, err, d.judge())
	}
	return cmd
}

func kindsText() string {
	texts := make([]string, len(doctor.Mendable))
	for i, k := range doctor.Mendable {
		texts[i] = string(k)
	}
	return strings.Join(texts, ", ")
}

type doctorOptions struct {
	fix    []string
	older  time.Duration
	force  bool
	asJSON bool
}

// kinds returns what is to be mended.
func (o doctorOptions) kinds() ([]doctor.Kind, error) {
	if slices.Equal(o.fix, []string{"all"}) {
		return doctor.Mendable, nil
	}
	var kinds []doctor.Kind
	for _, text := range o.fix {
		if !slices.Contains(doctor.Mendable, doctor.Kind(text)) {
			return nil, exit.Errorf(exit.Usage, "--fix %s: it is all, or of %s", text, kindsText())
		}
		kinds = append(kinds, doctor.Kind(text))
	}
	return kinds, nil
}

// examine looks at what the argument means: a named store or a URL; a mount, a cache directory, or another directory, which
// is a store.
func (o doctorOptions) examine(ctx context.Context, cmd *cobra.Command, arg string) (*diagnosis, error) {
	kinds, err := o.kinds()
	if err != nil {
		return nil, err
	}
	file, err := config.FileOf(cmd.Flags(), places())
	if err != nil {
		return nil, err
	}
	if _, named := file.Store(arg); !named {
		if fi, err := os.Stat(arg); err == nil && fi.IsDir() || isMountOfOurs(cmd, arg) {
			d, err := examineDir(ctx, cmd, arg)
			switch {
			case (d != nil || err != nil) && len(kinds) > 0:
				return nil, exit.Errorf(exit.Usage, "%s is no store: --fix mends stores", arg)
			case d != nil || err != nil:
				return d, err
			}
			if !strings.HasPrefix(arg, "/") {
				arg = "./" + arg
			}
		}
	}
	s, err := stores.Find(file, arg)
	if err != nil {
		return nil, err
	}
	return o.examineStore(ctx, s, kinds)
}

// examineStore looks through a store, and mends the kinds. An error beside a diagnosis says why not all was mended.
func (o doctorOptions) examineStore(ctx context.Context, s stores.Store, kinds []doctor.Kind) (_ *diagnosis, err error) {
	opened, err := s.Open(ctx, stores.Options{ReadOnly: len(kinds) == 0})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	r, err := o.look(ctx, opened)
	if err != nil {
		return nil, s.Error(err)
	}
	if len(kinds) == 0 {
		return ofStore(s, r), nil
	}
	err = doctor.Mend(ctx, opened, r, kinds, o.force)
	if errors.Is(err, doctor.ErrHeld) {
		return nil, exit.Errorf(exit.Busy, "nothing is mended: %w: unmount it there; with --force what that mount is doing may fail or be lost", err)
	}
	return ofStore(s, r), err
}

func (o doctorOptions) look(ctx context.Context, store *stack.Stack) (*doctor.Report, error) {
	bar := newProgress(os.Stderr)
	defer bar.end()
	return doctor.Examine(ctx, store, doctor.Options{Older: o.older, Now: time.Now(), Progress: func(objects int64) {
		bar.show(amount{work: "listing", text: humanize.Comma(objects) + " objects so far"})
	}})
}

// isMountOfOurs reports whether a directory is a mount, without touching it: its daemon may hang.
func isMountOfOurs(cmd *cobra.Command, arg string) bool {
	rt, err := runtimeOf(cmd)
	if err != nil {
		return false
	}
	_, err = findPlace(rt, arg)
	return err == nil
}

// examineDir looks at a mount or a cache directory; nil for a directory that is neither.
func examineDir(ctx context.Context, cmd *cobra.Command, arg string) (*diagnosis, error) {
	rt, err := runtimeOf(cmd)
	if err != nil {
		return nil, err
	}
	if p, err := findPlace(rt, arg); err == nil {
		return ofMount(ask(ctx, p)), nil
	}
	if !tree.IsCacheDir(arg) {
		return nil, nil
	}
	in, err := tree.Inspect(ctx, arg)
	if errors.Is(err, tree.ErrLocked) {
		return nil, exit.Errorf(exit.Busy, "%w: sharefs status lists the mounts, and sharefs doctor looks at one", err)
	}
	if err != nil {
		return nil, fmt.Errorf("cache directory %s: %w", arg, err)
	}
	return ofCache(arg, in), nil
}

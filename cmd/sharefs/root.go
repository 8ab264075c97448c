package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"sharefs/cmd/sharefs/internal/config"
	"sharefs/cmd/sharefs/internal/control"
	"sharefs/cmd/sharefs/internal/exit"
)

const runtimeDirFlag = "runtime-dir"

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "sharefs",
		Short: "Mount an object store as a filesystem",
		Long: `sharefs mounts S3, or a directory, as a filesystem: one file is one object of the same name.
Changes are staged on the local disk and stored in the background; reads go through a cache.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := ""
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = ": did you mean " + strings.Join(near, " or ") + "?"
			}
			return exit.Errorf(exit.Usage, "unknown command %q%s (sharefs --help lists them)", args[0], hint)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exit.Errorf(exit.Usage, "%w (see %s --help)", err, cmd.CommandPath())
	})
	root.PersistentFlags().String(runtimeDirFlag, "", "where the control sockets of mounts are (default: $XDG_RUNTIME_DIR/sharefs, for root /run/sharefs) ["+config.EnvName(runtimeDirFlag)+"]")
	root.AddCommand(newMount(), newUmount(), newStatus(), newFlush(), newReconcile(), newStores(), newProbe(), newCreate(), newCopy(), newDoctor(),
		newShare(), newServe(), newVersion(), newExitCodes())
	return root
}

// arguments checks the number of arguments, and names those that are missing.
func arguments(least, most int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return exit.Errorf(exit.Usage, "%s needs %s (see %s --help)", cmd.Name(), names, cmd.CommandPath())
		case len(args) > most:
			return exit.Errorf(exit.Usage, "%s takes %s, and %q is too much (see %s --help)", cmd.Name(), names, args[most], cmd.CommandPath())
		}
		return nil
	}
}

// runtimeOf returns where daemons are found.
func runtimeOf(cmd *cobra.Command) (control.Runtime, error) {
	dir, err := cmd.Flags().GetString(runtimeDirFlag)
	if err != nil {
		return control.Runtime{}, err
	}
	if dir == "" {
		dir = os.Getenv(config.EnvName(runtimeDirFlag))
	}
	return control.FindRuntime(control.RuntimeOptions{Dir: dir, Env: os.LookupEnv, UID: os.Geteuid(), Run: "/run"})
}

func places() config.Places {
	return config.Places{Env: os.LookupEnv, Root: os.Geteuid() == 0}
}

func newExitCodes() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long: fmt.Sprintf(`Exit codes of sharefs:

  %d  done
  %d  failed, for a reason without a code of its own
  %d  wrong usage: a flag, an argument, an environment variable, the config file
  %d  the store cannot be opened: no such bucket, wrong key, no answer, unknown URL parameter
  %d  the directory cannot be mounted on: missing, mounted already, not permitted, no /dev/fuse
  %d  something is not stored: umount, flush and copy; status, when something is stuck
  %d  a process uses the mount, or another daemon its cache directory
  %d  no mount there, or its daemon does not answer
  %d  probe, doctor and share have found something that is not as it should be`,
			exit.OK, exit.Failed, exit.Usage, exit.Store, exit.Mountpoint, exit.NotStored, exit.Busy, exit.NoMount, exit.Findings),
	}
}

package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"sharefs/cmd/sharefs/internal/config"
	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/cmd/sharefs/internal/stores"
	"sharefs/provider"
	"sharefs/provider/all"
)

func newCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create STORE",
		Short: "Make the bucket, container or directory of a store",
		Long: `create makes the bucket, container or directory that STORE names, with the settings that are usual there; a bucket in the region
of the URL (?region=...). One that is there already, and can be used, is no error; one of somebody else is.
Nothing is made for a prefix: it is there when an object is.`,
		Args:              arguments(1, 1, "one argument: STORE"),
		ValidArgsFunction: completeStores,
	}
	config.BindFile(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel := untilInterrupted()
		defer cancel()
		s, err := storeOf(cmd, args[0])
		if err != nil {
			return err
		}
		made, err := create(ctx, s)
		if err != nil {
			return createError(s, err)
		}
		what := "is there already"
		if made {
			what = "is made"
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", s, what)
		return err
	}
	return cmd
}

// create makes the store unless it is there.
func create(ctx context.Context, s stores.Store) (made bool, err error) {
	driver, err := s.Driver(ctx, all.Options{ReadOnly: true})
	if provider.Is(err, provider.KindNoStore) {
		made = true
		driver, err = s.Driver(ctx, all.Options{ReadOnly: true, Create: true})
	}
	if err != nil {
		return false, err
	}
	defer driver.Close()
	_, err = driver.List(ctx, provider.ListOptions{Limit: 1})
	switch provider.KindOf(err) {
	case provider.KindNoStore:
		made = true
	case provider.KindDenied: // perhaps it is somebody else's: the store tells who tries to make it
	default:
		return made, err
	}
	return made, driver.Create(ctx)
}

// createError says what to do about a store that cannot be made.
func createError(s stores.Store, err error) error {
	advice := ""
	switch provider.KindOf(err) {
	case provider.KindConflict:
		advice = "the name belongs to somebody else, or something else has it: choose another one"
	case provider.KindDenied:
		advice = "these credentials may not make it: have it made by somebody who may"
	default:
		advice = stores.Advice(err)
	}
	return exit.With(exit.Store, fmt.Errorf("the store %s cannot be made: %w%s", s, err, hint(advice)))
}

// hint is an advice at the end of an error.
func hint(advice string) string {
	if advice == "" {
		return ""
	}
	return ": " + advice
}

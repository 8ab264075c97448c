package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sharefs/cmd/sharefs/internal/config"
	"sharefs/cmd/sharefs/internal/stores"
	"sharefs/provider/secret"
)

func newStores() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stores",
		Short: "List the stores that the config file names",
		Long: `stores lists the stores that the config file names: a table [stores.NAME] with url, and perhaps parameters, secrets and settings
of mounts. Every command that takes a STORE takes the name. No store is asked, and nothing secret is shown.

--json prints an object with "config", the name of the file (empty: there is none), and "stores", a list of name, url,
secrets (the name of the file with the credentials) and problem (why the store cannot be used as it stands there).`,
		Args: arguments(0, 0, "no argument"),
	}
	config.BindFile(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		f, err := config.FileOf(cmd.Flags(), places())
		if err != nil {
			return err
		}
		listed := listStores(f)
		if asJSON {
			return printIndented(cmd.OutOrStdout(), map[string]any{"config": f.Name, "stores": listed})
		}
		return printStores(cmd.OutOrStdout(), f, listed)
	}
	return cmd
}

// listedStore is what is printed of a store.
type listedStore struct {
	Name    string `json:"name"`
	URL     string `json:"url,omitempty"`
	Secrets string `json:"secrets,omitempty"`
	Problem string `json:"problem,omitempty"`
}

func listStores(f *config.File) []listedStore {
	all := []listedStore{}
	for _, name := range f.Stores() {
		one := listedStore{Name: name}
		s, err := stores.Find(f, name)
		if err == nil {
			one.URL, one.Secrets = s.String(), s.Secrets
		}
		if err == nil && s.Secrets != "" {
			_, err = secret.Open(s.Secrets, nil)
		}
		if err != nil {
			one.Problem = err.Error()
		}
		all = append(all, one)
	}
	return all
}

func printStores(w io.Writer, f *config.File, all []listedStore) error {
	if len(all) == 0 {
		where := cmp.Or(f.Name, "there is no config file")
		_, err := fmt.Fprintf(w, "no named stores (%s)\n", where)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range all {
		line := s.Name + "\t" + s.URL
		if s.Secrets != "" {
			line += "\tsecrets " + s.Secrets
		}
		if s.Problem != "" {
			line += "\tPROBLEM " + s.Problem
		}
		fmt.Fprintln(t, line)
	}
	return t.Flush()
}

// printIndented prints JSON for people and machines, URLs as they are.
func printIndented(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// completeStores offers the named stores to the shell, as the first argument.
func completeStores(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	f, err := config.FileOf(cmd.Flags(), places())
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return f.Stores(), cobra.ShellCompDirectiveDefault
}

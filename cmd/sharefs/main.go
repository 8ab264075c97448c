// Command sharefs mounts an object store as a filesystem. Each subcommand is one thin file; how settings are read is
// in internal/config, the life of a daemon in internal/daemon, the talk between commands and daemons in
// internal/control.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sharefs/cmd/sharefs/internal/exit"
)

func main() {
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == helperName {
		var ok bool
		if args, ok = helperArgs(args); !ok {
			return
		}
	}
	os.Exit(int(run(args)))
}

// run runs one command and says in one line what went wrong.
func run(args []string) exit.Code {
	root := newRoot()
	root.SetArgs(args)
	err := keepSecret()
	if err == nil {
		err = root.Execute()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sharefs: "+oneLine(err))
	}
	return exit.CodeOf(err)
}

// oneLine joins the lines of an error that has several causes.
func oneLine(err error) string { return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ") }

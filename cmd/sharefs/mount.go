package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"sharefs/cmd/sharefs/internal/background"
	"sharefs/cmd/sharefs/internal/config"
	"sharefs/cmd/sharefs/internal/control"
	life "sharefs/cmd/sharefs/internal/daemon"
	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/cmd/sharefs/internal/logging"
	"sharefs/cmd/sharefs/internal/mountpoint"
	"sharefs/cmd/sharefs/internal/stores"
	"sharefs/provider/all"
)

func newMount() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mount [STORE] DIR",
		Short: "Mount a store on a directory",
		Long: `mount mounts a store on an existing directory, goes to the background, and returns when the mount works.

STORE is a name of the config file (sharefs stores lists them), or one of:
` + storesText() + `
Without STORE the embedded default is mounted: the directory $XDG_DATA_HOME/sharefs (~/.local/share/sharefs), made when
missing.

A file that was closed is only on this disk until it is stored, moments later: sharefs status says what waits,
fsync and sharefs flush wait for it. It survives a killed daemon: the next mount stores it.

SIGTERM and SIGINT store everything and unmount; if a process still uses the mount it is detached then, and its open
files fail. A second signal ends at once and leaves the rest to the next mount. umount(8) stores everything too.

A read-write mount claims its store, so that there is no other: a second one is refused, and told who holds it. The claim
ends with the mount; a killed daemon's is taken at once by the next mount with its cache directory. --take-over takes that
of a machine that is gone for good. What that one had not stored is not stored any more: when its cache directory is
mounted again it is kept aside there.

With --shared several mounts change one store, on S3, and nobody claims it. A close or a rename is stored when it returns,
on condition that nobody else was first: who is second gets ESTALE, and his data is kept below .sharefs/conflicts.

Each setting below is a flag, a word of -o, an environment variable, and a key of the config file, there in the table
of a named store or for all mounts; the first of these that names it holds.`,
		Args:              arguments(1, 2, "DIR, or STORE and DIR"),
		ValidArgsFunction: completeStores,
	}
	cmd.Flags().SortFlags = false
	flags := config.Bind(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		parent := background.FindParent()
		err := mount(cmd, flags, args, parent)
		if err != nil {
			parent.Failed(err)
		}
		return err
	}
	return cmd
}

// storesText describes the URLs of stores.
func storesText() string {
	var b strings.Builder
	for _, s := range all.Schemes() {
		fmt.Fprintf(&b, "  %-20s %s\n", s.Form, s.Help)
		for _, p := range s.Parameters {
			fmt.Fprintf(&b, "    ?%-17s %s\n", p.Name+"=", p.Help)
		}
		if s.Credentials != "" {
			fmt.Fprintf(&b, "    %-18s %s; never the URL\n", "credentials:", s.Credentials)
		}
	}
	return b.String()
}

func mount(cmd *cobra.Command, flags *config.Flags, args []string, parent *background.Parent) error {
	j, err := newJob(cmd, flags, args)
	if err != nil {
		return err
	}
	if parent != nil || j.settings.Foreground {
		return j.serve(parent)
	}
	if err := os.MkdirAll(filepath.Dir(j.settings.LogFile), 0o700); err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	ctx, cancel := untilInterrupted()
	defer cancel()
	return background.Start(ctx, j.settings.LogFile, func(text string) { fmt.Fprintln(os.Stderr, "sharefs: "+text) })
}

// job is a mount to be made.
type job struct {
	store    stores.Store
	embedded bool   // store is the embedded default
	dir      string // without symlinks
	settings config.Settings
	places   config.Places
	runtime  control.Runtime
}

func newJob(cmd *cobra.Command, flags *config.Flags, args []string) (*job, error) {
	j := &job{places: places()}
	file, err := config.FileOf(cmd.Flags(), j.places)
	if err != nil {
		return nil, err
	}
	if j.runtime, err = runtimeOf(cmd); err != nil {
		return nil, err
	}
	dir := args[len(args)-1]
	if _, named := file.Store(dir); strings.Contains(dir, "://") || named && len(args) == 1 {
		return nil, exit.Errorf(exit.Usage, "mount takes DIR, or STORE and DIR: this is a store, and the directory is missing (see sharefs mount --help)")
	}
	if j.dir, err = existing(dir); err != nil {
		return nil, err
	}
	store := args[0]
	if j.embedded = len(args) == 1; j.embedded {
		data, err := j.places.Data()
		if err != nil {
			return nil, exit.Errorf(exit.Usage, "embedded default store: %w", err)
		}
		store = (&url.URL{Scheme: "file", Path: data}).String()
	}
	if j.store, err = stores.Find(file, store); err != nil {
		return nil, err
	}
	if j.settings, err = config.Load(flags, file, j.places, j.store.Name); err != nil {
		return nil, err
	}
	if j.settings.Force && !j.settings.TakeOver {
		return nil, exit.Errorf(exit.Usage, "--force says how to take over: give --take-over too")
	}
	if j.settings.LogFile == "" && !j.settings.Foreground {
		if j.settings.LogFile, err = j.places.Log(j.dir); err != nil {
			return nil, exit.Errorf(exit.Usage, "log file: %w", err)
		}
	}
	return j, nil
}

// existing returns the mountpoint without symlinks. fusefs checks it thoroughly; what is plain is said here, before
// anything is made or a store is asked.
func existing(dir string) (string, error) {
	name, err := mountpoint.Resolve(dir)
	if errors.Is(err, os.ErrNotExist) {
		return "", exit.Errorf(exit.Mountpoint, "mountpoint %s does not exist: make it with: mkdir -p %s", dir, dir)
	}
	if err != nil {
		return "", exit.Errorf(exit.Mountpoint, "mountpoint %q: %w", dir, err)
	}
	if _, mounted, err := mountpoint.Top(name); err != nil || mounted {
		return name, err // not touched: its daemon may be gone, or hang
	}
	if fi, err := os.Stat(name); err != nil || !fi.IsDir() {
		return "", exit.Errorf(exit.Mountpoint, "mountpoint %s is not a directory: choose one that is", dir)
	}
	return name, nil
}

// serve is the daemon.
func (j *job) serve(parent *background.Parent) error {
	level := j.settings.LogLevel
	if j.settings.DebugFUSE {
		level = "debug" // of which the kernel's requests are
	}
	log, err := logging.New(logging.Options{File: j.settings.LogFile, Level: level, JSON: j.settings.LogFormat == config.FormatJSON})
	if err != nil {
		return err
	}
	reopen := func() {
		if err := log.Reopen(); err != nil {
			log.Error("the log file cannot be opened again", "error", err)
		}
	}
	if parent == nil {
		reopen = nil
	}
	stop, hurry, cancel := daemonSignals(reopen)
	defer cancel()
	raiseFileLimit()
	if err := os.Chdir("/"); err != nil { // the daemon keeps no directory busy
		return err
	}
	host := life.Host{
		Detach: disconnect,
		Users:  mountpoint.Users,
		Notify: func(state string) {
			if _, err := daemon.SdNotify(false, state); err != nil {
				log.Warn("the service manager cannot be told", "error", err)
			}
		},
		Note:   parent.Note,
		Errors: log.Recent,
		Log:    log.Logger,
		Stop:   stop,
		Hurry:  hurry,
	}
	entry := control.Entry{PID: os.Getpid(), Dir: j.dir, Store: j.store.String(), CacheDir: j.settings.CacheDir,
		LogFile: j.settings.LogFile, Since: time.Now(), Version: versionText()}
	open := func(ctx context.Context) (life.Opened, error) { return j.open(ctx, host) }
	return errors.Join(life.Serve(j.runtime, entry, host, open, parent.Ready), log.Close())
}

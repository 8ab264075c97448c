package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/cmd/sharefs/internal/logging"
	"sharefs/cmd/sharefs/internal/nodedir"
	"sharefs/cmd/sharefs/internal/nodeserver"
)

// serveFlags are the flags of serve.
type serveFlags struct {
	node, store                string
	listen, location, nickname string
	web, logLevel              string
	httpOnly, announcement     bool
	durable                    bool
	runtimeDir                 string
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve {--node DIR | --store PATH|URL}",
		Short: "Be a storage node for Tahoe-LAFS clients",
		Long: `serve is a storage node: it keeps shares in a directory, in the files of Tahoe-LAFS, and serves them to Tahoe-LAFS clients with the
storage protocol over HTTP ("Great Black Swamp"). It stays in the foreground, and ends at SIGTERM and SIGINT.

--node DIR is the directory of a Tahoe-LAFS storage node, which is taken over with its key and settings: its clients go on with the NURL that
they have, and Tahoe-LAFS's own node can take it back. When DIR is empty or missing a node is made there, of the same layout. Of tahoe.cfg
these are used: [node] nickname, tub.port, tub.location; [storage] storage_dir, readonly, reserved_space, expire.*.

--store PATH keeps the shares there; --store URL mounts that store first, on mount in the node directory, in a process of its own, with
--profile tahoe and what SHAREFS_* and the config file say, and unmounts it at the end. Without --node the node's directory is
$XDG_DATA_HOME/sharefs-nodes/STORE (/var/lib for root).

serve speaks no Foolscap and announces itself to no introducer. Where the node directory shows that clients need those it refuses; then
run Tahoe-LAFS's own node over a mount, or give --http-only.

What clients need is printed: the NURLs, or with --announcement the entry for their private/servers.yaml. Both are secret: who knows a NURL
may use the node.`,
		Args: arguments(0, 0, "flags alone"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if f.runtimeDir, err = cmd.Flags().GetString(runtimeDirFlag); err != nil {
				return err
			}
			return f.serve(cmd.OutOrStdout())
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&f.node, "node", "", "node directory")
	cmd.Flags().StringVar(&f.store, "store", "", "where shares are kept: a directory, or the URL of a store")
	cmd.Flags().BoolVar(&f.httpOnly, "http-only", false, "serve the clients that use HTTP, though others need what serve does not have")
	cmd.Flags().BoolVar(&f.announcement, "announcement", false, "print the entry for private/servers.yaml of clients, instead of NURLs")
	cmd.Flags().StringVar(&f.web, "web", "", "where to show a status page, metrics (/metrics) and JSON (/status.json), such as 127.0.0.1:3456")
	cmd.Flags().BoolVar(&f.durable, "durable", false, "answer when a share is durable with its name: over a mount, when the store has it")
	cmd.Flags().StringVar(&f.location, "location", "127.0.0.1:3457", "of a new node: HOST:PORT that clients connect to")
	cmd.Flags().StringVar(&f.listen, "listen", "", "of a new node: HOST:PORT, or :PORT for all addresses (default: the port of --location; on this machine alone if that is 127.0.0.1)")
	cmd.Flags().StringVar(&f.nickname, "nickname", "", "of a new node: its name")
	cmd.Flags().StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// grace is what requests under way may take when the node ends.
const grace = 20 * time.Second

func (f *serveFlags) serve(out io.Writer) (err error) {
	log, err := logging.New(logging.Options{Level: f.logLevel})
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	stop, hurry, cancel := daemonSignals(nil)
	defer cancel()
	raiseFileLimit()
	node, locks, err := f.openNode()
	if err != nil {
		return err
	}
	defer locks.Unlock()
	if err := f.complete(node); err != nil {
		return err
	}
	for _, lacking := range node.Missing {
		log.Warn("clients may need what this server does not have", "what", lacking)
	}
	closeStorage, err := f.openStorage(stop, hurry, node)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStorage()) }()
	server, err := nodeserver.New(nodeserver.Options{
		Node: node, Durable: f.durable, Web: f.web, Version: "sharefs/" + versionText(), Log: log.Logger, Grace: grace,
		Ready: func() { f.ready(out, node, log) },
	})
	if err != nil {
		return err
	}
	defer tellStopping(stop, log)()
	return untilHurry(stop, hurry, server.Run)
}

// untilHurry runs a server until stop, and does not wait for its end after hurry.
func untilHurry(stop, hurry context.Context, run func(context.Context) error) error {
	ended := make(chan error, 1)
	go func() { ended <- run(stop) }()
	select {
	case err := <-ended:
		return err
	case <-hurry.Done():
		return errors.New("ended at once: requests under way were cut off")
	}
}

// ready prints what clients need, and tells the service manager.
func (f *serveFlags) ready(out io.Writer, node *nodedir.Node, log *logging.Log) {
	text := ""
	var err error
	if f.announcement {
		text, err = node.Announcement()
	} else {
		var nurls []string
		nurls, err = node.NURLs()
		for _, nurl := range nurls {
			text += nurl + "\n"
		}
	}
	if err != nil {
		log.Error("what clients need cannot be told", "error", err)
	}
	fmt.Fprint(out, text)
	log.Info("serving", "node", node.Dir, "shares", node.Storage.Dir, "listening", node.Listen)
	notify(log, daemon.SdNotifyReady)
}

// tellStopping tells the service manager when stop ends. What it returns waits until that is told: a server without clients ends sooner.
func tellStopping(stop context.Context, log *logging.Log) (wait func()) {
	told := make(chan struct{})
	forget := context.AfterFunc(stop, func() {
		notify(log, daemon.SdNotifyStopping)
		close(told)
	})
	return func() {
		if !forget() {
			<-told
		}
	}
}

func notify(log *logging.Log, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("the service manager cannot be told", "error", err)
	}
}

// complete refuses a node whose clients need what this server does not have.
func (f *serveFlags) complete(node *nodedir.Node) error {
	if len(node.Missing) == 0 || f.httpOnly {
		return nil
	}
	reasons := ""
	for i, lacking := range node.Missing {
		if i > 0 {
			reasons += "; "
		}
		reasons += lacking
	}
	return exit.Errorf(exit.Usage, "%s: %s: this needs Tahoe-LAFS's own node, which runs over a mount (sharefs mount --profile tahoe STORE MOUNT, and storage_dir = MOUNT in %s/tahoe.cfg); to serve those clients alone that have the NURL, give --http-only",
		node.Dir, reasons, node.Dir)
}

// openStorage makes sure that the storage directory is there, mounts it first when it is a store, and keeps it for this server. The function that
// it returns takes all of it back.
func (f *serveFlags) openStorage(stop, hurry context.Context, node *nodedir.Node) (closeAll func() error, err error) {
	dir := node.Storage.Dir
	unmount := func() error { return nil }
	if f.isURL() {
		m := &mounting{store: f.store, dir: dir, runtimeDir: f.runtimeDir}
		if err := m.mount(stop); err != nil {
			return nil, err
		}
		unmount = func() error { return m.unmount(hurry) }
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, exit.Errorf(exit.Store, "the storage directory: %w", err)
	}
	lock, err := nodedir.Lock(dir)
	if err != nil {
		return nil, errors.Join(err, unmount())
	}
	return func() error {
		lock.Unlock()
		return unmount()
	}, nil
}

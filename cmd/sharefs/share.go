package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/storage"
	"sharefs/storage/container"
)

func newShare() *cobra.Command {
	share := &cobra.Command{
		Use:   "share",
		Short: "Look at the shares of a storage node",
		Long: `share looks at the files that a Tahoe-LAFS storage node keeps, be it Tahoe-LAFS's own or sharefs serve, on a disk or on a mount.
PATH is the node's storage directory, in which shares is, or the node directory, in which storage is. Nothing is changed, and the node
may be running.`,
	}
	share.AddCommand(newShareDump(), newShareList(), newShareCheck(), newShareExpire(), newShareFind())
	return share
}

// openShares opens the share store at a path, to look at it.
func openShares(path string) (*storage.Store, error) {
	for _, dir := range []string{path, filepath.Join(path, "storage")} {
		fi, err := os.Stat(filepath.Join(dir, "shares"))
		if err == nil && fi.IsDir() {
			return storage.Open(dir, storage.Options{ReadOnly: true}) // a read-only one leaves uploads as they are
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, exit.With(exit.Store, err)
		}
	}
	return nil, exit.Errorf(exit.Store, "there is no share store at %s: name the directory in which a storage node has shares", path)
}

// shareWalk is a way through all shares of a store.
type shareWalk struct {
	store *storage.Store
	// share is called for each share that can be read, failed for what cannot.
	share  func(index storage.Index, number int, info storage.ShareInfo)
	failed func(path string, err error)
	// prefix, if not nil, is called before each of all prefixes.
	prefix func(done, all int)
}

// run walks in the order of the storage indexes, until the context ends.
func (w shareWalk) run(ctx context.Context) error {
	prefixes := storage.Prefixes()
	for done, prefix := range prefixes {
		if w.prefix != nil {
			w.prefix(done, len(prefixes))
		}
		buckets, err := w.store.Buckets(prefix)
		if err != nil {
			w.failed(filepath.Join(w.store.Dir(), "shares", prefix), err)
		}
		for _, b := range buckets {
			if err := ctx.Err(); err != nil {
				return err
			}
			w.bucket(prefix, b)
		}
	}
	return nil
}

func (w shareWalk) bucket(prefix, bucket string) {
	path := filepath.Join(w.store.Dir(), "shares", prefix, bucket)
	index, ok := storage.BucketIndex(prefix, bucket)
	if !ok {
		w.failed(path, errors.New("this is not the name of a storage index"))
		return
	}
	numbers, err := w.store.Shares(index)
	if err != nil {
		w.failed(path, err)
		return
	}
	for _, n := range numbers {
		info, err := w.store.Inspect(index, n)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		case err != nil:
			w.failed(w.store.SharePath(index, n), err)
		default:
			w.share(index, n, info)
		}
	}
}

// shareReport prints what cannot be read, and counts it.
func shareReport(out io.Writer, count *int) func(path string, err error) {
	return func(path string, err error) {
		*count++
		if wrong := new(container.Error); errors.As(err, &wrong) {
			fmt.Fprintln(out, err) // names the file
			return
		}
		fmt.Fprintf(out, "%s: %v\n", path, err)
	}
}

// unread is the error of a walk that could not read everything.
func unread(count int) error {
	if count == 0 {
		return nil
	}
	return exit.Errorf(exit.Findings, "%s cannot be read: see above", filesText(count))
}

// timeText is a time of a lease.
func timeText(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// leasesText is "3 leases".
func leasesText(n int) string {
	if n == 1 {
		return "1 lease"
	}
	return fmt.Sprintf("%d leases", n)
}

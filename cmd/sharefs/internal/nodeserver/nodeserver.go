// Package nodeserver runs a storage node: the share store with its crawlers, the protocol for clients, and the status page.
package nodeserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/cmd/sharefs/internal/nodedir"
	"sharefs/cmd/sharefs/internal/nodeweb"
	"sharefs/storage"
	"sharefs/storage/container"
	"sharefs/storage/crawl"
	"sharefs/storage/httpapi"
)

// Options say what is run. Node is required.
type Options struct {
	Node    *nodedir.Node
	Durable bool   // answers wait until a share is durable with its name
	Web     string // where the status page is: HOST:PORT; empty: none
	Version string
	Log     *slog.Logger
	Ready   func()        // is called when clients can connect
	Grace   time.Duration // what requests under way may take at the end
}

// Server is a node that is ready to run.
type Server struct {
	o       Options
	started time.Time
	store   *storage.Store
	buckets *crawl.BucketCounter
	leases  *crawl.LeaseChecker
	api     *httpapi.Server
}

// New opens the share store of a node.
func New(o Options) (*Server, error) {
	settings := o.Node.Storage
	durability := storage.Ordered
	if o.Durable {
		durability = storage.Durable
	}
	store, err := storage.Open(settings.Dir, storage.Options{
		NodeID: o.Node.ID, ReservedSpace: settings.Reserved, ReadOnly: settings.ReadOnly, Durability: durability, Log: o.Log,
	})
	if err != nil {
		return nil, exit.Errorf(exit.Store, "the storage directory %s: %w", settings.Dir, err)
	}
	s := &Server{o: o, started: time.Now(), store: store}
	if s.buckets, err = crawl.NewBucketCounter(store, crawl.Options{Log: o.Log}); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	if s.leases, err = crawl.NewLeaseChecker(store, expiryOf(settings.Expire), crawl.Options{Log: o.Log}); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	temp, err := o.Node.TempDir()
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	s.api = httpapi.New(store, o.Node.Swissnum, httpapi.Options{Logger: o.Log, TempDir: temp, Version: o.Version})
	return s, nil
}

// expiryOf returns the settings as the checker has them. Where neither kind of share is to be deleted nothing is.
func expiryOf(e nodedir.Expire) crawl.Expiry {
	expiry := crawl.Expiry{Enabled: e.Enabled && (e.Immutable || e.Mutable), Cutoff: e.Cutoff, Duration: e.Duration}
	if e.Immutable {
		expiry.Kinds = append(expiry.Kinds, container.Immutable)
	}
	if e.Mutable {
		expiry.Kinds = append(expiry.Kinds, container.Mutable)
	}
	return expiry
}

// Run serves until ctx is done, lets requests under way end, and closes the store.
func (s *Server) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.store.Close()) }()
	listeners, err := listen(s.o.Node.Listen)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if s.o.Web != "" {
		web, err := listen([]string{s.o.Web})
		if err != nil {
			closeAll(listeners)
			return err
		}
		s.o.Log.Info("the status page", "url", "http://"+web[0].Addr().String()+"/")
		group.Go(func() error { return nodeweb.Serve(ctx, web[0], s.Report) })
	}
	for _, l := range listeners {
		group.Go(func() error { return s.api.Serve(ctx, l, s.o.Node.Identity, s.o.Grace) })
	}
	group.Go(func() error { return s.crawl(ctx, "bucket counter", s.buckets.Run) })
	group.Go(func() error { return s.crawl(ctx, "lease checker", s.leases.Run) })
	s.o.Ready()
	return group.Wait()
}

// crawl runs a crawler. Without it the node goes on serving.
func (s *Server) crawl(ctx context.Context, name string, run func(context.Context) error) error {
	if err := run(ctx); err != nil {
		s.o.Log.Error("a crawler has stopped until the next start", "crawler", name, "error", err)
	}
	return nil
}

func listen(addresses []string) ([]net.Listener, error) {
	var found []net.Listener
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			closeAll(found)
			return nil, fmt.Errorf("listening: %w", err)
		}
		found = append(found, l)
	}
	return found, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

// shownAdvisories is how many advisories the status page has.
const shownAdvisories = 20

// Report tells how the node is.
func (s *Server) Report() nodeweb.Report {
	n := s.o.Node
	r := nodeweb.Report{
		Nickname: n.Nickname, NodeID: n.ID.String(), Version: s.o.Version, Started: s.started, Now: time.Now(),
		Dir: n.Storage.Dir, ReadOnly: n.Storage.ReadOnly, Reserved: n.Storage.Reserved,
		Available: s.store.AvailableSpace(), Stats: s.store.Stats(),
		Buckets: nodeweb.Buckets{Progress: s.buckets.Progress()},
		Leases:  nodeweb.Leases{Progress: s.leases.Progress(), Current: s.leases.Current()},
	}
	if space, err := s.store.Space(); err == nil {
		r.Space = &space
	}
	if count, ok := s.buckets.Count(); ok {
		r.Buckets.Count = &count
	}
	last := -1
	for number, cycle := range s.leases.Past() {
		if number > last && len(cycle.Times) > 0 {
			last, r.Leases.Last = number, &cycle
		}
	}
	var err error
	if r.Advisories, err = s.store.Advisories(shownAdvisories); err != nil {
		s.o.Log.Error("corruption advisories cannot be read", "error", err)
	}
	return r
}

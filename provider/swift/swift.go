// Package swift is the provider for OpenStack Swift and what speaks its protocol, with the ways to log in of TempAuth (v1)
// and Keystone (v2, v3).
//
// It promises what package provider promises. Requests are never repeated here, but for one thing: a token that is worth
// nothing any more is exchanged, and the request sent once more, from where its body began.
//
// What is beyond the cluster's limit for an object is a static large object: segments in the container CONTAINER_segments,
// which is made when it is needed, named KEY/UPLOAD/NUMBER. Each upload has names of its own, so that an object which is
// overwritten stays whole until the new one stands; the segments that then belong to nothing are deleted, as those of an
// object that is deleted, but not while another upload of the key is under way, which may use them. An upload that is under way has an empty object KEY/UPLOAD/upload beside its segments. A change in
// the middle of a large object leaves the segments that it does not touch where they are, and the new object uses them. Segments
// that are left behind because a process ended are listed as uploads, and may be aborted. The large objects of others,
// static and dynamic, are read and replaced; their segments are not ours to delete.
//
// What Swift cannot do:
//   - It checks no condition on what is written or deleted, without a race. Conditions on what is read or copied work.
//   - A listing may lag behind by some seconds. Stat and Open do not.
//   - Of two Puts of a key that run at the same time the one that began later wins, whichever ends later.
//   - A quota is enforced late.
//
// Requests are made with net/http; the Swift client library logs in. Its own requests hold timers that end a long copy,
// say little of what was refused, and send a header that breaks connections.
package swift

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"sharefs/provider"
	"sharefs/provider/overhttp"
)

const (
	// timeGrain is that of Swift's timestamps.
	timeGrain = 10 * time.Microsecond
	// maxFileName is the longest component that file systems take.
	maxFileName = 255
)

// Options are the options of Open. The zero value is for reading and writing.
type Options struct {
	// ReadOnly makes Open ask nothing of the container, so that it need not exist: for mounts that only read, and for Create.
	ReadOnly bool

	// Timeout is how long the store may be silent: see overhttp.Options. 0 means one minute.
	Timeout time.Duration

	// Secrets finds credentials by the names that they have in the environment (OS_PASSWORD, ST_KEY), instead of there. It
	// is asked whenever a token is needed. nil: the environment, and clouds.yaml.
	Secrets func(name string) (value string, ok bool)
}

// store is one container.
type store struct {
	cfg     Config
	http    *overhttp.Clients
	session *session
	limits  limits
	caps    provider.Capabilities
	large   large
	active  active

	// seen says that the container exists: an answer proved it, and none denied it since. An object that is not there and a
	// container that is not there look alike.
	seen atomic.Bool
}

var _ provider.Provider = (*store)(nil)

// Open returns the provider of a container. It logs in, asks the cluster for its limits, and unless opts.ReadOnly lists the
// segments of large objects, which takes three small requests where there are few. The container must exist then
// (KindNoStore).
func Open(ctx context.Context, cfg Config, opts Options) (provider.Provider, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	where, err := cfg.find(lookupOf(opts.Secrets))
	if err != nil {
		return nil, err
	}
	way, err := where.way(opts.Timeout)
	if err != nil {
		return nil, err
	}
	s := &store{cfg: cfg, http: overhttp.NewClients(way)}
	s.session = newSession(s.http, func() (access, error) { return cfg.find(lookupOf(opts.Secrets)) })
	if err := s.prepare(ctx, opts); err != nil {
		s.http.Close()
		return nil, err
	}
	return s, nil
}

func (s *store) prepare(ctx context.Context, opts Options) error {
	const op = "open"
	steps := []func() error{
		func() error {
			_, err := s.session.token(ctx, "")
			if err != nil {
				err = loginFailed(ctx, op, err)
			}
			return err
		},
		func() (err error) {
			s.limits, err = s.askLimits(ctx)
			s.caps = s.limits.capabilities()
			return err
		},
	}
	if !opts.ReadOnly {
		steps = append(steps,
			func() error { _, err := s.headContainer(ctx, op, s.cfg.Container); return err },
			func() error { return s.findLarge(ctx) })
	}
	for _, step := range steps {
		if err := patiently(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

// patiently tries again what may succeed later, for three seconds: the retry decorator stands above the driver that is being
// opened.
func patiently(ctx context.Context, do func() error) error {
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		err := do()
		if err == nil || !provider.KindOf(err).Transient() || pause > 2*time.Second {
			return err
		}
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		}
	}
}

// String returns the container's URL. The prefix is the prefix decorator's to add.
func (s *store) String() string {
	whole := s.cfg
	whole.Prefix = ""
	return whole.String()
}

// Capabilities returns what the cluster tells of its limits.
func (s *store) Capabilities() provider.Capabilities { return s.caps }

// Usage returns what the container, its segments and the account tell of themselves.
func (s *store) Usage(ctx context.Context) (provider.Usage, error) {
	const op = "usage"
	own, err := s.headContainer(ctx, op, s.cfg.Container)
	if err != nil {
		return provider.Usage{}, err
	}
	u := provider.Usage{Bytes: number(own, "X-Container-Bytes-Used"), Objects: number(own, "X-Container-Object-Count"),
		Quota: number(own, "X-Container-Meta-Quota-Bytes")}
	segments, err := s.headContainer(ctx, op, s.segments())
	switch {
	case err == nil:
		u.Bytes += max(number(segments, "X-Container-Bytes-Used"), 0)
	case !provider.Is(err, provider.KindNoStore):
		return provider.Usage{}, err
	}
	account, err := s.do(ctx, request{op: op, method: http.MethodHead})
	if provider.Is(err, provider.KindDenied) {
		return u, nil // one who may use the container only
	}
	if err != nil {
		return provider.Usage{}, err
	}
	account.close()
	if quota := number(account.Header, "X-Account-Meta-Quota-Bytes"); quota >= 0 {
		others := max(number(account.Header, "X-Account-Bytes-Used")-u.Bytes, 0)
		if left := max(quota-others, 0); u.Quota < 0 || left < u.Quota {
			u.Quota = left
		}
	}
	return u, nil
}

// number returns a header's value, -1 when there is none.
func number(h http.Header, name string) int64 {
	n, err := strconv.ParseInt(h.Get(name), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// headContainer asks for a container. One that does not exist is KindNoStore.
func (s *store) headContainer(ctx context.Context, op, container string) (http.Header, error) {
	res, err := s.do(ctx, request{op: op, method: http.MethodHead, container: container})
	if err != nil {
		return nil, err
	}
	res.close()
	if container == s.cfg.Container {
		s.seen.Store(true)
	}
	return res.Header, nil
}

// Move is not something that Swift can do.
func (s *store) Move(_ context.Context, src, _ string) (provider.Object, error) {
	return provider.Object{}, provider.Unsupported("move", src, "Swift cannot rename")
}

// Create makes the container.
func (s *store) Create(ctx context.Context) error {
	if err := s.createContainer(ctx, "create", s.cfg.Container); err != nil {
		return err
	}
	s.seen.Store(true)
	return nil
}

func (s *store) createContainer(ctx context.Context, op, name string) error {
	res, err := s.do(ctx, request{op: op, method: http.MethodPut, container: name})
	if err != nil {
		return err
	}
	res.close()
	return nil
}

// Close ends idle connections.
func (s *store) Close() error {
	s.http.Close()
	return nil
}

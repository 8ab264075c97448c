package stores

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/provider"
	"sharefs/provider/all"
	"sharefs/provider/retry"
	"sharefs/provider/secret"
	"sharefs/provider/stack"
)

// Options say how to open a store. Times are those of config.Settings of the same name; 0 is the default.
type Options struct {
	ReadOnly    bool
	OpenTimeout time.Duration // until the store has answered
	IOTimeout   time.Duration // for a request, with its repetitions
	Logger      *slog.Logger  // nil means none
}

// The defaults are those of config.Defaults.
const (
	defaultOpenTimeout = 20 * time.Second
	defaultIOTimeout   = time.Minute
)

// Open opens the store, makes sure that it answers, and puts the decorators around it. Errors are of exit.Store and say
// what to do.
func (s Store) Open(ctx context.Context, o Options) (*stack.Stack, error) {
	if o.OpenTimeout <= 0 {
		o.OpenTimeout = defaultOpenTimeout
	}
	if o.IOTimeout <= 0 {
		o.IOTimeout = defaultIOTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, o.OpenTimeout)
	defer cancel()
	opened, err := s.open(ctx, o)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, exit.Errorf(exit.Store, "the store %s did not answer within %v: check the endpoint and the network, or give it longer with --open-timeout", s, o.OpenTimeout)
	}
	return opened, s.Error(err)
}

func (s Store) open(ctx context.Context, o Options) (*stack.Stack, error) {
	driver, err := s.Driver(ctx, all.Options{ReadOnly: o.ReadOnly, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	opened, err := stack.New(driver, stack.Options{Prefix: s.Location.Prefix(), ReadOnly: o.ReadOnly, Logger: o.Logger,
		Retry: retry.Options{MaxElapsed: o.IOTimeout, AttemptTimeout: o.IOTimeout, MaxDelay: min(5*time.Second, o.IOTimeout/10)}})
	if err != nil {
		return nil, errors.Join(err, driver.Close())
	}
	if o.ReadOnly { // a store that is opened for reading only has not been asked anything yet
		if _, err := opened.List(ctx, provider.ListOptions{Limit: 1}); err != nil {
			return nil, errors.Join(err, opened.Close())
		}
	}
	return opened, nil
}

// Driver opens the bare driver, with the credentials of the store. Its keys have no prefix.
func (s Store) Driver(ctx context.Context, o all.Options) (provider.Provider, error) {
	o, err := s.withSecrets(o)
	if err != nil {
		return nil, err
	}
	return s.Location.Open(ctx, o)
}

// ID returns what identifies the store: see all.Location.
func (s Store) ID(ctx context.Context) (string, error) {
	o, err := s.withSecrets(all.Options{})
	if err != nil {
		return "", err
	}
	return s.Location.ID(ctx, o)
}

// withSecrets adds the credentials of the store.
func (s Store) withSecrets(o all.Options) (all.Options, error) {
	if s.Secrets == "" {
		return o, nil
	}
	file, err := secret.Open(s.Secrets, o.Logger)
	if err != nil {
		return o, exit.With(exit.Store, err)
	}
	o.Secrets = file.Lookup
	return o, nil
}

// Error says what to do about a store that cannot be opened. Nil stays nil.
func (s Store) Error(err error) error {
	if err == nil {
		return nil
	}
	hint := Advice(err)
	if hint != "" {
		hint = ": " + hint
	}
	return exit.Errorf(exit.Store, "the store %s cannot be opened: %w%s", s, err, hint)
}

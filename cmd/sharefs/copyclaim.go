package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/cmd/sharefs/internal/resume"
	"sharefs/fusefs/claim"
	"sharefs/provider"
)

// heldStore is the claim on the destination of a copy, with what this machine keeps of it.
type heldStore struct {
	*claim.Claim
	state *resume.State
}

// claim takes the claim on the destination, so that no mount changes it meanwhile, and clears up after a copy that was killed.
func (c *copying) claim(ctx context.Context) (_ *heldStore, err error) {
	dir, err := places().Copy(c.dstID)
	if err != nil {
		return nil, exit.Errorf(exit.Usage, "the state of the copy: %w", err)
	}
	state, err := resume.Open(dir)
	if errors.Is(err, resume.ErrBusy) {
		return nil, exit.With(exit.Busy, err)
	}
	if err != nil {
		return nil, fmt.Errorf("the state of the copy: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, state.Close())
		}
	}()
	taken, err := c.take(ctx, state)
	if err != nil {
		return nil, c.claimError(err)
	}
	h := &heldStore{taken, state}
	if err := errors.Join(state.Held(taken.Token()), h.abortUploads(ctx, c)); err != nil {
		return nil, errors.Join(err, h.Release(ctx))
	}
	return h, nil
}

func (c *copying) take(ctx context.Context, state *resume.State) (*claim.Claim, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("the claim on the store needs this machine's name: %w", err)
	}
	o := claim.Options{Host: host, Machine: claim.MachineID(host), PID: os.Getpid(), Catalog: state.Name(), Logger: c.log,
		Keep:     func(token string, _ *claim.Record, _ bool) error { return state.Try(token) },
		TakeOver: c.o.takeOver, Force: c.o.force,
		Watch: func(held claim.Record, left time.Duration) {
			fmt.Fprintf(os.Stderr, "sharefs: %s holds the destination, last heard of at %s: taking it over if it stays silent for another %v\n",
				held.Holder(), held.Renewed.Local().Format(time.DateTime), left.Round(time.Second))
		}}
	o.LastToken, o.TriedTokens = state.Tokens()
	if err := claimTimes(&o); err != nil {
		return nil, err
	}
	taken, _, err := claim.Take(ctx, c.dst, o)
	return taken, err
}

// claimError says what to do about a claim that cannot be taken.
func (c *copying) claimError(err error) error {
	var held *claim.HeldError
	switch {
	case !errors.As(err, &held):
		return err
	case held.Changed:
		return exit.Errorf(exit.Busy, "%s is in use: %s holds it, and is alive: unmount it there first", c.dst, held.Holder.Holder())
	}
	return exit.Errorf(exit.Busy, "%s is in use: %s holds it, last heard of at %s: unmount it there first; if that is gone for good, give --take-over, which watches for %v that it is silent",
		c.dst, held.Holder.Holder(), held.Holder.Renewed.Local().Format(time.DateTime), held.Watched)
}

// abortUploads ends the uploads in parts that a killed copy, or a request without an answer, has left: all of their keys, for the
// store has one writer.
func (h *heldStore) abortUploads(ctx context.Context, c *copying) error {
	dst := h.Fence(c.dst)
	for _, key := range h.state.Uploads() {
		list, err := dst.ListUploads(ctx, key)
		for _, u := range list {
			if u.Key == key && err == nil {
				err = dst.AbortUpload(ctx, key, u.ID)
			}
		}
		switch provider.KindOf(err) {
		case provider.KindDenied, provider.KindUnsupported: // it would be so with every copy
			c.log.Warn("uploads in parts that were left may stay, and cost money: end them with the store's own tools, or by a lifecycle rule",
				"key", key, "error", err)
			err = nil
		}
		if err != nil {
			return fmt.Errorf("ending the uploads of %q that were left: %w", key, err)
		}
		h.state.Forget(key)
	}
	return nil
}

// releaseWithin is how long the end of a copy waits for the store to take back the claim.
const releaseWithin = 10 * time.Second

// release gives the claim back.
func (h *heldStore) release(log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), releaseWithin)
	defer cancel()
	if err := h.Release(ctx); err != nil {
		log.Warn("the claim is not released: the next copy from here takes it, a mount needs --take-over", "error", err)
	}
	if err := h.state.Close(); err != nil {
		log.Warn("the state of the copy is not kept", "error", err)
	}
}

package tree

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/claim"
	"sharefs/fusefs/stage"
)

// takeClaim takes the claim on the store, and puts the fence before its changes. A mount that is refused has changed nothing
// in the store, and in the catalog only that it tried. t.superseded says afterwards whether the store was another
// catalog's since this one's last claim.
func (t *Tree) takeClaim(ctx context.Context) error {
	was, err := t.lastClaim()
	if err != nil {
		return err
	}
	o := t.o.Claim
	o.Catalog, o.PID, o.Seq, o.Logger = t.cat.ID(), os.Getpid(), t.cat.DurableSeq, t.o.Logger
	o.LastToken, o.TriedTokens = was.Token, slices.Clone(was.Tried)
	if o.Host == "" {
		if o.Host, err = os.Hostname(); err != nil {
			return fmt.Errorf("the claim on the store needs this machine's name: %w", err)
		}
	}
	if o.Machine == "" {
		o.Machine = claim.MachineID(o.Host)
	}
	if t.o.Shared {
		return t.shareClaim(ctx, o)
	}
	tried := was
	o.Keep = func(token string, before *claim.Record, _ bool) error {
		if before != nil && !t.ours(*before, was) {
			tried.Superseded = true
			t.older = before.Catalog == t.cat.ID()
		}
		if !slices.Contains(tried.Tried, token) {
			tried.Tried = append(slices.Clone(tried.Tried), token)
		}
		if err := t.cat.Update(func(tx *catalog.Tx) error { return tx.SetClaim(tried) }); err != nil {
			return err
		}
		return t.cat.Sync()
	}
	if t.claim, t.before, err = claim.Take(ctx, t.o.Store, o); err != nil {
		return err
	}
	t.superseded, t.last = tried.Superseded, was
	t.store = t.claim.Fence(t.o.Store)
	return nil
}

// ours reports whether a claim is the last one of this catalog as it is now: an older copy of it, which has not noted all that
// was sent, says a lower sequence number, or does not know the claim.
func (t *Tree) ours(r claim.Record, was catalog.Claim) bool {
	return (r.Token == was.Token || slices.Contains(was.Tried, r.Token)) && r.Seq <= t.cat.Seq()
}

func (t *Tree) lastClaim() (c catalog.Claim, err error) {
	err = t.cat.View(func(tx *catalog.Tx) error {
		c, err = tx.Claim()
		return err
	})
	return c, err
}

// leaveClaim releases the claim, so that the next mount finds it free. What it cannot be told, the next mount of this cache
// directory finds out.
func (t *Tree) leaveClaim() {
	if t.claim == nil {
		return
	}
	if err := t.cat.Sync(); err != nil { // the claim shall say all that is durable
		t.o.Logger.Warn("the catalog is not durable at the end", "err", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(releaseTimeout, t.o.IOTimeout))
	defer cancel()
	if err := t.claim.Release(ctx); err != nil {
		t.o.Logger.Warn("the claim is not released: mounts with another cache directory need --take-over", "err", err)
	}
}

// releaseTimeout is how long an unmount waits for the store to take back the claim.
const releaseTimeout = 10 * time.Second

// readOnly reports whether nothing may be changed: as told, or because somebody else has the store now.
func (t *Tree) readOnly() bool { return t.o.ReadOnly || t.claim != nil && t.claim.Lost() }

// surrender gives up all that is pending, because the store was another mount's since, or this catalog's before an older copy of
// it was put back. Contents go to the conflicts, with a note; renames, deletes and changed attributes are logged. Everything is
// listed anew.
func (t *Tree) surrender(tx *catalog.Tx) error {
	pending, err := tx.PendingSummary()
	if err != nil || pending.Items == 0 {
		return err
	}
	t.o.Logger.Warn(t.whySuperseded().short+": what waits to be stored is not stored any more, but kept aside",
		"holder", t.before.Holder(), "items", pending.Items, "bytes", pending.Bytes)
	staged, err := tx.Staged()
	if err != nil {
		return err
	}
	for _, n := range staged {
		if n.Parent == 0 {
			continue // unlinked
		}
		path := tx.Path(n)
		kept, err := t.setAside(path, stage.ID(n.Stage), t.whySuperseded())
		if err != nil {
			return fmt.Errorf("%s, which the store did not get before another mount took it: %w", path, err)
		}
		t.o.Logger.Warn("a file was not stored before another mount took the store: the store's version stands", "path", path, "kept", kept)
		if err := t.stage.Remove(stage.ID(n.Stage)); err != nil {
			return err
		}
	}
	if err := t.logGivenUp(tx); err != nil {
		return err
	}
	return tx.Forget(spillPrefix)
}

// logGivenUp names the changes that have no content.
func (t *Tree) logGivenUp(tx *catalog.Tx) error {
	dirty, err := tx.Dirty()
	if err != nil {
		return err
	}
	for _, n := range dirty {
		if n.Stage == 0 && n.Ino != Root {
			t.o.Logger.Warn("a change was not stored before another mount took the store, and is given up", "path", tx.Path(n), "stored_as", n.Key)
		}
	}
	doomed, err := tx.AllDoomed()
	for _, d := range doomed {
		if !strings.HasPrefix(d.Key, spillPrefix) {
			t.o.Logger.Warn("a file was not deleted before another mount took the store, and may be back", "key", d.Key)
		}
	}
	return err
}

func (t *Tree) whySuperseded() reason {
	if t.older {
		return reason{
			short: "the catalog is an older one than the store has seen",
			text: `The catalog in the cache directory was an older copy, and the store has changed since it was made, so this content
was not stored: it may be older than what the store has.`,
		}
	}
	return reason{
		short: "another mount has written to the store since",
		text: fmt.Sprintf(`Another mount, of %s, has written to the store before this content was stored, so
it was not stored. The file, if it is there, has the content that the store has.`, t.before.Holder()),
	}
}

// settleClaim notes in the catalog that the claim is held, after what it makes void is gone.
func (t *Tree) settleClaim(tx *catalog.Tx) error {
	if t.claim == nil || t.o.Shared {
		return nil
	}
	if t.superseded {
		if err := t.surrender(tx); err != nil {
			return err
		}
	}
	return tx.SetClaim(catalog.Claim{Token: t.claim.Token()})
}

package claim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"sharefs/provider"
)

// register is where claims are in a store.
type register struct {
	store provider.Provider
	o     Options
	tags  int // of what was written, to be told apart
}

func newRegister(store provider.Provider, o Options) *register { return &register{store: store, o: o} }

// place is a claim as it is in the store.
type place struct {
	n       int // 0: there is no claim
	version provider.Version
	record  Record        // the zero Record when it cannot be read
	seen    time.Duration // when the listing that found it began
	until   time.Duration // of one that is held: to when, if it is not renewed
	tried   bool          // it is our own, and perhaps nothing came of it
	others  []string      // keys of claims with lower numbers
}

func keyOf(n int) string { return Prefix + strconv.Itoa(n) }

// errRaced says that somebody else has written, so that one has to look again.
var errRaced = errors.New("another mount has taken the claim at the same time")

// maxRecord bounds what is read of a claim, in bytes.
const maxRecord = 64 << 10

// look returns the claim that counts: the one with the highest number. What is in it is not read again when it is the same
// version as in known.
func (r *register) look(ctx context.Context, known place) (place, error) {
	for try := 0; ; try++ {
		p, err := r.list(ctx)
		if err != nil || p.n == 0 {
			return p, err
		}
		if p.n == known.n && p.version != "" && p.version == known.version {
			p.record = known.record
			return p, nil
		}
		err = r.read(ctx, &p)
		if provider.Is(err, provider.KindNotFound) && try < 5 {
			continue // it was replaced by a higher one just now
		}
		return p, err
	}
}

// list finds the claim with the highest number, and does not read it.
func (r *register) list(ctx context.Context) (place, error) {
	p := place{seen: r.o.Boottime()}
	for token := ""; ; {
		page, err := r.store.List(ctx, provider.ListOptions{Prefix: Prefix, Flat: true, Token: token})
		if err != nil {
			return p, fmt.Errorf("looking for the claim: %w", err)
		}
		for _, o := range page.Objects {
			n, err := strconv.Atoi(strings.TrimPrefix(o.Key, Prefix))
			if err != nil || n < 1 || keyOf(n) != o.Key {
				continue // not of this program
			}
			if p.n != 0 {
				p.others = append(p.others, keyOf(min(n, p.n)))
			}
			if n > p.n {
				p.n, p.version = n, o.Version
			}
		}
		if token = page.Next; token == "" {
			return p, nil
		}
	}
}

// read reads the record of a place. One that makes no sense is the zero Record: nobody knows whose it is.
func (r *register) read(ctx context.Context, p *place) error {
	body, o, err := r.store.Open(ctx, keyOf(p.n), provider.OpenOptions{})
	if err != nil {
		return fmt.Errorf("reading the claim: %w", err)
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxRecord))
	if err != nil {
		return fmt.Errorf("reading the claim: %w", err)
	}
	p.version, p.record = o.Version, Record{}
	if err := json.Unmarshal(text, &p.record); err != nil {
		p.record = Record{}
		r.o.Logger.Warn("a claim cannot be read", "key", keyOf(p.n), "error", err)
	}
	return nil
}

// write puts a record at a number.
func (r *register) write(ctx context.Context, n int, rec Record, cond provider.Condition) (place, error) {
	text, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return place{}, err
	}
	r.tags++
	o, err := r.store.Put(ctx, keyOf(n), bytes.NewReader(text), int64(len(text)), provider.PutOptions{If: cond, ContentType: "application/json",
		Metadata: provider.Metadata{provider.MetaPut: fmt.Sprintf("%s-%d", rec.Token, r.tags)}})
	if !cond.IsZero() && (provider.Is(err, provider.KindPrecondition) || provider.Is(err, provider.KindNotFound)) {
		return place{}, errRaced
	}
	if err != nil {
		return place{}, fmt.Errorf("writing the claim: %w", err)
	}
	return place{n: n, version: o.Version, record: rec}, nil
}

// remove deletes claims that no longer count.
func (r *register) remove(ctx context.Context, keys ...string) {
	if len(keys) == 0 {
		return
	}
	if err := r.store.Delete(ctx, provider.DeleteOptions{}, keys...); err != nil {
		r.o.Logger.Debug("old claims are left for the next mount to remove", "error", err)
	}
}

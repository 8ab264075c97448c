package claim

import (
	"context"
	"fmt"
	"slices"

	"sharefs/provider"
)

// A store can be shared instead of claimed, by several who each check what they replace. All of them hold one claim: its record
// names them (Record.Sharing), and each renews it and adds and removes its own name on condition that the record is as
// he has seen it. So the rules of the claim hold for all of them together: who wants the store for himself is refused while one
// of them is alive, and who does not see the claim renewed sends nothing any more. The last one that leaves releases it.

// Sharer is one mount of those that share a store.
type Sharer struct {
	Host    string `json:"host"`
	Machine string `json:"machine"`
	PID     int    `json:"pid"`
	Catalog string `json:"catalog"`
}

func (s Sharer) is(o Sharer) bool { return s.Machine == o.Machine && s.Catalog == o.Catalog }

// CanShare returns the error of a store that cannot be shared; nil when it can.
func CanShare(store provider.Provider) error {
	if caps := store.Capabilities(); caps.CreateIfAbsent && caps.ReplaceIfVersion {
		return nil
	}
	return &provider.Error{Op: "share", Kind: provider.KindUnsupported, Err: fmt.Errorf(
		"%s cannot be shared by several read-write mounts, because it does not check on the server which version of an object is replaced: mount it without --shared in one place, and with --read-only elsewhere", store)}
}

// Share joins those who share a store, or begins to share it. *HeldError when somebody has it for himself. The claim is
// renewed until Release. The options have the meaning that they have for Take.
func Share(ctx context.Context, store provider.Provider, o Options) (*Claim, error) {
	if err := CanShare(store); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	t := taker{o: o, r: newRegister(store, o), share: true}
	t.rules = t.r.rules()
	c, _, err := t.take(ctx)
	return c, err
}

// self names this mount.
func (o Options) self() Sharer {
	return Sharer{Host: o.Host, Machine: o.Machine, PID: o.PID, Catalog: o.Catalog}
}

// Shared reports whether a record is of mounts that share the store.
func (r Record) Shared() bool { return len(r.Sharing) > 0 && !r.Released }

// with returns the record with a name among those who share, and without the one that it had before.
func (r Record) with(s Sharer) Record {
	r = r.without(s)
	r.Sharing, r.Released = append(r.Sharing, s), false
	return r
}

// without returns the record without a name. When it was the last, nobody has the store.
func (r Record) without(s Sharer) Record {
	r.Sharing = slices.DeleteFunc(slices.Clone(r.Sharing), s.is)
	r.Released = len(r.Sharing) == 0
	return r
}

// left reports whether a record is of this mount alone, whose process has died.
func (t taker) left(p place) bool {
	return p.record.Shared() && len(p.record.Sharing) == 1 && p.record.Sharing[0].is(t.o.self())
}

// joined returns the record to be written over the one that is found.
func (t taker) joined(found place, fresh Record) Record {
	rec := fresh
	if found.n != 0 && found.record.Shared() {
		rec = found.record
		rec.Renewed = fresh.Renewed
	}
	return rec.with(t.o.self())
}

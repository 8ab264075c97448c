package faulty

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"sharefs/provider"
)

// Call is one call of a provider: the operation, as in provider.Error, and its key.
type Call struct {
	Op, Key string
}

// Rule says which calls fail, and how. A zero field does not restrict.
type Rule struct {
	Ops        []string              // the operations, as in provider.Error
	Key        func(key string) bool // the keys
	Skip       int                   // so many calls that match pass first
	Times      int                   // then so many fail
	Chance     float64               // and of these each with this probability, by the seed
	Effect     Effect                // what happens to them
	Kind       provider.Kind         // of the error; KindOther means KindUnavailable
	RetryAfter time.Duration         // of the error
	Bytes      int64                 // of the body that pass, for CutBody and StallBody
	Resume     <-chan struct{}       // ends a Stall or StallBody when it is closed; nil: only the context does
	Notify     func(Call)            // is called when the rule applies, before it acts
}

// Effect is what happens to a call that a rule applies to.
type Effect uint8

// The effects. CutBody and StallBody act on calls with a body: Open, Put, PutPart. On others they act as Fail and
// Stall.
const (
	Fail      Effect = iota // nothing is done; the call fails
	ApplyFail               // everything is done; the call fails nevertheless
	CutBody                 // Open: the body breaks after Bytes. Put, PutPart: fails when Bytes were read, nothing is stored
	Stall                   // nothing happens until Resume is closed, then everything; or until the context is done
	StallBody               // Open: the body stalls after Bytes. Put, PutPart: reads Bytes, then as Stall
)

// errInjected is the cause of every error made here.
var errInjected = errors.New("injected by a test")

// state is a rule and how often it matched.
type state struct {
	Rule
	matched int
}

// applies is called with the provider's mu held.
func (s *state) applies(c Call, chance func() float64) bool {
	if len(s.Ops) > 0 && !slices.Contains(s.Ops, c.Op) || s.Key != nil && !s.Key(c.Key) {
		return false
	}
	s.matched++
	if n := s.matched - s.Skip; n <= 0 || s.Times > 0 && n > s.Times {
		return false
	}
	return s.Chance == 0 || chance() < s.Chance
}

// match returns the rule that acts on the call; nil when there is none.
func (p *Provider) match(c Call) *Rule {
	r := p.choose(c)
	if r != nil && r.Notify != nil {
		r.Notify(c)
	}
	return r
}

func (p *Provider) choose(c Call) *Rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.rules {
		if s.applies(c, p.rand.Float64) {
			p.injected = append(p.injected, c)
			return &s.Rule
		}
	}
	return nil
}

func (p *Provider) run(ctx context.Context, c Call, do func() error) error {
	return p.match(c).run(ctx, c, do)
}

// onBody reports whether the rule, which may be nil, acts on the body of calls that have one.
func (r *Rule) onBody() bool { return r != nil && (r.Effect == CutBody || r.Effect == StallBody) }

// run does what the rule says with a call that has no body, or whose body it leaves alone; nil is no rule.
func (r *Rule) run(ctx context.Context, c Call, do func() error) error {
	if r == nil {
		return do()
	}
	switch r.Effect {
	case Fail, CutBody:
		return r.error(c)
	case ApplyFail:
		if err := do(); err != nil {
			return err
		}
		return r.error(c)
	}
	if err := r.stall(ctx); err != nil {
		return err
	}
	return do()
}

// send does what the rule says with a call that sends a body.
func (r *Rule) send(ctx context.Context, c Call, body io.ReadSeeker, do func() error) error {
	if !r.onBody() {
		return r.run(ctx, c, do)
	}
	start, err := body.Seek(0, io.SeekCurrent)
	if err != nil {
		return invalid(c, err)
	}
	if _, err := io.CopyN(io.Discard, body, r.Bytes); err != nil && err != io.EOF {
		return invalid(c, err)
	}
	if r.Effect == CutBody {
		return r.error(c)
	}
	if err := r.stall(ctx); err != nil {
		return err
	}
	if _, err := body.Seek(start, io.SeekStart); err != nil {
		return invalid(c, err)
	}
	return do()
}

func invalid(c Call, err error) error {
	return &provider.Error{Op: c.Op, Key: c.Key, Kind: provider.KindInvalid, Err: err}
}

func (r *Rule) error(c Call) error {
	kind := r.Kind
	if kind == provider.KindOther {
		kind = provider.KindUnavailable
	}
	return &provider.Error{Op: c.Op, Key: c.Key, Kind: kind, RetryAfter: r.RetryAfter, Err: errInjected}
}

func (r *Rule) stall(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-r.Resume:
		return nil
	}
}

// download makes the body of an Open break or stall.
func (r *Rule) download(ctx context.Context, key string, body io.ReadCloser) io.ReadCloser {
	if !r.onBody() {
		return body
	}
	return &brokenBody{ReadCloser: body, rule: r, ctx: ctx, key: key, left: r.Bytes}
}

type brokenBody struct {
	io.ReadCloser
	rule *Rule
	ctx  context.Context
	key  string
	left int64
}

func (b *brokenBody) Read(to []byte) (int, error) {
	if b.left > 0 || len(to) == 0 {
		n, err := b.ReadCloser.Read(to[:min(int64(len(to)), b.left)])
		b.left -= int64(n)
		return n, err
	}
	if b.rule.Effect == CutBody {
		return 0, &provider.Error{Op: "open", Key: b.key, Kind: provider.KindUnavailable, Err: fmt.Errorf("%w: %w", errInjected, io.ErrUnexpectedEOF)}
	}
	if err := b.rule.stall(b.ctx); err != nil {
		return 0, err
	}
	return b.ReadCloser.Read(to)
}

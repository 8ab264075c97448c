package replicate

import (
	"context"
	"fmt"
	"strings"

	"sharefs/provider"
)

// pair is a key that one store has, or both.
type pair struct{ src, dst *provider.Object }

// walk goes through two stores in the order of keys and calls each with every key, from one goroutine.
func walk(ctx context.Context, src, dst provider.Provider, each func(pair) error) error {
	from, to := newCursor(src), newCursor(dst)
	for {
		s, err := from.peek(ctx)
		if err != nil {
			return err
		}
		d, err := to.peek(ctx)
		if err != nil {
			return err
		}
		switch {
		case s == nil && d == nil:
			return nil
		case d == nil || s != nil && s.Key < d.Key:
			from.pop()
			err = each(pair{src: s})
		case s != nil && s.Key == d.Key:
			from.pop()
			to.pop()
			err = each(pair{s, d})
		default:
			to.pop()
			if s == nil || !implied(dst, d.Key, s.Key) {
				err = each(pair{dst: d})
			}
		}
		if err != nil {
			return err
		}
	}
}

// implied reports whether a key of the destination is a directory that is there only because the source's next key is below it.
func implied(dst provider.Provider, key, next string) bool {
	return dst.Capabilities().Directories && strings.HasSuffix(key, "/") && strings.HasPrefix(next, key)
}

// cursor is a place in the flat listing of a store, a page in memory. sharefs's own keys are passed over.
type cursor struct {
	store provider.Provider
	page  provider.Page
	begun bool
	last  string
}

func newCursor(store provider.Provider) *cursor { return &cursor{store: store} }

// peek returns the next object; nil at the end.
func (c *cursor) peek(ctx context.Context) (*provider.Object, error) {
	for {
		for len(c.page.Objects) > 0 {
			o := &c.page.Objects[0]
			if !strings.HasPrefix(o.Key, provider.Reserved) {
				return o, nil
			}
			c.page.Objects = c.page.Objects[1:]
		}
		if c.begun && c.page.Next == "" {
			return nil, nil
		}
		page, err := c.store.List(ctx, provider.ListOptions{Flat: true, Token: c.page.Next})
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", c.store, err)
		}
		if err := c.ordered(page.Objects); err != nil {
			return nil, err
		}
		c.page, c.begun = page, true
	}
}

func (c *cursor) pop() {
	if len(c.page.Objects) > 0 {
		c.page.Objects = c.page.Objects[1:]
	}
}

// ordered checks the promise that all this rests on: out of order, what is there would look as if it was not.
func (c *cursor) ordered(objects []provider.Object) error {
	for _, o := range objects {
		if o.Key <= c.last {
			return fmt.Errorf("%s lists %q after %q, which is not the order of keys: it cannot be compared", c.store, o.Key, c.last)
		}
		c.last = o.Key
	}
	return nil
}

package replicate

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/provider/mem"
)

// liar stores other bytes than it is given.
type liar struct{ provider.Provider }

func (l liar) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o provider.PutOptions) (provider.Object, error) {
	return l.Provider.Put(ctx, key, bytes.NewReader(make([]byte, size)), size, o)
}

func TestACopyThatIsReadBackMustBeWhatWasSent(t *testing.T) {
	src, dst := store(), store()
	put(t, src, "k", "text", nil)
	p, err := try(t.Context(), src, liar{dst}, Options{VerifyRead: true})
	if !errors.Is(err, ErrIncomplete) || len(p.Failures) != 1 || !provider.Is(p.Failures[0].Err, provider.KindCorrupt) {
		t.Errorf("%v: %+v", err, p)
	}
}

// forgetful loses an object that it has confirmed.
type forgetful struct{ provider.Provider }

func (f forgetful) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o provider.PutOptions) (provider.Object, error) {
	if key == "lost" {
		return provider.Object{Key: key, Size: size}, nil
	}
	return f.Provider.Put(ctx, key, body, size, o)
}

func TestAnObjectThatTheDestinationHasLostIsFound(t *testing.T) {
	src, dst := store(), store()
	put(t, src, "kept", "text", nil)
	put(t, src, "lost", "text", nil)
	p, err := try(t.Context(), src, forgetful{dst}, Options{})
	if !errors.Is(err, ErrIncomplete) || len(p.Failures) != 1 || p.Failures[0].Key != "lost" {
		t.Errorf("%v: %+v", err, p)
	}
}

func TestAListingThatLagsIsNotBelieved(t *testing.T) {
	src, dst := store(), mem.New(mem.Options{Capabilities: mem.Weak(), ListingLag: time.Hour})
	fill(t, src)
	if p := run(t, src, dst, Options{}); p.Copied.Objects != 7 {
		t.Errorf("%+v", p)
	}
}

// disordered lists in the wrong order.
type disordered struct{ provider.Provider }

func (d disordered) List(ctx context.Context, o provider.ListOptions) (provider.Page, error) {
	page, err := d.Provider.List(ctx, o)
	slices.Reverse(page.Objects)
	return page, err
}

func TestAListingOutOfOrderEndsTheRun(t *testing.T) {
	src, dst := store(), store()
	fill(t, src)
	put(t, dst, "x", "text", nil)
	put(t, dst, "y", "text", nil)
	if _, err := try(t.Context(), src, disordered{dst}, Options{Delete: true}); err == nil || !strings.Contains(err.Error(), "order of keys") {
		t.Error(err)
	}
	if _, err := dst.Stat(t.Context(), "x"); err != nil {
		t.Error(err)
	}
}

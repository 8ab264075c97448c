package claim

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
)

func TestNothingIsSentWhenTheStoreWasAwayForTooLong(t *testing.T) {
	onEach(t, func(t *testing.T, s *mem.Store) {
		claims := faulty.New(s, faulty.Options{})
		c := take(t, claims, options("a"))
		good := c.State().Holder.Renewed
		back := claims.Add(faulty.Rule{Key: func(key string) bool { return strings.HasPrefix(key, Prefix) }})
		time.Sleep(DefaultHold - time.Since(good) - time.Second)
		wantSent(t, c, s)
		time.Sleep(2 * time.Second)
		status(t, c, Unsure)
		if s := c.State(); !strings.Contains(s.Problem, "injected") {
			t.Errorf("the state is %+v", s)
		}
		wantStopped(t, put(c, s), provider.KindUnavailable)
		time.Sleep(time.Hour)
		wantStopped(t, put(c, s), provider.KindUnavailable)
		back()
		time.Sleep(retryPause + DefaultRenew/2)
		status(t, c, Held)
		wantSent(t, c, s)
	})
}

func TestWhatKeepsTheClaimFromBeingRenewedIsTheErrorOfEveryChange(t *testing.T) {
	onEach(t, func(t *testing.T, s *mem.Store) {
		claims := faulty.New(s, faulty.Options{})
		c := take(t, claims, options("a"))
		for kind, want := range map[provider.Kind]provider.Kind{
			provider.KindAuth: provider.KindAuth, provider.KindDenied: provider.KindDenied, provider.KindQuota: provider.KindQuota,
			provider.KindNoStore: provider.KindNoStore, provider.KindThrottled: provider.KindUnavailable,
		} {
			mended := claims.Add(faulty.Rule{Kind: kind})
			time.Sleep(DefaultHold + DefaultRenew)
			status(t, c, Unsure)
			wantStopped(t, put(c, s), want)
			mended()
			time.Sleep(retryPause + DefaultRenew/2)
			wantSent(t, c, s)
		}
	})
}

func TestARenewalWhoseAnswerIsLostIsOurs(t *testing.T) {
	onEach(t, func(t *testing.T, s *mem.Store) {
		claims := faulty.New(s, faulty.Options{})
		c := take(t, claims, options("a"))
		claims.Add(faulty.Rule{Ops: []string{"put"}, Effect: faulty.ApplyFail, Times: 3})
		time.Sleep(DefaultHold + time.Minute)
		if n := len(claims.Injected()); n != 3 {
			t.Fatalf("%d answers were lost", n)
		}
		status(t, c, Held)
		wantSent(t, c, s)
	})
}

func TestAClaimThatSomebodyRemovedIsWrittenAgain(t *testing.T) {
	onEach(t, func(t *testing.T, s *mem.Store) {
		c := take(t, s, options("a"))
		for key := range records(t, s) {
			if err := s.Delete(t.Context(), provider.DeleteOptions{}, key); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(DefaultRenew + 2*DefaultSettle)
		status(t, c, Held)
		if r := onlyRecord(t, s); r.Token != c.Token() {
			t.Errorf("the record is %+v", r)
		}
		release(t, c)
	})
}

// TestAStoppedProcessSendsNothing stops a process, as far as its clocks tell, at each place of a request.
func TestAStoppedProcessSendsNothing(t *testing.T) {
	onEach(t, func(t *testing.T, s *mem.Store) {
		stop := func() (*Claim, *clock) {
			k := newClock()
			o := options("a")
			o.Boottime, o.TakeOver, o.Force = k.now, true, true
			return take(t, s, o), k
		}
		t.Log("before the request")
		c, k := stop()
		k.sleepThrough(DefaultHold)
		status(t, c, Unsure) // before the change, which has the claim renewed
		wantStopped(t, put(c, s), provider.KindUnavailable)

		t.Log("before it is sent")
		c, k = stop()
		slow := gated{s, func() { k.sleepThrough(DefaultHold) }}
		wantStopped(t, put(c, slow), provider.KindUnavailable)

		t.Log("in its body")
		c, k = stop()
		r := &halfway{ReadSeeker: strings.NewReader("12345678"), at: 4, then: func() { k.sleepThrough(DefaultHold) }}
		_, err := c.Fence(s).Put(t.Context(), "big", r, 8, provider.PutOptions{})
		wantStopped(t, err, provider.KindUnavailable)
		if !provider.Unanswered(err) {
			t.Errorf("a request that was under way is called answered: %v", err)
		}

		t.Log("between the parts of an upload")
		c, k = stop()
		u, err := c.Fence(s).NewUpload(t.Context(), "big", provider.UploadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		part, err := u.PutPart(t.Context(), 1, strings.NewReader("x"), 1)
		if err != nil {
			t.Fatal(err)
		}
		k.sleepThrough(DefaultHold)
		_, err = u.Complete(t.Context(), []provider.Part{part}, provider.CompleteOptions{})
		wantStopped(t, err, provider.KindUnavailable)
		for _, key := range []string{"data", "big"} {
			if _, err := s.Stat(t.Context(), key); !provider.Is(err, provider.KindNotFound) {
				t.Errorf("%s was stored (%v)", key, err)
			}
		}
	})
}

func TestEveryChangeIsFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(mem.Options{})
		c := take(t, s, options("a"))
		f := c.Fence(s)
		u, err := f.NewUpload(t.Context(), "u", provider.UploadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		wantSent(t, c, s)
		release(t, c)
		ctx, body := t.Context(), strings.NewReader("x")
		for name, send := range map[string]func() error{
			"put":         func() error { _, err := f.Put(ctx, "data", body, 1, provider.PutOptions{}); return err },
			"newupload":   func() error { _, err := f.NewUpload(ctx, "u", provider.UploadOptions{}); return err },
			"abortupload": func() error { return f.AbortUpload(ctx, "u", u.ID()) },
			"copy":        func() error { _, err := f.Copy(ctx, "data", "b", provider.CopyOptions{}); return err },
			"move":        func() error { _, err := f.Move(ctx, "data", "b"); return err },
			"delete":      func() error { return f.Delete(ctx, provider.DeleteOptions{}, "data") },
			"create":      func() error { return f.Create(ctx) },
			"putpart":     func() error { _, err := u.PutPart(ctx, 1, body, 1); return err },
			"copypart":    func() error { _, err := u.CopyPart(ctx, 1, "data", provider.CopyPartOptions{Length: 1}); return err },
			"complete":    func() error { _, err := u.Complete(ctx, nil, provider.CompleteOptions{}); return err },
			"abort":       func() error { return u.Abort(ctx) },
		} {
			t.Log(name)
			wantStopped(t, send(), provider.KindReadOnly)
		}
		if o, err := f.Stat(ctx, "data"); err != nil || o.Size != 1 {
			t.Errorf("reading is fenced, too: %v", err)
		}
		if open, err := f.ListUploads(ctx, ""); err != nil || len(open) != 1 {
			t.Errorf("uploads are %v, %v", open, err)
		}
	})
}

func TestWhatIsUnderWayIsCancelledWhenTheClaimEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(mem.Options{})
		claims := faulty.New(s, faulty.Options{})
		c := take(t, claims, options("a"))
		claims.Add(faulty.Rule{Ops: []string{"put"}, Effect: faulty.Stall}) // renewals and the change
		err := put(c, claims)
		wantStopped(t, err, provider.KindUnavailable)
		if !provider.Unanswered(err) {
			t.Errorf("%v is called answered", err)
		}
		if took := time.Since(c.State().Holder.Renewed); took != DefaultHold {
			t.Errorf("it was under way for %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Fence(s).Stat(ctx, "x"); !errors.Is(err, context.Canceled) {
			t.Errorf("the caller's own end comes back as %v", err)
		}
	})
}

// gated is a store that waits before it sends, and then asks the gate.
type gated struct {
	provider.Provider
	wait func()
}

func (g gated) Put(ctx context.Context, key string, r io.ReadSeeker, size int64, o provider.PutOptions) (provider.Object, error) {
	g.wait()
	if err := provider.Pass(ctx); err != nil {
		return provider.Object{}, err
	}
	return g.Provider.Put(ctx, key, r, size, o)
}

// halfway is a body in which something happens.
type halfway struct {
	io.ReadSeeker
	at   int
	then func()
}

func (h *halfway) Read(p []byte) (int, error) {
	if h.at == 0 {
		h.then()
		h.at = -1
	}
	if h.at > 0 && len(p) > h.at {
		p = p[:h.at]
	}
	n, err := h.ReadSeeker.Read(p)
	if h.at > 0 {
		h.at -= n
	}
	return n, err
}

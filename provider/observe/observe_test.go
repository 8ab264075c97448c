package observe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
	"sharefs/provider/observe"
	"sharefs/provider/providertest"
)

func TestConformance(t *testing.T) {
	providertest.Run(t, providertest.Config{New: func(*testing.T) provider.Provider {
		return observe.New(mem.New(mem.Options{}), observe.Options{})
	}})
}

func TestEveryCallIsCountedByItsName(t *testing.T) {
	caps := mem.Full()
	caps.MaxDeleteBatch = 10
	p := observe.New(mem.New(mem.Options{Capabilities: caps}), observe.Options{})
	ctx := t.Context()
	put := func(key, text string) {
		must(t)(p.Put(ctx, key, strings.NewReader(text), int64(len(text)), provider.PutOptions{}))
	}
	put("a", "12345")
	put("b", "678")
	must(t)(p.Stat(ctx, "a"))
	body, _, err := p.Open(ctx, "a", provider.OpenOptions{Offset: 1})
	if err != nil {
		t.Fatal(err)
	}
	must(t)(io.ReadAll(body))
	must(t)(nil, body.Close())
	must(t)(p.Copy(ctx, "a", "c", provider.CopyOptions{}))
	must(t)(p.Move(ctx, "c", "d"))
	must(t)(p.List(ctx, provider.ListOptions{}))
	must(t)(p.Usage(ctx))
	must(t)(nil, p.Create(ctx))
	u, err := p.NewUpload(ctx, "u", provider.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	part, err := u.PutPart(ctx, 1, strings.NewReader("parts"), 5)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := u.CopyPart(ctx, 2, "a", provider.CopyPartOptions{Length: 5})
	if err != nil {
		t.Fatal(err)
	}
	must(t)(u.Complete(ctx, []provider.Part{part, copied}, provider.CompleteOptions{}))
	u, err = p.NewUpload(ctx, "u", provider.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	must(t)(p.ListUploads(ctx, ""))
	must(t)(nil, u.Abort(ctx))
	must(t)(nil, p.AbortUpload(ctx, "u", "gone"))
	var keys []string
	for i := range 21 {
		keys = append(keys, fmt.Sprint("gone", i))
	}
	must(t)(nil, p.Delete(ctx, provider.DeleteOptions{}, keys...))
	must(t)(nil, p.Delete(ctx, provider.DeleteOptions{}, "b"))

	s := p.Snapshot()
	got := map[string]int64{}
	for _, o := range s.Ops {
		got[o.Op] = o.Requests
		if o.Failed() != 0 {
			t.Errorf("%s: %v", o.Op, o.Errors)
		}
	}
	want := map[string]int64{"put": 2, "stat": 1, "open": 1, "copy": 1, "move": 1, "list": 1, "usage": 1, "create": 1, "newupload": 2,
		"upload.putpart": 1, "upload.copypart": 1, "upload.complete": 1, "upload.abort": 1, "abortupload": 1, "listuploads": 1, "delete": 4}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	var sum int64
	for _, n := range want {
		sum += n
	}
	if s.Requests != sum || s.InFlight != 0 || s.BytesIn != 4 || s.BytesOut != 13 || len(s.LastErrors) != 0 {
		t.Errorf("%+v", s)
	}
	if o := s.Of("put"); o.BytesOut != 8 {
		t.Errorf("%d bytes put", o.BytesOut)
	}
	if o := s.Of("nothing"); o.Requests != 0 || o.Op != "nothing" {
		t.Errorf("%+v", o)
	}
}

func must(t *testing.T) func(any, error) {
	t.Helper()
	return func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestErrorsAreCountedByKindAndTheLastAreKept(t *testing.T) {
	f := faulty.New(mem.New(mem.Options{}), faulty.Options{})
	p := observe.New(f, observe.Options{MaxErrors: 2})
	for _, key := range []string{"x", "y", "z"} {
		if _, err := p.Stat(t.Context(), key); !provider.Is(err, provider.KindNotFound) {
			t.Fatal(err)
		}
	}
	f.Add(faulty.Rule{Kind: provider.KindThrottled})
	if err := p.Delete(t.Context(), provider.DeleteOptions{}, "d"); !provider.Is(err, provider.KindThrottled) {
		t.Fatal(err)
	}
	s := p.Snapshot()
	if e := s.Of("stat").Errors; e["not found"] != 3 || len(e) != 1 {
		t.Errorf("%v", e)
	}
	if e := s.Of("delete").Errors; e["throttled"] != 1 || len(e) != 1 {
		t.Errorf("%v", e)
	}
	if len(s.LastErrors) != 2 || s.LastErrors[0].Key != "z" || s.LastErrors[1].Key != "d" || s.LastErrors[1].Kind != "throttled" ||
		time.Since(s.LastErrors[1].Time) > time.Minute {
		t.Errorf("%+v", s.LastErrors)
	}
}

func TestABodyIsInFlightUntilItIsClosed(t *testing.T) {
	f := faulty.New(mem.New(mem.Options{}), faulty.Options{})
	var events []observe.Event
	p := observe.New(f, observe.Options{Hook: func(e observe.Event) { events = append(events, e) }})
	must(t)(p.Put(t.Context(), "k", strings.NewReader("text"), 4, provider.PutOptions{}))
	f.Add(faulty.Rule{Effect: faulty.CutBody, Bytes: 3})
	body, _, err := p.Open(t.Context(), "k", provider.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(body); !provider.Is(err, provider.KindUnavailable) {
		t.Fatal(err)
	}
	s := p.Snapshot()
	if s.InFlight != 1 || s.BytesIn != 3 || s.Of("open").Requests != 1 || s.Of("open").Failed() != 0 || len(events) != 1 {
		t.Errorf("before: %+v, %d events", s, len(events))
	}
	for range 2 {
		must(t)(nil, body.Close())
	}
	s = p.Snapshot()
	if s.InFlight != 0 || s.BytesIn != 3 || s.Of("open").Requests != 1 || s.Of("open").Failed() != 1 || len(events) != 2 {
		t.Errorf("after: %+v, %d events", s, len(events))
	}
	if e := events[1]; e.Op != "open" || e.Key != "k" || e.BytesIn != 3 || !provider.Is(e.Err, provider.KindUnavailable) {
		t.Errorf("%+v", e)
	}
}

func TestACallerWhoGivesUpIsNoErrorOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := observe.New(faulty.New(mem.New(mem.Options{}), faulty.Options{Rules: []faulty.Rule{{Effect: faulty.Stall, Resume: release}}}), observe.Options{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.Stat(t.Context(), "k")
		}()
		synctest.Wait()
		if s := p.Snapshot(); s.InFlight != 1 || s.Requests != 0 {
			t.Errorf("%+v", s)
		}
		close(release)
		<-done
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p.List(ctx, provider.ListOptions{})
		s := p.Snapshot()
		if e := s.Of("list").Errors; e["cancelled"] != 1 {
			t.Errorf("%v", e)
		}
		if len(s.LastErrors) != 1 || s.LastErrors[0].Op != "stat" {
			t.Errorf("%+v", s.LastErrors)
		}
	})
}

func TestLatencyTellsQuantiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wait time.Duration
		f := faulty.New(mem.New(mem.Options{}), faulty.Options{Rules: []faulty.Rule{{Effect: faulty.Stall, Resume: closed(), Notify: func(faulty.Call) { time.Sleep(wait) }}}})
		p := observe.New(f, observe.Options{})
		for i := range 100 {
			wait = 10 * time.Millisecond
			if i >= 95 {
				wait = 3 * time.Second
			}
			must(t)(p.List(t.Context(), provider.ListOptions{}))
		}
		l := p.Snapshot().Of("list").Latency
		if l.P50 < 10 || l.P50 > 20 || l.P90 < 10 || l.P90 > 20 || l.P99 < 3000 || l.P99 > 6000 || l.Max != 3000 {
			t.Errorf("%+v", l)
		}
		if s := p.Snapshot().Of("list").Seconds; s < 15.9 || s > 16 {
			t.Errorf("%v seconds in all", s)
		}
	})
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestASnapshotGoesThroughJSON(t *testing.T) {
	p := observe.New(mem.New(mem.Options{}), observe.Options{})
	must(t)(p.Put(t.Context(), "k", strings.NewReader("text"), 4, provider.PutOptions{}))
	p.Stat(t.Context(), "missing")
	want := p.Snapshot()
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got observe.Snapshot
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got.Of("put")) != fmt.Sprint(want.Of("put")) || got.Requests != 2 || len(got.LastErrors) != 1 {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

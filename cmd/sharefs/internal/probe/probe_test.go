package probe_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"sharefs/cmd/sharefs/internal/probe"
	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
)

// keys returns those of a store.
func keys(t *testing.T, p provider.Provider) string {
	t.Helper()
	page, err := p.List(t.Context(), provider.ListOptions{Flat: true})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, o := range page.Objects {
		all = append(all, o.Key)
	}
	return strings.Join(all, " ")
}

// full tries everything.
var full = probe.Options{Rounds: 3, Size: 1 << 20, Timeout: time.Minute}

func TestProbeTriesEveryRightMeasuresAndLeavesNothing(t *testing.T) {
	store := mem.New(mem.Options{})
	o := full
	o.Capabilities = func(context.Context) (provider.Capabilities, error) { return store.Capabilities(), nil }
	r := probe.Run(t.Context(), store, o)
	if !r.Usable() || r.Unreachable() || r.Capabilities == nil {
		t.Errorf("%+v", r)
	}
	for _, right := range []probe.Right{probe.List, probe.Write, probe.Read, probe.Delete} {
		if r.Rights[right] != probe.Allowed {
			t.Errorf("%s: %s", right, r.Rights[right])
		}
	}
	if len(r.Latency) != 5 || r.Throughput == nil || r.Throughput.Bytes != 1<<20 || r.Throughput.Up <= 0 || r.Throughput.Down <= 0 {
		t.Errorf("%+v, %+v", r.Latency, r.Throughput)
	}
	for _, l := range r.Latency {
		if l.Count != 3 || l.Median > l.P95 {
			t.Errorf("%+v", l)
		}
	}
	if left := keys(t, store); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestProbeToReadWritesNothing(t *testing.T) {
	store := mem.New(mem.Options{})
	if _, err := store.Put(t.Context(), "k", strings.NewReader("x"), 1, provider.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	deny := faulty.New(store, faulty.Options{Rules: []faulty.Rule{{Ops: []string{"put", "delete"}, Kind: provider.KindDenied}}})
	r := probe.Run(t.Context(), deny, probe.Options{ReadOnly: true, Rounds: 3, Size: 1 << 20})
	if !r.Usable() || r.Rights[probe.Read] != probe.Allowed || r.Rights[probe.Write] != probe.Untried || len(r.Latency) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestProbeSaysWhatIsRefused(t *testing.T) {
	for _, c := range []struct {
		op          string
		kind        provider.Kind
		right       probe.Right
		unreachable bool
		left        bool
	}{
		{"list", provider.KindAuth, probe.List, true, false},
		{"list", provider.KindNoStore, probe.List, true, false},
		{"list", provider.KindDenied, probe.List, false, false},
		{"put", provider.KindDenied, probe.Write, false, false},
		{"open", provider.KindDenied, probe.Read, false, false},
		{"delete", provider.KindDenied, probe.Delete, false, true},
	} {
		t.Run(c.op+" "+c.kind.String(), func(t *testing.T) {
			store := mem.New(mem.Options{})
			r := probe.Run(t.Context(), faulty.New(store, faulty.Options{Rules: []faulty.Rule{{Ops: []string{c.op}, Kind: c.kind}}}), full)
			if r.Usable() || r.Unreachable() != c.unreachable || r.Rights[c.right] != probe.Refused || !provider.Is(r.Problems[0].Err, c.kind) {
				t.Errorf("%+v", r)
			}
			if (len(r.Left) > 0) != c.left || (keys(t, store) != "") != c.left {
				t.Errorf("left %q, in the store %q", r.Left, keys(t, store))
			}
		})
	}
}

func TestProbeThatIsInterruptedCleansUp(t *testing.T) {
	for _, op := range []string{"put", "open", "stat", "list", "delete"} {
		for skip := range 5 {
			store := mem.New(mem.Options{})
			ctx, cancel := context.WithCancel(t.Context())
			interrupt := faulty.Rule{Ops: []string{op}, Skip: skip, Times: 1, Effect: faulty.ApplyFail, Notify: func(faulty.Call) { cancel() }}
			r := probe.Run(ctx, faulty.New(store, faulty.Options{Rules: []faulty.Rule{interrupt}}), full)
			if left := keys(t, store); left != "" || len(r.Left) > 0 {
				t.Errorf("%s after %d: left %s, %q", op, skip, left, r.Left)
			}
			if ctx.Err() != nil && r.Usable() && op != "delete" { // the last of those comes when all is done
				t.Errorf("%s after %d: it says that all is well", op, skip)
			}
			cancel()
		}
	}
}

func TestStoreThatDoesNotAnswerIsGivenUp(t *testing.T) {
	store := faulty.New(mem.New(mem.Options{}), faulty.Options{Rules: []faulty.Rule{{Ops: []string{"list"}, Effect: faulty.Stall}}})
	r := probe.Run(t.Context(), store, probe.Options{Timeout: time.Millisecond})
	if !r.Unreachable() || !strings.Contains(r.Problems[0].Err.Error(), "no answer within 1ms") {
		t.Errorf("%+v", r)
	}
}

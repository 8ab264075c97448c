package test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"sharefs/test/harness"
	"sharefs/test/servers"
	"sharefs/test/soak"
)

// TestSoakShellToolsWorkOnAStoreThatFails uses the shell tools on a mount whose store fails every tenth request, in all ways
// there are, and stalls every hundredth for 5 s.
func TestSoakShellToolsWorkOnAStoreThatFails(t *testing.T) {
	t.Parallel()
	source := sourceTree(t, soak.Count(40, 150))
	for _, kind := range harness.Served() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			n := soak.Seed(t)
			r := rand.New(rand.NewPCG(n, 0))
			s, proxy := harness.NewStore(t, kind).Behind(t)
			m := harness.NewMount(t, s)
			failing := servers.Effects()
			r.Shuffle(len(failing), func(i, j int) { failing[i], failing[j] = failing[j], failing[i] })
			proxy.Break(n, servers.Fault{Effects: []servers.Effect{servers.StallFor}, Every: 100, Stall: 5 * time.Second},
				servers.Fault{Effects: without(failing, servers.StallFor), Every: 10})
			for _, i := range r.Perm(len(tools))[:soak.Count(5, len(tools))] {
				tool := tools[i]
				t.Run(tool.name, func(t *testing.T) {
					dir := m.Path(strings.ReplaceAll(tool.name, " ", "-"))
					if err := os.Mkdir(dir, 0o755); err != nil {
						t.Fatal(err)
					}
					tool.use(t, dir, source)
				})
			}
			want := harness.ReadTree(t, m.Dir)
			m.Unmount()
			soak.Record(t, "failed requests", fmt.Sprint(proxy.Broken()))
			proxy.Break(0)
			m.RemountEmpty()
			harness.MustEqual(t, "a mount with an empty cache", want, harness.ReadTree(t, m.Dir))
		})
	}
}

func without(effects []servers.Effect, one servers.Effect) []servers.Effect {
	var rest []servers.Effect
	for _, e := range effects {
		if e != one {
			rest = append(rest, e)
		}
	}
	return rest
}

// TestSoakNothingIsLostWhenTheStoreFails lets writers work and kills the daemon while a third of all requests fail in one
// way, for each way.
func TestSoakNothingIsLostWhenTheStoreFails(t *testing.T) {
	t.Parallel()
	for _, kind := range harness.Served() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			n := soak.Seed(t)
			effects := servers.Effects()
			r := rand.New(rand.NewPCG(n, 0))
			r.Shuffle(len(effects), func(i, j int) { effects[i], effects[j] = effects[j], effects[i] })
			for _, e := range effects[:soak.Count(2, len(effects))] {
				t.Run(string(e), func(t *testing.T) {
					k := newKiller(t, harness.NewStore(t, kind))
					k.proxy.Break(n, servers.Fault{Effects: []servers.Effect{e}, Chance: 0.3, Stall: time.Second})
					for range soak.Count(2, 4) {
						k.round()
					}
					hits := k.proxy.Broken()[e]
					k.finish()
					if hits == 0 {
						t.Error("no request failed")
					}
					soak.Record(t, "failed requests", hits)
					soak.Record(t, "changes made and found again", k.steps)
				})
			}
		})
	}
}

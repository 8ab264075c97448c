// Package providertest proves a provider.Provider against its contract. A driver's or a decorator's own test calls
// Run with a function that opens an empty store; every sentence of the contract is a named subtest.
//
// A capability that the provider claims is exercised, one that it does not claim must be refused with
// KindUnsupported: no case is skipped, but for what Config.Beyond names. The suite is bounded, so that it can run against a server over a network: some
// two thousand small requests, and objects of at most 4 MiB or little more than twice Capabilities.MinPartSize. It runs
// its cases one after the other, each below a prefix of its own, and removes everything at the end.
//
// It does not prove that a store keeps data over a power loss, nor how fast it is.
package providertest

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"sharefs/provider"
)

// Config says what the suite runs on. Only New is required.
type Config struct {
	// New opens an empty store that is the suite's alone. It is called once; the suite closes the provider.
	New func(t *testing.T) provider.Provider

	// Reopen opens the store of New once more, as another process would. The suite closes that provider too. nil: the
	// store lives in one process only.
	Reopen func(t *testing.T) provider.Provider

	// Missing opens a store that does not exist. nil: opening such a store fails at once, or there is no such thing.
	Missing func(t *testing.T) provider.Provider

	// Timeout bounds each case; 0 means one minute.
	Timeout time.Duration

	// Settle is how long a listing of a store that is not Consistent may lag; 0 means ten seconds.
	Settle time.Duration

	// ManyKeys is the number of objects in the case that pages through many; 0 means 30.
	ManyKeys int

	// Slow says that a request takes the store long: where the suite tries every combination it tries fewer then.
	Slow bool

	// Refused names keys of NastyKeys that this store cannot hold, and why. The suite then checks that Put refuses
	// them with KindInvalid and stores nothing.
	Refused map[string]string

	// SelfCopyKeepsRevision says that the Revision does not change when Copy onto itself changes the metadata alone,
	// because the store keeps the time then (versitygw). The suite checks that it is so.
	SelfCopyKeepsRevision bool

	// Beyond names groups ("Copy") and cases ("Open/ranges") that a fake of a store is too simple for, and why. They are not
	// run: a store that somebody keeps something in has none.
	Beyond map[string]string

	// ExactUploads says that the store lists the uploads of one key only, not those below a prefix (MinIO).
	ExactUploads bool
}

// Run runs the suite.
func Run(t *testing.T, cfg Config) {
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	if cfg.Settle == 0 {
		cfg.Settle = 10 * time.Second
	}
	if cfg.ManyKeys == 0 {
		cfg.ManyKeys = 30
	}
	p := cfg.New(t)
	n := 0
	beyond := maps.Clone(cfg.Beyond)
	for _, g := range groups {
		if beyond[g.name] != "" {
			delete(beyond, g.name)
			continue
		}
		t.Run(g.name, func(t *testing.T) {
			for _, c := range g.cases {
				n++
				if name := g.name + "/" + c.name; beyond[name] != "" {
					delete(beyond, name)
					continue
				}
				prefix := fmt.Sprintf("t%03d/", n)
				t.Run(c.name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), cfg.Timeout)
					defer cancel()
					c.run(&tester{T: t, cfg: cfg, p: p, caps: p.Capabilities(), ctx: ctx, prefix: prefix})
				})
			}
		})
	}
	for name := range beyond {
		t.Errorf("Beyond names %s, which is no case", name)
	}
	if err := p.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

type testCase struct {
	name string
	run  func(t *tester)
}

// The first group needs the store empty, the last one leaves it so.
var groups = []struct {
	name  string
	cases []testCase
}{
	{"Store", storeCases},
	{"Stat", statCases},
	{"Open", openCases},
	{"Put", putCases},
	{"Cancel", cancelCases},
	{"Atomic", atomicCases},
	{"Condition", conditionCases},
	{"Identity", identityCases},
	{"Metadata", metadataCases},
	{"ContentType", contentTypeCases},
	{"Copy", copyCases},
	{"Move", moveCases},
	{"Delete", deleteCases},
	{"List", listCases},
	{"Keys", keyCases},
	{"Upload", uploadCases},
	{"UploadRefusal", uploadRefusalCases},
	{"CopyPart", copyPartCases},
	{"Error", errorCases},
	{"Concurrent", concurrentCases},
	{"End", endCases},
}

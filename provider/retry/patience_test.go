package retry_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
	"sharefs/provider/retry"
)

func TestAnImpatientCallerGivesUpEarlier(t *testing.T) {
	for name, effect := range map[string]faulty.Effect{"refused": faulty.Fail, "no answer": faulty.Stall} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := faulty.New(mem.New(mem.Options{}), faulty.Options{})
				f.Add(faulty.Rule{Effect: effect})
				p := retry.New(f, retry.Options{MaxElapsed: time.Hour, AttemptTimeout: time.Hour, MaxAttempts: -1})
				start := time.Now()
				_, err := p.Stat(retry.WithPatience(context.Background(), 10*time.Second), "k")
				if !provider.Is(err, provider.KindUnavailable) || time.Since(start) > 21*time.Second {
					t.Fatalf("%v after %v", err, time.Since(start))
				}
			})
		})
	}
}

package retry_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"sharefs/provider"
	"sharefs/provider/mem"
	"sharefs/provider/retry"
)

// silent is a store that never answers a Delete.
type silent struct{ provider.Provider }

func (silent) Delete(ctx context.Context, _ provider.DeleteOptions, _ ...string) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestADeleteWithoutAnswerNamesNoKeyOfSeveral: an error that names one key says that the others are deleted.
func TestADeleteWithoutAnswerNamesNoKeyOfSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := retry.New(silent{mem.New(mem.Options{})}, retry.Options{AttemptTimeout: time.Second, MaxElapsed: 10 * time.Second})
		err := p.Delete(t.Context(), provider.DeleteOptions{}, "a", "b", "c")
		if !provider.Is(err, provider.KindUnavailable) {
			t.Fatal(err)
		}
		if named := provider.Failed(err); named != nil {
			t.Errorf("it names %v", named)
		}
		err = p.Delete(t.Context(), provider.DeleteOptions{}, "a")
		if named := provider.Failed(err); len(named) != 1 || named[0].Key != "a" {
			t.Errorf("a delete of one key names %v", named)
		}
	})
}

// sluggish is a store that takes a while for each key that it deletes, and answers then.
type sluggish struct{ provider.Provider }

func (sluggish) Delete(ctx context.Context, _ provider.DeleteOptions, keys ...string) error {
	select {
	case <-time.After(time.Duration(len(keys)) * 50 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestADeleteOfManyKeysHasItsTime: cut off, it would begin again with the same keys, and never end.
func TestADeleteOfManyKeysHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := retry.New(sluggish{mem.New(mem.Options{})}, retry.Options{AttemptTimeout: 2 * time.Second, MaxElapsed: 10 * time.Second})
		keys := make([]string, 200)
		for i := range keys {
			keys[i] = fmt.Sprint(i)
		}
		began := time.Now()
		if err := p.Delete(t.Context(), provider.DeleteOptions{}, keys...); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 10*time.Second { // of the bubble's clock
			t.Errorf("it took %v", took)
		}
	})
}

package retry_test

import (
	"context"
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

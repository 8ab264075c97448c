package retry

import (
	"context"

	"sharefs/provider"
)

// Delete repeats for the keys that failed for a reason that may pass. Those that failed for good are in its error.
func (p *Provider) Delete(ctx context.Context, opts provider.DeleteOptions, keys ...string) error {
	var good, bad provider.DeleteErrors // of the last attempt: may pass; of all: for good
	left := keys
	r := request{op: "delete", key: only(keys), slow: len(keys) > p.Capabilities().MaxDeleteBatch}
	err := p.do(ctx, r, func(ctx context.Context, _ *watchdog) error {
		good = nil
		err := p.inner.Delete(ctx, opts, left...)
		failed := provider.Failed(err)
		if len(keys) < 2 || failed == nil || opts.IfVersion != "" { // with a version it is for one key: what is left must not become that
			return err
		}
		left = nil
		for _, e := range failed {
			if e.Kind.Transient() {
				good = append(good, e)
				left = append(left, e.Key)
			} else {
				bad = append(bad, e)
			}
		}
		return provider.NewDeleteError(good)
	})
	if len(bad) == 0 || provider.IsContext(err) {
		return err
	}
	if err != nil && good == nil {
		return err // every key that was left may have failed, and it is not said which
	}
	return provider.NewDeleteError(append(bad, good...))
}

// only returns the key when there is one. An error that names one of several would say that the others are deleted.
func only(keys []string) string {
	if len(keys) != 1 {
		return ""
	}
	return keys[0]
}

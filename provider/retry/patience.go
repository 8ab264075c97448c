package retry

import (
	"context"
	"time"
)

// patienceKey is the context's key for WithPatience.
type patienceKey struct{}

// WithPatience returns a context whose requests are given up earlier than Options say: neither MaxElapsed nor
// AttemptTimeout is longer than d for them. It is for who tries again later by itself.
func WithPatience(ctx context.Context, d time.Duration) context.Context {
	return context.WithValue(ctx, patienceKey{}, d)
}

// patient returns a duration of Options as the context has it. What is not positive has no limit.
func patient(ctx context.Context, d time.Duration) time.Duration {
	patience, ok := ctx.Value(patienceKey{}).(time.Duration)
	if ok && patience > 0 && (d <= 0 || patience < d) {
		return patience
	}
	return d
}

// unansweredKey is the context's key for WithUnanswered.
type unansweredKey struct{}

// WithUnanswered returns a context whose requests call f whenever an attempt got no answer: it may yet take effect, even
// when a repeat has succeeded since.
func WithUnanswered(ctx context.Context, f func()) context.Context {
	return context.WithValue(ctx, unansweredKey{}, f)
}

func noteUnanswered(ctx context.Context) {
	if f, ok := ctx.Value(unansweredKey{}).(func()); ok {
		f()
	}
}

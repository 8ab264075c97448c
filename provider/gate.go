package provider

import "context"

type gateKey struct{}

// WithGate returns a context whose requests leave only if gate returns nil. It is asked as late as can be, and again for
// every repetition: a request may have waited long since it was made. What gate returns, an *Error of a kind that is not
// transient, is then the request's error, and nothing was sent.
func WithGate(ctx context.Context, gate func() error) context.Context {
	return context.WithValue(ctx, gateKey{}, gate)
}

// Pass asks the gate of a context, if it has one. Whoever is about to send a request, or its last bytes, calls it.
func Pass(ctx context.Context) error {
	if gate, ok := ctx.Value(gateKey{}).(func() error); ok {
		return gate()
	}
	return nil
}

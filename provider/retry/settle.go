package retry

import (
	"context"

	"sharefs/provider"
)

// verdict says whose an object is that stands where a request without answer was to write.
type verdict uint8

const (
	unknown verdict = iota // cannot be told
	ours                   // the request took effect
	notOurs                // it did not, or was overwritten since
)

// anySize is for settle, when the request does not tell how large its object is.
const anySize = -1

// settle looks at the object that stands where a request was to write size bytes and metadata. Only the tag
// proves that it is ours: an object that looks the same may have been there before, or be somebody else's who did
// the same, and a condition is there to tell these apart. The object comes back with the verdict ours.
func (p *Provider) settle(ctx context.Context, key string, size int64, md provider.Metadata) (provider.Object, verdict, error) {
	o, err := p.Stat(ctx, key)
	switch {
	case provider.Is(err, provider.KindNotFound):
		return provider.Object{}, notOurs, nil
	case err != nil:
		return provider.Object{}, unknown, err
	case size != anySize && o.Size != size:
		return provider.Object{}, notOurs, nil
	}
	for name, value := range md {
		if o.Metadata[name] != value {
			return provider.Object{}, notOurs, nil
		}
	}
	if md[provider.MetaPut] == "" {
		return provider.Object{}, unknown, nil
	}
	return o, ours, nil
}

package replicate

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sharefs/provider"
	"sharefs/provider/mem"
)

// part is the size of parts in these tests, in bytes.
const part = 10

// store returns a store in memory with small parts, which tells no metadata in listings.
func store(change ...func(*provider.Capabilities)) *mem.Store {
	caps := mem.Full()
	caps.ListMetadata = false
	caps.MaxListPage = 3
	for _, c := range change {
		c(&caps)
	}
	return mem.New(mem.Options{Capabilities: caps})
}

func put(t *testing.T, p provider.Provider, key, body string, md provider.Metadata) {
	t.Helper()
	if _, err := p.Put(t.Context(), key, strings.NewReader(body), int64(len(body)), provider.PutOptions{Metadata: md, ContentType: "text/x-" + md["mode"]}); err != nil {
		t.Fatal(err)
	}
}

// fill makes a source of all kinds of objects.
func fill(t *testing.T, p provider.Provider) {
	t.Helper()
	put(t, p, "a", "", provider.Metadata{"mode": "33188", "mtime": "1.5"})
	put(t, p, "a b%41+ü", "text", provider.Metadata{"mode": "33152", "uid": "7", "gid": "8", "mtime": "1600000000.000000001", "xattr": "%7B%22user.a%22:%22Yg==%22%7D"})
	put(t, p, "d/", "", provider.Metadata{"mode": "16832"})
	put(t, p, "d/link", "../a", provider.Metadata{"mode": "41471"})
	put(t, p, "d/large", strings.Repeat("0123456789abcdef", 4), provider.Metadata{"mode": "33188", "mtime": "2"})
	put(t, p, "empty/", "", provider.Metadata{"mode": "16877"})
	put(t, p, "foreign", "no metadata", nil)
	put(t, p, ".sharefs/claim-1", "the source's claim", nil)
	put(t, p, provider.Checkpoints+"00000000000000000001", "the source's checkpoint", nil)
}

// run copies, and the test fails unless all goes well.
func run(t *testing.T, src, dst provider.Provider, o Options) Progress {
	t.Helper()
	p, err := try(t.Context(), src, dst, o)
	if err != nil {
		t.Fatalf("%v: %+v", err, p.Failures)
	}
	return p
}

func try(ctx context.Context, src, dst provider.Provider, o Options) (Progress, error) {
	o.PartSize = part
	c := New(src, dst, o)
	err := c.Run(ctx)
	return c.Progress(), err
}

// content is what a store has, without what sharefs keeps there, and without the marks of copies.
func content(t *testing.T, p provider.Provider) map[string]string {
	t.Helper()
	all := map[string]string{}
	for c := newCursor(p); ; c.pop() {
		listed, err := c.peek(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if listed == nil {
			return all
		}
		all[listed.Key] = object(t, p, listed.Key)
	}
}

func object(t *testing.T, p provider.Provider, key string) string {
	t.Helper()
	body, o, err := p.Open(t.Context(), key, provider.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q", o.ContentType, text)
	for _, name := range slices.Sorted(maps.Keys(o.Metadata)) {
		if name != provider.MetaPut {
			fmt.Fprintf(&b, " %s=%s", name, o.Metadata[name])
		}
	}
	return b.String()
}

func mustEqual(t *testing.T, src, dst provider.Provider) {
	t.Helper()
	want, got := content(t, src), content(t, dst)
	for key, text := range got { // a copy has got the time of its object
		if before, _, ok := strings.Cut(text, " mtime="); ok && !strings.Contains(want[key], " mtime=") {
			got[key] = before
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the destination is not as the source:\n%s", diff)
	}
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

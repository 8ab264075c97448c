package overhttp

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sharefs/provider"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:00:00 GMT": 0,
	} {
		if got := RetryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestRange(t *testing.T) {
	for _, c := range []struct {
		opts provider.OpenOptions
		want string
	}{
		{provider.OpenOptions{}, ""},
		{provider.OpenOptions{Length: 5}, "bytes=0-4"},
		{provider.OpenOptions{Offset: 7}, "bytes=7-"},
		{provider.OpenOptions{Offset: 7, Length: 1}, "bytes=7-7"},
	} {
		if got := Range(c.opts); got != c.want {
			t.Errorf("%+v: %q, want %q", c.opts, got, c.want)
		}
	}
}

func TestExtentIsWhatWasAskedFor(t *testing.T) {
	for _, c := range []struct {
		name         string
		length       int64
		contentRange string
		opts         provider.OpenOptions
		size, body   int64 // -1: an error
	}{
		{"all", 10, "", provider.OpenOptions{}, 10, 10},
		{"a range", 3, "bytes 2-4/10", provider.OpenOptions{Offset: 2, Length: 3}, 10, 3},
		{"a range that reaches beyond the end", 2, "bytes 8-9/10", provider.OpenOptions{Offset: 8, Length: 5}, 10, 2},
		{"no length", -1, "", provider.OpenOptions{}, -1, -1},
		{"another range", 3, "bytes 3-5/10", provider.OpenOptions{Offset: 2, Length: 3}, -1, -1},
		{"all instead of a range", 10, "", provider.OpenOptions{Offset: 2, Length: 3}, -1, -1},
		{"nonsense", 3, "bytes */10", provider.OpenOptions{Offset: 2, Length: 3}, -1, -1},
	} {
		size, body, err := Extent(c.length, c.contentRange, c.opts)
		if (err != nil) != (c.size < 0) || err == nil && (size != c.size || body != c.body) {
			t.Errorf("%s: %d, %d, %v", c.name, size, body, err)
		}
	}
}

// fickle gives its bytes and then an error.
type fickle struct {
	io.Reader
	err error
}

func (f fickle) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

func TestBodyIsAsLongAsPromised(t *testing.T) {
	sumOf := func(want string) Sum {
		return Sum{Name: "MD5", Hash: md5.New(), Text: func(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }, Want: want}
	}
	const right = "900150983cd24fb0d6963f7d28e17f72" // of "abc"
	for _, c := range []struct {
		name string
		from io.Reader
		sum  Sum
		want error
		kind provider.Kind
	}{
		{"right", strings.NewReader("abc"), sumOf(right), nil, 0},
		{"longer", strings.NewReader("abcd"), sumOf(right), nil, 0},
		{"short", strings.NewReader("ab"), Sum{}, io.ErrUnexpectedEOF, provider.KindUnavailable},
		{"broken", fickle{strings.NewReader("ab"), os.ErrClosed}, Sum{}, os.ErrClosed, provider.KindUnavailable},
		{"changed", strings.NewReader("abx"), sumOf(right), nil, provider.KindCorrupt},
	} {
		b := NewBody(t.Context(), func() {}, "k", io.NopCloser(c.from), 3, time.Minute, c.sum)
		got, err := io.ReadAll(b)
		if closing := b.Close(); closing != nil {
			t.Error(closing)
		}
		if provider.KindOf(err) != c.kind || c.want != nil && !errors.Is(err, c.want) || c.kind == 0 && (err != nil || string(got) != "abc") {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func TestBodyEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := NewBody(ctx, cancel, "k", io.NopCloser(strings.NewReader("abc")), 3, time.Minute, Sum{})
	defer b.Close()
	cancel()
	if _, err := io.ReadAll(b); !errors.Is(err, context.Canceled) || provider.KindOf(err) != provider.KindOther {
		t.Errorf("%v, want the context's own error", err)
	}
}

func TestBodyGivesUpOnASilentStore(t *testing.T) {
	from, _ := io.Pipe() // nobody writes
	b := NewBody(t.Context(), func() { from.CloseWithError(context.Canceled) }, "k", from, 3, time.Millisecond, Sum{})
	defer b.Close()
	if _, err := io.ReadAll(b); !provider.Is(err, provider.KindUnavailable) || provider.IsContext(err) || !strings.Contains(err.Error(), "nothing for") {
		t.Errorf("%v, want that the store was silent", err)
	}
}

func TestReadThrough(t *testing.T) {
	from := bytes.NewReader([]byte("skipped|bytes"))
	if _, err := from.Seek(8, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	var hashed bytes.Buffer
	body, err := ReadThrough(t.Context(), "put", "k", from, 5, &hashed)
	if err != nil || hashed.String() != "bytes" {
		t.Fatalf("%q, %v", hashed.String(), err)
	}
	for range 2 { // it may be sent again
		if got, err := io.ReadAll(body); err != nil || string(got) != "bytes" {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int64{4, 6, 0} {
		if _, err := ReadThrough(t.Context(), "put", "k", strings.NewReader("bytes"), size, io.Discard); !provider.Is(err, provider.KindInvalid) {
			t.Errorf("announced as %d bytes: %v, want KindInvalid", size, err)
		}
	}
}

func TestRefusedConnectionsAreToldFromBrokenOnes(t *testing.T) {
	clients := NewClients(Options{})
	defer clients.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	ask := func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/path?query=secret", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = clients.Usual.Do(req)
		return err
	}
	broken := ask()
	srv.Close()
	refused := ask()
	if Refused(broken) || !Refused(refused) {
		t.Errorf("Refused says %v of %v, and %v of %v", Refused(broken), broken, Refused(refused), refused)
	}
	if !provider.Unanswered(NoAnswer("get", "k", broken)) || provider.Unanswered(NoAnswer("get", "k", refused)) {
		t.Error("what was refused may not have taken effect, and what was broken may")
	}
	for _, err := range []error{broken, refused} {
		if text := Cause(err).Error(); strings.Contains(text, "secret") || !strings.Contains(text, strings.TrimPrefix(srv.URL, "http://")) {
			t.Errorf("%s, want the host and nothing of the query", text)
		}
	}
}

func TestAnAnswerThatRefuses(t *testing.T) {
	for _, c := range []struct {
		status  int
		want    provider.Kind
		gateway bool
	}{
		{400, provider.KindInvalid, false}, {401, provider.KindAuth, false}, {403, provider.KindDenied, false},
		{404, provider.KindNotFound, false}, {405, provider.KindUnsupported, false}, {412, provider.KindPrecondition, false},
		{413, provider.KindTooLarge, false}, {416, provider.KindInvalid, false}, {418, provider.KindOther, false},
		{429, provider.KindThrottled, false}, {500, provider.KindUnavailable, false}, {501, provider.KindUnsupported, false},
		{502, provider.KindUnavailable, true}, {503, provider.KindUnavailable, false}, {504, provider.KindUnavailable, true},
		{507, provider.KindQuota, false},
	} {
		if got := KindOf(c.status); got != c.want || OfGateway(c.status) != c.gateway {
			t.Errorf("%d: %s, want %s; of a gateway: %v", c.status, got, c.want, OfGateway(c.status))
		}
	}
	if got := Said("no", 403, "tx1"); got != "no (HTTP 403, request tx1)" {
		t.Error(got)
	}
	if got := Said("no", 403, ""); got != "no (HTTP 403)" {
		t.Error(got)
	}
}

func TestNothingIsSentThroughAClosedGate(t *testing.T) {
	clients := NewClients(Options{})
	defer clients.Close()
	closed := errors.New("closed")
	req, err := http.NewRequestWithContext(provider.WithGate(t.Context(), func() error { return closed }), http.MethodGet, "http://127.0.0.1:1/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clients.Usual.Do(req); !errors.Is(err, closed) {
		t.Errorf("%v, want what the gate says", err)
	}
}

func TestRootsWith(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := RootsWith(name); err == nil {
		t.Error("a file without certificates is taken")
	}
	if _, err := RootsWith(name + "-missing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is missing: %v", err)
	}
}

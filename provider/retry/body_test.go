package retry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
	"sharefs/provider/retry"
)

func TestABodyIsRewoundToWhereItStood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(retry.Options{},
			faulty.Rule{Ops: []string{"put"}, Times: 1, Effect: faulty.CutBody, Bytes: 3},
			faulty.Rule{Ops: []string{"put"}, Times: 2, Kind: provider.KindThrottled},
			faulty.Rule{Ops: []string{"upload.putpart"}, Times: 2, Effect: faulty.CutBody, Bytes: 3})
		body := strings.NewReader("headtext")
		if _, err := body.Seek(4, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(t.Context(), "k", body, 4, provider.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		wantText(t, s, "k", "text")

		u, err := s.NewUpload(t.Context(), "u", provider.UploadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := body.Seek(4, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		part, err := u.PutPart(t.Context(), 1, body, 4)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Complete(t.Context(), []provider.Part{part}, provider.CompleteOptions{}); err != nil {
			t.Fatal(err)
		}
		wantText(t, s, "u", "text")
	})
}

// keeper is a store that holds on to the body of a Put and reads it later, as net/http may.
type keeper struct {
	*mem.Store
	body io.ReadSeeker
}

func (k *keeper) Put(_ context.Context, key string, body io.ReadSeeker, _ int64, _ provider.PutOptions) (provider.Object, error) {
	k.body = body
	return provider.Object{}, &provider.Error{Op: "put", Key: key, Kind: provider.KindDenied}
}

func TestNobodyReadsABodyAfterPutReturned(t *testing.T) {
	k := &keeper{Store: mem.New(mem.Options{})}
	body := strings.NewReader("text")
	_, err := retry.New(k, retry.Options{}).Put(t.Context(), "k", body, 4, provider.PutOptions{})
	wantKind(t, err, provider.KindDenied)
	if _, err := k.body.Read(make([]byte, 1)); err == nil {
		t.Error("a late Read got through")
	}
	if _, err := k.body.Seek(2, io.SeekStart); err == nil {
		t.Error("a late Seek got through")
	}
	if rest, err := io.ReadAll(body); err != nil || string(rest) != "text" {
		t.Errorf("the body was moved: %q left (%v)", rest, err)
	}
}

func TestABodyThatBreaksIsReadOn(t *testing.T) {
	data := make([]byte, 300_000)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	for _, tc := range []struct {
		what string
		opts provider.OpenOptions
		want []byte
	}{
		{"the whole object", provider.OpenOptions{}, data},
		{"from an offset", provider.OpenOptions{Offset: 1000}, data[1000:]},
		{"a range", provider.OpenOptions{Offset: 1000, Length: 100_000}, data[1000:101_000]},
		{"a range beyond the end", provider.OpenOptions{Offset: 200_000, Length: 200_000}, data[200_000:]},
		{"nothing", provider.OpenOptions{Offset: 300_000}, nil},
	} {
		t.Run(tc.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore(retry.Options{})
				mustPut(t, s, "k", string(data), nil)
				s.faults.Add(faulty.Rule{Ops: []string{"open"}, Times: 5, Effect: faulty.CutBody, Bytes: 10_007})
				s.faults.Add(faulty.Rule{Ops: []string{"open"}, Times: 2})
				body, o, err := s.Open(t.Context(), "k", tc.opts)
				if err != nil {
					t.Fatal(err)
				}
				if o.Size != int64(len(data)) {
					t.Errorf("size %d", o.Size)
				}
				got, err := io.ReadAll(body)
				if err != nil || !bytes.Equal(got, tc.want) {
					t.Errorf("%d bytes, %v; want %d", len(got), err, len(tc.want))
				}
				if n, err := body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("reading on: %d, %v", n, err)
				}
				if err := body.Close(); err != nil {
					t.Error(err)
				}
				if n := s.seen.Snapshot().InFlight; n != 0 {
					t.Errorf("%d bodies are open still", n)
				}
				if len(tc.want) > 60_000 && s.requests("open") != 8 {
					t.Errorf("%d requests, want 8", s.requests("open"))
				}
			})
		})
	}
}

func TestABodyPassesTheReaderTests(t *testing.T) {
	s := newStore(retry.Options{BaseDelay: time.Microsecond})
	text := strings.Repeat("0123456789", 100)
	mustPut(t, s, "k", text, nil)
	s.faults.Add(faulty.Rule{Ops: []string{"open"}, Times: 9, Effect: faulty.CutBody, Bytes: 101})
	body, _, err := s.Open(t.Context(), "k", provider.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if err := iotest.TestReader(body, []byte(text)); err != nil {
		t.Error(err)
	}
}

func TestABodyIsNotMixedFromTwoVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(retry.Options{})
		mustPut(t, s, "k", "old text", nil)
		s.faults.Add(faulty.Rule{Ops: []string{"open"}, Times: 1, Effect: faulty.CutBody, Bytes: 3})
		body, _, err := s.Open(t.Context(), "k", provider.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		mustPut(t, s, "k", "new text", nil)
		got, err := io.ReadAll(body)
		if string(got) != "old" {
			t.Errorf("read %q", got)
		}
		wantKind(t, err, provider.KindPrecondition)
	})
}

// versionless is a store that cannot tell versions.
type versionless struct{ *faulty.Provider }

func (v versionless) Open(ctx context.Context, key string, opts provider.OpenOptions) (io.ReadCloser, provider.Object, error) {
	body, o, err := v.Provider.Open(ctx, key, opts)
	o.Version = ""
	return body, o, err
}

func TestABodyWithoutVersionIsNotResumed(t *testing.T) {
	f := faulty.New(mem.New(mem.Options{}), faulty.Options{Rules: []faulty.Rule{{Ops: []string{"open"}, Effect: faulty.CutBody, Bytes: 3}}})
	mustPut(t, f, "k", "text", nil)
	body, _, err := retry.New(versionless{f}, retry.Options{}).Open(t.Context(), "k", provider.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.ReadAll(body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want %v", err, io.ErrUnexpectedEOF)
	}
	if n := len(f.Injected()); n != 1 {
		t.Errorf("it was opened %d times", n)
	}
}

func TestReadingGivesUpWithTheLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(retry.Options{MaxAttempts: 4})
		mustPut(t, s, "k", "text", nil)
		s.faults.Add(faulty.Rule{Ops: []string{"open"}, Times: 1, Effect: faulty.CutBody, Bytes: 3})
		s.faults.Add(faulty.Rule{Ops: []string{"open"}})
		body, _, err := s.Open(t.Context(), "k", provider.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		_, err = io.ReadAll(body)
		wantKind(t, err, provider.KindUnavailable)
		if !strings.Contains(err.Error(), "4 attempts") {
			t.Errorf("%v", err)
		}
		if _, again := body.Read(make([]byte, 1)); again != err {
			t.Errorf("then %v", again)
		}
	})
}

func TestCloseEndsAReadThatWaits(t *testing.T) {
	for _, tc := range []struct {
		what string
		rule faulty.Rule
	}{
		{"for bytes", faulty.Rule{Effect: faulty.StallBody}},
		{"for the next attempt", faulty.Rule{Effect: faulty.CutBody}},
	} {
		t.Run(tc.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore(retry.Options{BaseDelay: time.Hour, MaxDelay: time.Hour, MaxElapsed: -1, AttemptTimeout: -1})
				mustPut(t, s, "k", "text", nil)
				s.faults.Add(tc.rule)
				body, _, err := s.Open(t.Context(), "k", provider.OpenOptions{})
				if err != nil {
					t.Fatal(err)
				}
				time.AfterFunc(time.Millisecond, func() { body.Close() })
				if n, err := body.Read(make([]byte, 1)); n != 0 || err != os.ErrClosed {
					t.Errorf("%d, %v", n, err)
				}
				if err := body.Close(); err != nil {
					t.Errorf("a second Close: %v", err)
				}
				synctest.Wait()
				if n := s.seen.Snapshot().InFlight; n != 0 {
					t.Errorf("%d bodies are open still", n)
				}
			})
		})
	}
}

func TestTheCallersContextEndsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(retry.Options{})
		mustPut(t, s, "k", "text", nil)
		s.faults.Add(faulty.Rule{Effect: faulty.StallBody, Bytes: 2})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		body, _, err := s.Open(ctx, "k", provider.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		if _, err := io.ReadAll(body); err != context.DeadlineExceeded {
			t.Errorf("%v, want the context's own error", err)
		}
	})
}

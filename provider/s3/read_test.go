package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/test/servers"
)

func TestBodyThatEndsEarlyIsUnexpected(t *testing.T) {
	for name, start := range realServers() {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			srv.SetEnv(t)
			proxy := servers.Proxy(t, srv.Endpoint)
			p := open(t, configOf(t, srv.URLAt(proxy.Endpoint, srv.Bucket(t), "")), Options{ReadOnly: true})
			defer p.Close()
			data := bytes.Repeat([]byte("0123456789"), 100_000)
			put(t, p, "k", data)
			for _, opts := range []provider.OpenOptions{{}, {Offset: 10}, {Offset: 10, Length: 900_000}} {
				for _, cut := range []int64{1, 500_000} {
					proxy.CutBodies(cut)
					body, _, err := p.Open(t.Context(), "k", opts)
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(body)
					if !errors.Is(err, io.ErrUnexpectedEOF) || !provider.Is(err, provider.KindUnavailable) {
						t.Errorf("%+v, cut after %d: %v, want io.ErrUnexpectedEOF in KindUnavailable", opts, cut, err)
					}
					if !bytes.Equal(got, data[opts.Offset:][:len(got)]) || int64(len(got)) > cut {
						t.Errorf("%+v, cut after %d: read %d bytes", opts, cut, len(got))
					}
					if _, again := body.Read(make([]byte, 1)); again != err {
						t.Errorf("%+v: reading again gives %v", opts, again)
					}
					body.Close()
				}
			}
		})
	}
}

func TestBodyThatIsNotWhatWasStoredIsCorrupt(t *testing.T) {
	srv := servers.VersityGW(t)
	srv.SetEnv(t)
	bucket := srv.Bucket(t)
	p := open(t, configOf(t, srv.URL(bucket, "")), Options{})
	defer p.Close()
	put(t, p, "dir/k", []byte("what was stored"))
	// versitygw keeps an object as a file and does not check it when it is read.
	path := filepath.Join(srv.DataDir, bucket, "dir", "k")
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("X"), 3); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	body, _, err := p.Open(t.Context(), "dir/k", provider.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.ReadAll(body); !provider.Is(err, provider.KindCorrupt) {
		t.Errorf("reading a file that was changed below the server: %v, want KindCorrupt", err)
	}
}

func TestSilentBodyIsGivenUpAndASlowOneIsNot(t *testing.T) {
	const timeout = 100 * time.Millisecond
	release := make(chan struct{})
	defer close(release)
	serve := func(chunks int, pause time.Duration, stall bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(chunks))
			w.Header().Set("ETag", `"e"`)
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for range chunks - 1 {
				_, _ = w.Write([]byte("x"))
				w.(http.Flusher).Flush()
				<-tick.C
			}
			if stall {
				select {
				case <-release:
				case <-r.Context().Done():
				}
			}
			_, _ = w.Write([]byte("x"))
		}
	}
	read := func(ctx context.Context, p provider.Provider) (int, error) {
		body, _, err := p.Open(ctx, "k", provider.OpenOptions{})
		if err != nil {
			return 0, err
		}
		defer body.Close()
		got, err := io.ReadAll(body)
		return len(got), err
	}
	t.Run("slow", func(t *testing.T) {
		p := fake(t, Options{ReadOnly: true, Timeout: timeout}, serve(20, timeout/5, false))
		if n, err := read(t.Context(), p); n != 20 || err != nil {
			t.Errorf("a body that takes four times the timeout and moves: %d bytes, %v", n, err)
		}
	})
	t.Run("silent", func(t *testing.T) {
		p := fake(t, Options{ReadOnly: true, Timeout: timeout}, serve(5, time.Millisecond, true))
		n, err := read(t.Context(), p)
		if n != 4 || !provider.Is(err, provider.KindUnavailable) || provider.IsContext(err) {
			t.Errorf("%d bytes, %v; want 4 and KindUnavailable", n, err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		p := fake(t, Options{ReadOnly: true}, serve(5, time.Millisecond, true))
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		if n, err := read(ctx, p); n != 4 || err != context.DeadlineExceeded {
			t.Errorf("%d bytes, %v; want 4 and the context's own error", n, err)
		}
	})
	t.Run("a reader that pauses is not cut", func(t *testing.T) {
		p := fake(t, Options{ReadOnly: true, Timeout: timeout}, serve(2, time.Millisecond, false))
		body, _, err := p.Open(t.Context(), "k", provider.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		if _, err := io.ReadFull(body, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		<-time.After(3 * timeout)
		if got, err := io.ReadAll(body); len(got) != 1 || err != nil {
			t.Errorf("after the pause: %q, %v", got, err)
		}
	})
}

func TestRangeThatTheStoreDidNotKeepToIsAnError(t *testing.T) {
	for _, c := range []struct {
		name   string
		opts   provider.OpenOptions
		status int
		header string // Content-Range
		body   string
	}{
		{"the whole object instead of a range", provider.OpenOptions{Offset: 2, Length: 3}, 200, "", "0123456789"},
		{"the whole object instead of its head", provider.OpenOptions{Length: 3}, 200, "", "0123456789"},
		{"another range", provider.OpenOptions{Offset: 2, Length: 3}, 206, "bytes 0-2/10", "012"},
		{"a longer range", provider.OpenOptions{Offset: 2, Length: 3}, 206, "bytes 2-5/10", "2345"},
		{"a shorter range", provider.OpenOptions{Offset: 2, Length: 3}, 206, "bytes 2-3/10", "23"},
		{"a range that cannot be read", provider.OpenOptions{Offset: 2, Length: 3}, 206, "octets", "234"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := fake(t, Options{ReadOnly: true}, func(w http.ResponseWriter, _ *http.Request) {
				if c.header != "" {
					w.Header().Set("Content-Range", c.header)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			body, _, err := p.Open(t.Context(), "k", c.opts)
			if err == nil {
				body.Close()
			}
			if !provider.Is(err, provider.KindUnavailable) {
				t.Errorf("got %v, want an error of KindUnavailable", err)
			}
		})
	}
}

func put(t *testing.T, p provider.Provider, key string, data []byte) provider.Object {
	t.Helper()
	obj, err := p.Put(t.Context(), key, bytes.NewReader(data), int64(len(data)), provider.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

// realServers are the starters of the servers that every promise is tried on.
func realServers() map[string]func(testing.TB) *servers.Server {
	return map[string]func(testing.TB) *servers.Server{"minio": servers.MinIO, "versitygw": servers.VersityGW}
}

func keysOf(objects []provider.Object) string {
	var keys []string
	for _, o := range objects {
		keys = append(keys, o.Key)
	}
	return strings.Join(keys, " ")
}

func TestSwiftIsAskedTwiceForWhatItDoesNotFind(t *testing.T) {
	for _, c := range []struct {
		name    string
		swift   bool
		misses  int // before it finds the object
		asked   int
		missing bool
	}{
		{"found at once", true, 0, 1, false},
		{"replaced meanwhile", true, 1, 2, false},
		{"not there", true, 10, 2, true},
		{"not there, at another store", false, 10, 1, true},
	} {
		for _, op := range []string{"stat", "open"} {
			var asked int
			p := fake(t, Options{ReadOnly: true}, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Has("list-type") {
					return
				}
				if asked++; asked > c.misses {
					w.Header().Set("ETag", `"e"`)
					return
				}
				if c.swift {
					w.Header().Set("X-Openstack-Request-Id", "tx1")
				}
				refusal(404, "NoSuchKey")(w, r)
			})
			err := callers()[op](t.Context(), p)
			if asked != c.asked || provider.Is(err, provider.KindNotFound) != c.missing || !c.missing && err != nil {
				t.Errorf("%s, %s: %v, after %d requests, want %d", op, c.name, err, asked, c.asked)
			}
		}
	}
}

package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"sharefs/provider"
	"sharefs/provider/providertest"
	"sharefs/test/servers"
)

func TestEveryCallIsOneRequest(t *testing.T) {
	for name, start := range realServers() {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			srv.SetEnv(t)
			proxy := servers.Proxy(t, srv.Endpoint)
			p := open(t, configOf(t, srv.URLAt(proxy.Endpoint, srv.Bucket(t), "")), Options{})
			defer p.Close()
			ctx := t.Context()
			data := []byte("some bytes")
			put(t, p, "src", data)
			put(t, p, "other", data)
			up, err := p.NewUpload(ctx, "up", provider.UploadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var part provider.Part
			for _, step := range []struct {
				want servers.Request
				do   func() error
			}{
				{servers.Put, func() error {
					_, err := p.Put(ctx, "new", bytes.NewReader(data), 10, provider.PutOptions{If: provider.Condition{Absent: true}})
					return err
				}},
				{servers.Head, func() error { _, err := p.Stat(ctx, "src"); return err }},
				{servers.Get, func() error { _, err := read(p, "src", provider.OpenOptions{}); return err }},
				{servers.Get, func() error { _, err := read(p, "src", provider.OpenOptions{Offset: 3, Length: 4}); return err }},
				{servers.Copy, func() error { _, err := p.Copy(ctx, "src", "dst", provider.CopyOptions{}); return err }},
				{servers.Copy, func() error {
					_, err := p.Copy(ctx, "src", "src", provider.CopyOptions{Metadata: provider.Metadata{"a": "b"}})
					return err
				}},
				{servers.List, func() error { _, err := p.List(ctx, provider.ListOptions{}); return err }},
				{servers.Delete, func() error { return p.Delete(ctx, provider.DeleteOptions{}, "other") }},
				{servers.DeleteBatch, func() error { return p.Delete(ctx, provider.DeleteOptions{}, "dst", "new") }},
				{servers.PutPart, func() (err error) { part, err = up.PutPart(ctx, 1, bytes.NewReader(data), 10); return err }},
				{servers.CopyPart, func() error {
					_, err := up.CopyPart(ctx, 2, "src", provider.CopyPartOptions{Length: 5})
					return err
				}},
				{servers.ListUploads, func() error { _, err := p.ListUploads(ctx, ""); return err }},
				{servers.CompleteUpload, func() error {
					_, err := up.Complete(ctx, []provider.Part{part}, provider.CompleteOptions{})
					return err
				}},
				{servers.CreateUpload, func() (err error) { up, err = p.NewUpload(ctx, "up", provider.UploadOptions{}); return err }},
				{servers.AbortUpload, func() error { return up.Abort(ctx) }},
				{servers.CreateBucket, func() error { return p.Create(ctx) }},
			} {
				proxy.Reset()
				if err := step.do(); err != nil {
					t.Fatalf("%s: %v", step.want, err)
				}
				if counts := proxy.Counts(); len(counts) != 1 || counts[step.want].Requests != 1 {
					t.Errorf("%s took %v", step.want, counts)
				}
			}
			proxy.Reset()
			if err := p.Delete(ctx, provider.DeleteOptions{}); err != nil || proxy.Counts().Total().Requests != 0 {
				t.Errorf("deleting nothing: %v, %v", err, proxy.Counts())
			}
		})
	}
}

func read(p provider.Provider, key string, opts provider.OpenOptions) ([]byte, error) {
	body, _, err := p.Open(context.Background(), key, opts)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	return data, errors.Join(err, body.Close())
}

func TestOneWriterWinsARace(t *testing.T) {
	const writers = 8
	for name, start := range realServers() {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			srv.SetEnv(t)
			p := open(t, configOf(t, srv.URL(srv.Bucket(t), "")), Options{})
			defer p.Close()
			ctx := t.Context()
			content := func(round, writer int) []byte {
				return bytes.Repeat(fmt.Appendf(nil, "%d/%d ", round, writer), 1000+writer)
			}
			byPut := func(key string, data []byte, cond provider.Condition) error {
				_, err := p.Put(ctx, key, bytes.NewReader(data), int64(len(data)), provider.PutOptions{If: cond})
				return err
			}
			byParts := func(key string, data []byte, cond provider.Condition) error {
				up, err := p.NewUpload(ctx, key, provider.UploadOptions{})
				if err != nil {
					return err
				}
				part, err := up.PutPart(ctx, 1, bytes.NewReader(data), int64(len(data)))
				if err != nil {
					return err
				}
				_, err = up.Complete(ctx, []provider.Part{part}, provider.CompleteOptions{If: cond})
				return err
			}
			for _, c := range []struct {
				name    string
				store   func(key string, data []byte, cond provider.Condition) error
				replace bool
				rounds  int
			}{
				{"Put of an absent key", byPut, false, 30},
				{"Complete of an absent key", byParts, false, 10},
				{"Put over a version", byPut, true, 10},
				{"Complete over a version", byParts, true, 5},
			} {
				t.Run(c.name, func(t *testing.T) {
					for round := range c.rounds {
						key := fmt.Sprintf("%s/%d", c.name, round)
						cond := provider.Condition{Absent: true}
						if c.replace {
							cond = provider.Condition{Version: put(t, p, key, []byte("base")).Version}
						}
						var errs [writers]error
						var wg sync.WaitGroup
						for w := range writers {
							wg.Go(func() { errs[w] = c.store(key, content(round, w), cond) })
						}
						wg.Wait()
						winner := -1
						for w, err := range errs {
							switch {
							case err == nil && winner >= 0:
								t.Errorf("round %d: writers %d and %d both won", round, winner, w)
							case err == nil:
								winner = w
							case !provider.Is(err, provider.KindPrecondition):
								t.Errorf("round %d: writer %d: %v", round, w, err)
							}
						}
						if winner < 0 {
							t.Fatalf("round %d: nobody won: %v", round, errs)
						}
						if got, err := read(p, key, provider.OpenOptions{}); err != nil || !bytes.Equal(got, content(round, winner)) {
							t.Errorf("round %d: writer %d won, and the object has %.20q…, %v", round, winner, got, err)
						}
					}
				})
			}
		})
	}
}

func TestServerVerifiesTheChecksumOfABody(t *testing.T) {
	for name, start := range realServers() {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			srv.SetEnv(t)
			p := open(t, configOf(t, srv.URL(srv.Bucket(t), "")), Options{})
			defer p.Close()
			data := bytes.Repeat([]byte("x"), 100_000)
			_, err := p.Put(t.Context(), "k", providertest.NewChanging(data), int64(len(data)), provider.PutOptions{})
			if !provider.Is(err, provider.KindCorrupt) {
				t.Errorf("Put of bytes that changed on the way: %v, want KindCorrupt", err)
			}
			if _, err := p.Stat(t.Context(), "k"); !provider.Is(err, provider.KindNotFound) {
				t.Errorf("they were stored: %v", err)
			}
			up, err := p.NewUpload(t.Context(), "k", provider.UploadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = up.PutPart(t.Context(), 1, providertest.NewChanging(data), int64(len(data)))
			if !provider.Is(err, provider.KindCorrupt) {
				t.Errorf("PutPart of bytes that changed on the way: %v, want KindCorrupt", err)
			}
			if err := up.Abort(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWrongCredentialsOrBucketAreSaidByEveryMethod(t *testing.T) {
	for name, start := range realServers() {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			srv.SetEnv(t)
			cfg := configOf(t, srv.URL("no-such-bucket", ""))
			every := func(want provider.Kind) {
				t.Helper()
				p := open(t, cfg, Options{ReadOnly: true})
				defer p.Close()
				for op, call := range callers() {
					if op == "create" {
						continue
					}
					if err := call(t.Context(), p); provider.KindOf(err) != want {
						t.Errorf("%s: %v, want kind %q", op, err, want)
					}
				}
				if _, err := Open(t.Context(), cfg, Options{}); provider.KindOf(err) != want {
					t.Errorf("open: %v, want kind %q", err, want)
				}
			}
			every(provider.KindNoStore)
			cfg.Bucket = srv.Bucket(t)
			t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
			every(provider.KindAuth)
			t.Setenv("AWS_ACCESS_KEY_ID", "nobody")
			every(provider.KindAuth)
		})
	}
}

func TestKeysThatTheServerGarblesInListings(t *testing.T) {
	srv := servers.VersityGW(t)
	srv.SetEnv(t)
	bucket := srv.Bucket(t)
	p := open(t, configOf(t, srv.URL(bucket, "")), Options{})
	defer p.Close()
	ctx := t.Context()
	list := func() (string, error) {
		page, err := p.List(ctx, provider.ListOptions{})
		return keysOf(page.Objects), err
	}
	put(t, p, "plain", nil)
	put(t, p, "own \ufffd", nil)
	put(t, p, "dir \ufffd/x", nil)
	if keys, err := list(); err != nil || keys != "dir \ufffd/ own \ufffd plain" {
		t.Errorf("a key that has U+FFFD by itself: %q, %v", keys, err)
	}
	for _, store := range []func(key string) error{
		func(key string) error {
			_, err := p.Put(ctx, key, strings.NewReader(""), 0, provider.PutOptions{})
			return err
		},
		func(key string) error { _, err := p.NewUpload(ctx, key, provider.UploadOptions{}); return err },
		func(key string) error { _, err := p.Copy(ctx, "plain", key, provider.CopyOptions{}); return err },
	} {
		if err := store("control\x01"); !provider.Is(err, provider.KindInvalid) {
			t.Errorf("storing a key that cannot be listed: %v, want KindInvalid", err)
		}
	}
	foreign := "foreign\x01"
	if _, err := srv.Client().PutObject(ctx, &awss3.PutObjectInput{Bucket: &bucket, Key: &foreign}); err != nil {
		t.Fatal(err)
	}
	if keys, err := list(); err == nil {
		t.Errorf("the listing shows %q and hides that a key cannot be read", keys)
	}
	if err := p.Delete(ctx, provider.DeleteOptions{}, foreign, "plain"); err != nil {
		t.Error(err)
	}
	if keys, err := list(); err != nil || keys != "dir \ufffd/ own \ufffd" {
		t.Errorf("after both were deleted: %q, %v", keys, err)
	}
}

func TestFullPagesAreNotTheLast(t *testing.T) {
	srv := servers.MinIO(t)
	srv.SetEnv(t)
	p := open(t, configOf(t, srv.URL(srv.Bucket(t), "")), Options{ReadOnly: true})
	defer p.Close()
	// MinIO says of a page after a deep key that it is the last when it is not.
	for _, key := range []string{"a/y/1", "b", "c", "d/x", "e", "f"} {
		put(t, p, key, nil)
	}
	for _, flat := range []bool{true, false} {
		for limit := 1; limit <= 6; limit++ {
			opts := provider.ListOptions{Flat: flat, After: "a/y/1", Limit: limit}
			want := "b c d/x e f"
			if !flat {
				want = "b c d/ e f"
			}
			var all []provider.Object
			for pages := 0; ; pages++ {
				page, err := p.List(t.Context(), opts)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, page.Objects...)
				if opts.Token = page.Next; page.Next == "" || pages > 20 {
					break
				}
			}
			if got := keysOf(all); got != want {
				t.Errorf("%+v: %s, want %s", opts, got, want)
			}
		}
	}
}

func TestWhatIsInTheWayIsAConflict(t *testing.T) {
	srv := servers.VersityGW(t) // MinIO takes both
	srv.SetEnv(t)
	p := open(t, configOf(t, srv.URL(srv.Bucket(t), "")), Options{})
	defer p.Close()
	ctx := t.Context()
	put(t, p, "file", []byte("x"))
	put(t, p, "dir/x", []byte("x"))
	put(t, p, "marker/", nil)
	for _, key := range []string{"file/below", "dir", "marker"} {
		_, err := p.Put(ctx, key, strings.NewReader(""), 0, provider.PutOptions{})
		if !provider.Is(err, provider.KindConflict) {
			t.Errorf("put %q: %v, want KindConflict", key, err)
		}
		if _, err := p.Copy(ctx, "file", key, provider.CopyOptions{}); !provider.Is(err, provider.KindConflict) {
			t.Errorf("copy to %q: %v, want KindConflict", key, err)
		}
	}
}

// TestPutsBesideDeletesAreNeverRefusedForGood: versitygw makes and removes the directories of keys by itself, and says that a
// directory is in the way when it removed one that a Put had just made.
func TestPutsBesideDeletesAreNeverRefusedForGood(t *testing.T) {
	srv := servers.VersityGW(t)
	srv.SetEnv(t)
	p := open(t, configOf(t, srv.URL(srv.Bucket(t), "")), Options{})
	defer p.Close()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			key := fmt.Sprintf("dir/deep/k%d", i)
			for range 30 {
				_, err := p.Put(t.Context(), key, strings.NewReader("x"), 1, provider.PutOptions{})
				if err != nil && !provider.KindOf(err).Transient() {
					t.Errorf("%v, want it to be transient", err)
				}
				if err := p.Delete(t.Context(), provider.DeleteOptions{}, key); err != nil && !provider.KindOf(err).Transient() {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestOtherToolsSeeWhatWasStored(t *testing.T) {
	for name, start := range realServers() {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			srv.SetEnv(t)
			bucket := srv.Bucket(t)
			p := open(t, configOf(t, srv.URL(bucket, "")), Options{})
			defer p.Close()
			ctx := t.Context()
			md := provider.Metadata{provider.MetaMode: "33188", provider.MetaXattr: "%7B%22user.a%22:%22YQ==%22%7D"}
			_, err := p.Put(ctx, "put", strings.NewReader("bytes"), 5, provider.PutOptions{Metadata: md, ContentType: "text/plain"})
			if err != nil {
				t.Fatal(err)
			}
			up, err := p.NewUpload(ctx, "parts", provider.UploadOptions{Metadata: md, ContentType: "text/plain"})
			if err != nil {
				t.Fatal(err)
			}
			part, err := up.PutPart(ctx, 1, strings.NewReader("bytes"), 5)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := up.Complete(ctx, []provider.Part{part}, provider.CompleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Copy(ctx, "put", "copy", provider.CopyOptions{}); err != nil {
				t.Fatal(err)
			}
			put(t, p, "replaced", []byte("bytes"))
			if _, err := p.Copy(ctx, "replaced", "replaced", provider.CopyOptions{Metadata: md, ContentType: "text/plain"}); err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{"put", "parts", "copy", "replaced"} {
				out, err := srv.Client().GetObject(ctx, &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
				if err != nil {
					t.Fatal(err)
				}
				data, err := io.ReadAll(out.Body)
				out.Body.Close()
				if string(data) != "bytes" || err != nil {
					t.Errorf("%s: %q, %v", key, data, err)
				}
				if *out.ContentType != "text/plain" || fmt.Sprint(out.Metadata) != fmt.Sprint(map[string]string(md)) {
					t.Errorf("%s: type %s, metadata %v", key, *out.ContentType, out.Metadata)
				}
			}
		})
	}
}

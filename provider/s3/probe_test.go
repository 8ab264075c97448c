package s3

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"sharefs/provider"
	"sharefs/test/servers"
)

func TestProbeOnRealServers(t *testing.T) {
	for _, c := range []struct {
		name            string
		start           func(testing.TB) *servers.Server
		deleteIfVersion bool
		plainLists      bool
		maxMarker       int
	}{
		{"minio", servers.MinIO, false, false, 246},
		{"versitygw", servers.VersityGW, true, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := c.start(t)
			srv.SetEnv(t)
			proxy, bucket := servers.Proxy(t, srv.Endpoint), srv.Bucket(t)
			p := open(t, configOf(t, srv.URLAt(proxy.Endpoint, bucket, "some/prefix")), Options{})
			defer p.Close()
			t.Logf("requests: %v", proxy.Counts())
			if n := proxy.Counts().Total().Requests; n > 19 {
				t.Errorf("the probe took %d requests, it promises 19 at most", n)
			}

			caps := p.Capabilities()
			if !caps.CreateIfAbsent || !caps.ReplaceIfVersion || caps.DeleteIfVersion != c.deleteIfVersion || caps.MaxComponent != 255 || caps.MaxMarker != c.maxMarker {
				t.Errorf("found %+v", caps)
			}
			found := p.(*store)
			if both := (conditional{true, true}); found.checks.put != both || found.checks.complete != both || found.checks.copy != (conditional{}) {
				t.Errorf("found %+v", found.checks)
			}
			if found.plainLists != c.plainLists {
				t.Errorf("listings are plain: %v, want %v", found.plainLists, c.plainLists)
			}

			left, err := srv.Client().ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &bucket})
			if err != nil || len(left.Contents) != 0 {
				t.Errorf("the probe left %v, %v", left.Contents, err)
			}
			uploads, err := p.ListUploads(t.Context(), "")
			if err != nil || len(uploads) != 0 {
				t.Errorf("the probe left the uploads %v, %v", uploads, err)
			}
		})
	}
}

func TestReadOnlyOpenSendsNothing(t *testing.T) {
	p := fake(t, Options{ReadOnly: true}, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s %s", r.Method, r.URL) })
	if caps := p.Capabilities(); caps.CreateIfAbsent || caps.ReplaceIfVersion || caps.DeleteIfVersion {
		t.Errorf("claims what was not tried: %+v", caps)
	}
}

// lookAlike is a small server of one key at a time that treats conditions in its own way.
type lookAlike struct {
	check func(r *http.Request) bool // whether the conditions of the request hold, in its view

	mu      sync.Mutex
	objects map[string]bool
	uploads int
	outside []string // keys that were written elsewhere than below .sharefs/
}

func (l *lookAlike) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = io.Copy(io.Discard, r.Body)
	key := strings.TrimPrefix(r.URL.Path, "/bucket/")
	query := r.URL.Query()
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		l.read(w, r, key)
		return
	}
	if !strings.HasPrefix(key, provider.Reserved) {
		l.outside = append(l.outside, key)
	}
	if !l.check(r) {
		refusal(412, "PreconditionFailed")(w, r)
		return
	}
	w.Header().Set("ETag", `"e1"`)
	switch {
	case r.Method == http.MethodDelete && query.Has("uploadId"):
		l.uploads = 0
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodDelete:
		delete(l.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case query.Has("uploads"):
		l.uploads++
		fmt.Fprint(w, `<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>`)
	case r.Method == http.MethodPost && l.uploads == 0:
		refusal(404, "NoSuchUpload")(w, r)
	case r.Method == http.MethodPost:
		l.uploads = 0
		l.objects[key] = true
		fmt.Fprint(w, `<CompleteMultipartUploadResult><ETag>"e1"</ETag></CompleteMultipartUploadResult>`)
	case r.Header.Get("X-Amz-Copy-Source") != "":
		fmt.Fprint(w, `<CopyObjectResult><ETag>"e1"</ETag></CopyObjectResult>`)
	case !query.Has("uploadId"):
		l.objects[key] = true
	}
}

func (l *lookAlike) read(w http.ResponseWriter, r *http.Request, key string) {
	switch {
	case r.URL.Query().Has("list-type"):
		fmt.Fprint(w, `<ListBucketResult><EncodingType>url</EncodingType></ListBucketResult>`)
	case l.objects[key]:
		w.Header().Set("ETag", `"e1"`)
	default:
		refusal(404, "NoSuchKey")(w, r)
	}
}

func TestProbeBelievesOnlyWhatItSees(t *testing.T) {
	given := func(r *http.Request) (absent bool, version string) {
		return r.Header.Get("If-None-Match") != "", r.Header.Get("If-Match")
	}
	for _, c := range []struct {
		name  string
		check func(r *http.Request) bool
		want  conditions
	}{
		{"a store that ignores all conditions", func(*http.Request) bool { return true }, conditions{}},
		{"a store that keeps all", func(r *http.Request) bool {
			absent, version := given(r)
			return !absent && (version == "" || version == `"e1"`)
		}, conditions{put: conditional{true, true}, copy: conditional{true, true}, complete: conditional{true, true}, remove: true}},
		{"a store that refuses the right version, too", func(r *http.Request) bool {
			absent, version := given(r)
			return !absent && version == ""
		}, conditions{put: conditional{absent: true}, copy: conditional{absent: true}, complete: conditional{absent: true}}},
		{"a store that checks PUT only", func(r *http.Request) bool {
			absent, version := given(r)
			return r.Method != http.MethodPut || r.Header.Get("X-Amz-Copy-Source") != "" || !absent && (version == "" || version == `"e1"`)
		}, conditions{put: conditional{true, true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := &lookAlike{check: c.check, objects: map[string]bool{}}
			p := fake(t, Options{}, server.ServeHTTP)
			if got := p.(*store).checks; got != c.want {
				t.Errorf("found %+v, want %+v", got, c.want)
			}
			if caps := p.Capabilities(); caps.CreateIfAbsent != c.want.put.absent || caps.ReplaceIfVersion != c.want.put.version ||
				caps.DeleteIfVersion != c.want.remove || caps.MaxComponent != 0 {
				t.Errorf("claims %+v", caps)
			}
			if len(server.objects) != 0 || server.uploads != 0 {
				t.Errorf("the probe left %v and %d uploads", server.objects, server.uploads)
			}
			if len(server.outside) != 0 {
				t.Errorf("the probe wrote %q", server.outside)
			}
			wantRefusals(t, p, c.want)
		})
	}
}

// wantRefusals checks that what was not seen to be checked is refused before a request is sent.
func wantRefusals(t *testing.T, p provider.Provider, checked conditions) {
	t.Helper()
	ctx := t.Context()
	for _, c := range []struct {
		name    string
		cond    provider.Condition
		checked func(conditional) bool
	}{
		{"absent", provider.Condition{Absent: true}, func(c conditional) bool { return c.absent }},
		{"version", provider.Condition{Version: "v"}, func(c conditional) bool { return c.version }},
	} {
		_, err := p.Put(ctx, "k", strings.NewReader(""), 0, provider.PutOptions{If: c.cond})
		wantUnsupported(t, "put "+c.name, c.checked(checked.put), err)
		_, err = p.Copy(ctx, "k", "l", provider.CopyOptions{If: c.cond})
		wantUnsupported(t, "copy "+c.name, c.checked(checked.copy), err)
		_, err = uploadOf(p).Complete(ctx, []provider.Part{{Number: 1}}, provider.CompleteOptions{If: c.cond})
		wantUnsupported(t, "complete "+c.name, c.checked(checked.complete), err)
	}
	wantUnsupported(t, "delete", checked.remove, p.Delete(ctx, provider.DeleteOptions{IfVersion: "v"}, "k"))
}

func wantUnsupported(t *testing.T, what string, checked bool, err error) {
	t.Helper()
	if refused := provider.Is(err, provider.KindUnsupported); refused == checked {
		t.Errorf("%s: %v; the store checks it: %v", what, err, checked)
	}
}

func TestOpenFailsWhenTheProbeCannotTell(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   provider.Kind
	}{
		{"no bucket", refusal(404, "NoSuchBucket"), provider.KindNoStore},
		{"wrong credentials", refusal(403, "SignatureDoesNotMatch"), provider.KindAuth},
		{"one who may not write", refusal(403, "AccessDenied"), provider.KindDenied},
		{"busy", refusal(503, "SlowDown"), provider.KindThrottled},
		{"down", refusal(500, "InternalError"), provider.KindUnavailable},
		{"wrong region", refusal(301, "PermanentRedirect", "X-Amz-Bucket-Region", "eu-west-1"), provider.KindOther},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := openFake(t, Options{}, c.answer)
			if provider.KindOf(err) != c.want || !strings.HasPrefix(err.Error(), "open: ") {
				t.Errorf("got %v, want kind %q", err, c.want)
			}
		})
	}
	t.Run("busy for the condition alone", func(t *testing.T) {
		server := &lookAlike{check: func(*http.Request) bool { return true }, objects: map[string]bool{}}
		_, err := openFake(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("If-None-Match") != "" {
				refusal(503, "SlowDown")(w, r)
				return
			}
			server.ServeHTTP(w, r)
		})
		if !provider.Is(err, provider.KindThrottled) {
			t.Errorf("got %v: an answer that says nothing must not count as a capability", err)
		}
		if len(server.objects) != 0 || server.uploads != 0 {
			t.Errorf("the probe left %v and %d uploads", server.objects, server.uploads)
		}
	})
}

// TestOpenOutlastsAStoreThatFailsNowAndThen opens a store of which many requests fail, in all ways there are. What it finds
// out is the same.
func TestOpenOutlastsAStoreThatFailsNowAndThen(t *testing.T) {
	srv := servers.VersityGW(t)
	srv.SetEnv(t)
	proxy, bucket := servers.Proxy(t, srv.Endpoint), srv.Bucket(t)
	cfg := configOf(t, srv.URLAt(proxy.Endpoint, bucket, "some/prefix"))
	for seed := range uint64(20) {
		fault := servers.Fault{Effects: servers.Effects(), Chance: 0.2}
		if seed%2 == 1 { // the kind that the SDK does not repeat by itself
			fault = servers.Fault{Effects: []servers.Effect{servers.CutAnswer}, Chance: 0.4}
		}
		proxy.Break(seed, fault)
		p, err := Open(t.Context(), cfg, Options{})
		broken := proxy.Broken()
		if err != nil {
			t.Fatalf("seed %d: %v, after %v", seed, err, broken)
		}
		caps := p.Capabilities()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if !caps.CreateIfAbsent || !caps.ReplaceIfVersion || !caps.DeleteIfVersion {
			t.Errorf("seed %d: found %+v, after %v", seed, caps, broken)
		}
	}
}

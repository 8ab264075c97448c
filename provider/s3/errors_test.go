package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sharefs/provider"
)

// callers are a call of every method that sends a request.
func callers() map[string]func(context.Context, provider.Provider) error {
	return map[string]func(context.Context, provider.Provider) error{
		"stat": func(ctx context.Context, p provider.Provider) error { _, err := p.Stat(ctx, "k"); return err },
		"open": func(ctx context.Context, p provider.Provider) error {
			body, _, err := p.Open(ctx, "k", provider.OpenOptions{})
			if err != nil {
				return err
			}
			defer body.Close()
			_, err = io.ReadAll(body)
			return err
		},
		"put": func(ctx context.Context, p provider.Provider) error {
			_, err := p.Put(ctx, "k", strings.NewReader("body"), 4, provider.PutOptions{})
			return err
		},
		"copy": func(ctx context.Context, p provider.Provider) error {
			_, err := p.Copy(ctx, "k", "l", provider.CopyOptions{})
			return err
		},
		"delete": func(ctx context.Context, p provider.Provider) error {
			return p.Delete(ctx, provider.DeleteOptions{}, "k")
		},
		"delete batch": func(ctx context.Context, p provider.Provider) error {
			return p.Delete(ctx, provider.DeleteOptions{}, "k", "l")
		},
		"list": func(ctx context.Context, p provider.Provider) error {
			_, err := p.List(ctx, provider.ListOptions{})
			return err
		},
		"newupload": func(ctx context.Context, p provider.Provider) error {
			_, err := p.NewUpload(ctx, "k", provider.UploadOptions{})
			return err
		},
		"listuploads": func(ctx context.Context, p provider.Provider) error { _, err := p.ListUploads(ctx, ""); return err },
		"abortupload": func(ctx context.Context, p provider.Provider) error { return p.AbortUpload(ctx, "k", "id") },
		"upload.putpart": func(ctx context.Context, p provider.Provider) error {
			_, err := uploadOf(p).PutPart(ctx, 1, strings.NewReader("body"), 4)
			return err
		},
		"upload.copypart": func(ctx context.Context, p provider.Provider) error {
			_, err := uploadOf(p).CopyPart(ctx, 1, "k", provider.CopyPartOptions{Length: 1})
			return err
		},
		"upload.complete": func(ctx context.Context, p provider.Provider) error {
			_, err := uploadOf(p).Complete(ctx, []provider.Part{{Number: 1, Tag: "x"}}, provider.CompleteOptions{})
			return err
		},
		"create": func(ctx context.Context, p provider.Provider) error { return p.Create(ctx) },
	}
}

func uploadOf(p provider.Provider) *upload { return &upload{store: p.(*store), key: "k", id: "id"} }

func TestErrorKinds(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		code   string
		want   provider.Kind
	}{
		{"no such key", 404, "NoSuchKey", provider.KindNotFound},
		{"no such bucket", 404, "NoSuchBucket", provider.KindNoStore},
		{"something else is not found", 404, "", provider.KindNoStore},
		{"precondition", 412, "PreconditionFailed", provider.KindPrecondition},
		{"not implemented", 501, "NotImplemented", provider.KindUnsupported},
		{"method not allowed", 405, "MethodNotAllowed", provider.KindUnsupported},
		{"wrong access key", 403, "InvalidAccessKeyId", provider.KindAuth},
		{"wrong access key of versitygw", 404, "XAdminUserNotFound", provider.KindAuth},
		{"wrong secret", 403, "SignatureDoesNotMatch", provider.KindAuth},
		{"expired token", 400, "ExpiredToken", provider.KindAuth},
		{"wrong clock", 403, "RequestTimeTooSkewed", provider.KindAuth},
		{"unauthorized", 401, "", provider.KindAuth},
		{"access denied", 403, "AccessDenied", provider.KindDenied},
		{"archived", 403, "InvalidObjectState", provider.KindDenied},
		{"forbidden", 403, "", provider.KindDenied},
		{"quota of Ceph and versitygw", 403, "QuotaExceeded", provider.KindQuota},
		{"quota of MinIO", 400, "XMinioAdminBucketQuotaExceeded", provider.KindQuota},
		{"full disk of MinIO", 507, "XMinioStorageFull", provider.KindQuota},
		{"full disk of versitygw", 507, "InsufficientStorage", provider.KindQuota},
		{"a file is in the way", 409, "ObjectParentIsFile", provider.KindConflict},
		{"a directory is in the way", 409, "ExistingObjectIsDirectory", provider.KindConflict},
		{"another conditional request came first", 409, "ConditionalRequestConflict", provider.KindThrottled},
		{"too large", 400, "EntityTooLarge", provider.KindTooLarge},
		{"too much metadata", 400, "MetadataTooLarge", provider.KindTooLarge},
		{"too large for something on the way", 413, "", provider.KindTooLarge},
		{"too small a part", 400, "EntityTooSmall", provider.KindInvalid},
		{"a part is missing", 400, "InvalidPart", provider.KindInvalid},
		{"key too long", 400, "KeyTooLongError", provider.KindInvalid},
		{"bad key of MinIO", 400, "XMinioInvalidObjectName", provider.KindInvalid},
		{"broken on the way", 400, "XAmzContentSHA256Mismatch", provider.KindCorrupt},
		{"bad digest", 400, "BadDigest", provider.KindCorrupt},
		{"slow down", 503, "SlowDown", provider.KindThrottled},
		{"slow down of MinIO", 503, "SlowDownWrite", provider.KindThrottled},
		{"503 from something on the way", 503, "", provider.KindThrottled},
		{"too many requests", 429, "", provider.KindThrottled},
		{"internal error", 500, "InternalError", provider.KindUnavailable},
		{"bad gateway", 502, "", provider.KindUnavailable},
		{"gateway timeout", 504, "", provider.KindUnavailable},
		{"request timeout", 400, "RequestTimeout", provider.KindUnavailable},
		{"an unknown code counts by its status", 403, "NeverHeardOf", provider.KindDenied},
		{"a redirect elsewhere", 307, "TemporaryRedirect", provider.KindUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := fake(t, Options{ReadOnly: true}, refusal(c.status, c.code))
			for op, call := range callers() {
				want := c.want
				switch {
				case op == "stat": // a HEAD has no code, see TestStatFindsTheReason
					continue
				case want == provider.KindNotFound && (op == "delete" || op == "abortupload"):
					if err := call(t.Context(), p); err != nil {
						t.Errorf("%s: %v, but what is not there need not be removed", op, err)
					}
					continue
				}
				err := call(t.Context(), p)
				if got := provider.KindOf(err); err == nil || got != want {
					t.Errorf("%s: kind %q, want %q: %v", op, got, want, err)
				}
				var pe *provider.Error
				if name, _, _ := strings.Cut(op, " "); !errors.As(err, &pe) || pe.Op != name {
					t.Errorf("%s: op of %v", op, err)
				}
				if c.code != "" && !strings.Contains(err.Error(), c.code) {
					t.Errorf("%s: the error does not show the code: %v", op, err)
				}
			}
		})
	}
}

func TestStatFindsTheReason(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int    // of the HEAD
		code   string // that a GET gets; empty: it succeeds
		want   provider.Kind
	}{
		{"no object", 404, "", provider.KindNotFound},
		{"no bucket", 404, "NoSuchBucket", provider.KindNoStore},
		{"no object, and one may not list", 404, "AccessDenied", provider.KindNotFound},
		{"wrong access key of versitygw", 404, "XAdminUserNotFound", provider.KindAuth},
		{"denied", 403, "AccessDenied", provider.KindDenied},
		{"wrong secret", 403, "SignatureDoesNotMatch", provider.KindAuth},
		{"expired token", 400, "ExpiredToken", provider.KindAuth},
		{"key too long", 400, "KeyTooLongError", provider.KindInvalid},
		{"refused a HEAD only", 403, "", provider.KindDenied},
		{"internal error", 500, "", provider.KindUnavailable},
		{"throttled", 503, "", provider.KindThrottled},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := fake(t, Options{ReadOnly: true}, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodHead:
					w.WriteHeader(c.status)
				case c.code != "":
					refusal(c.status, c.code)(w, r)
				case r.URL.Query().Has("list-type"):
					fmt.Fprint(w, "<ListBucketResult></ListBucketResult>")
				}
			})
			if _, err := p.Stat(t.Context(), "k"); provider.KindOf(err) != c.want {
				t.Errorf("got %v, want kind %q", err, c.want)
			}
		})
	}
	t.Run("MinIO says it in a header", func(t *testing.T) {
		p := fake(t, Options{ReadOnly: true}, refusal(404, "", "X-Minio-Error-Code", "NoSuchBucket"))
		if _, err := p.Stat(t.Context(), "k"); !provider.Is(err, provider.KindNoStore) {
			t.Errorf("got %v", err)
		}
	})
}

func TestMissesAreOneRequestOnceTheBucketIsKnown(t *testing.T) {
	requests := 0
	p := fake(t, Options{ReadOnly: true}, func(w http.ResponseWriter, r *http.Request) {
		requests++
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprint(w, "<ListBucketResult></ListBucketResult>")
	})
	for want := range 3 {
		if _, err := p.Stat(t.Context(), "k"); !provider.Is(err, provider.KindNotFound) {
			t.Fatal(err)
		}
		if requests != want+2 {
			t.Errorf("%d requests after %d misses, want %d", requests, want+1, want+2)
		}
	}
}

func TestWrongRegionIsNamed(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"moved", refusal(301, "PermanentRedirect", "X-Amz-Bucket-Region", "eu-west-1"), "set region=eu-west-1"},
		{"moved, where only a header can tell", refusal(301, "", "X-Amz-Bucket-Region", "eu-west-1"), "set region=eu-west-1"},
		{"signed for another region", refusal(400, "AuthorizationHeaderMalformed", "X-Amz-Bucket-Region", "eu-west-1"), "set region=eu-west-1"},
		{"signed for another region, and not told which", refusal(400, "AuthorizationHeaderMalformed"), "not in the region us-east-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := fake(t, Options{ReadOnly: true}, c.answer)
			for _, op := range []string{"stat", "open", "put", "list"} {
				err := callers()[op](t.Context(), p)
				if !provider.Is(err, provider.KindOther) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: %v, want it to say %q", op, err, c.want)
				}
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	p := fake(t, Options{ReadOnly: true}, refusal(503, "SlowDown", "Retry-After", "3"))
	for op, call := range callers() {
		var pe *provider.Error
		if err := call(t.Context(), p); !errors.As(err, &pe) || pe.RetryAfter != 3*time.Second {
			t.Errorf("%s: %v", op, err)
		}
	}
}

func TestGoodStatusWithAnErrorIsAnError(t *testing.T) {
	p := fake(t, Options{ReadOnly: true}, refusal(200, "InternalError"))
	for _, op := range []string{"copy", "upload.copypart", "upload.complete"} {
		if err := callers()[op](t.Context(), p); !provider.Is(err, provider.KindUnavailable) {
			t.Errorf("%s: %v, want an error of KindUnavailable", op, err)
		}
	}
}

func TestAnswersThatAreNotS3sAreErrors(t *testing.T) {
	for _, c := range []struct{ name, body string }{{"nothing", ""}, {"a page", "<html><body>It works!</body></html>"}, {"cut off", "<?xml version='1.0'?><CopyObj"}} {
		t.Run(c.name, func(t *testing.T) {
			p := fake(t, Options{ReadOnly: true}, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, c.body) })
			for _, op := range []string{"copy", "newupload", "upload.copypart", "upload.complete", "delete batch"} {
				err := callers()[op](t.Context(), p)
				if !provider.Is(err, provider.KindUnavailable) {
					t.Errorf("%s: %v, want an error of KindUnavailable", op, err)
				}
				if mayGoOn := c.name == "cut off" || op == "delete batch"; mayGoOn && !provider.Unanswered(err) {
					t.Errorf("%s: %v, want that it may yet take effect", op, err)
				}
			}
		})
	}
}

// TestARefusalWhoseReasonIsLostIsNotGuessed has a server that does not read what it refuses: a key that is not there, under a
// condition, is no bucket that is not there.
func TestARefusalWhoseReasonIsLostIsNotGuessed(t *testing.T) {
	for _, status := range []int{http.StatusBadRequest, http.StatusNotFound, http.StatusConflict} {
		p := fake(t, Options{ReadOnly: true}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<Error><Code>No")
		})
		err := callers()["put"](t.Context(), p)
		if !provider.Is(err, provider.KindUnavailable) || provider.Unanswered(err) || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("%d: %v, want KindUnavailable, and why", status, err)
		}
	}
}

func TestNoAnswerIsUnavailable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	p := fake(t, Options{ReadOnly: true}, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	away := p.(*store).cfg
	away.Endpoint = "http://" + addr
	q := open(t, away, Options{ReadOnly: true})
	for op, call := range callers() {
		err := call(t.Context(), p)
		if !provider.Is(err, provider.KindUnavailable) {
			t.Errorf("%s, the connection was cut: %v", op, err)
		}
		err = call(t.Context(), q)
		if !provider.Is(err, provider.KindUnavailable) || !strings.Contains(err.Error(), addr) {
			t.Errorf("%s, nobody listens: %v, want it to name %s", op, err, addr)
		}
	}
}

func TestSilentServerIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	p := fake(t, Options{ReadOnly: true, Timeout: 20 * time.Millisecond}, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	for op, call := range callers() {
		start := time.Now()
		err := call(t.Context(), p)
		if !provider.Is(err, provider.KindUnavailable) || provider.IsContext(err) {
			t.Errorf("%s: %v, want KindUnavailable and not a context's error", op, err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s took %v", op, took)
		}
	}
}

func TestContextErrorsComeBackUnchanged(t *testing.T) {
	release := make(chan struct{})
	p := fake(t, Options{ReadOnly: true}, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	for op, call := range callers() {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := call(ctx, p); err != context.DeadlineExceeded {
			t.Errorf("%s: %v, want context.DeadlineExceeded itself", op, err)
		}
		cancel()
		if err := call(ctx, p); err != context.DeadlineExceeded {
			t.Errorf("%s, the context ended before: %v, want its error itself", op, err)
		}
	}
}

func TestCredentialsThatAreMissing(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	_, err := Open(t.Context(), Config{Bucket: "bucket", Region: "us-east-1"}, Options{ReadOnly: true})
	if !provider.Is(err, provider.KindAuth) || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("no credentials: %v", err)
	}
	_, err = Open(t.Context(), Config{Bucket: "bucket", Profile: "nobody"}, Options{ReadOnly: true})
	if !provider.Is(err, provider.KindAuth) || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("an unknown profile: %v", err)
	}
}

func TestRegionThatIsMissing(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	_, err := Open(t.Context(), Config{Bucket: "bucket"}, Options{ReadOnly: true})
	if !provider.Is(err, provider.KindInvalid) || !strings.Contains(err.Error(), "region") {
		t.Errorf("got %v", err)
	}
}

func TestErrorsThatSomebodyCanMendSayHow(t *testing.T) {
	for _, c := range []struct {
		code, says string
		status     int
		headers    []string
	}{
		{"ExpiredToken", "the temporary credentials have ended: put valid ones into the AWS configuration files", 400, nil},
		{"InvalidAccessKeyId", "does not know these credentials", 403, nil},
		{"SignatureDoesNotMatch", "the secret key does not belong", 403, nil},
		{"RequestTimeTooSkewed", "set this one right; the store has 2001-02-03 04:05:06 UTC", 403, []string{"Date", "Sat, 03 Feb 2001 04:05:06 GMT"}},
		{"AccessDenied", "the rights that docs/providers.md lists", 403, nil},
		{"QuotaExceeded", "have its quota raised", 403, nil},
		{"NoSuchBucket", "restore it, or make a new one", 404, nil},
		{"AccessControlListNotSupported", "leave acl= out", 400, nil},
	} {
		p := fake(t, Options{ReadOnly: true}, refusal(c.status, c.code, c.headers...))
		_, err := p.List(t.Context(), provider.ListOptions{})
		if err == nil || !strings.Contains(err.Error(), c.code) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want it to say %q", c.code, err, c.says)
		}
	}
}

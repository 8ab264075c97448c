package retry_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/retry"
)

// tagged is the metadata of a request that carries a tag, and plain that of one that does not.
var (
	tagged = provider.Metadata{provider.MetaPut: "c1-7", "note": "n"}
	plain  = provider.Metadata{"note": "n"}
)

func TestAConditionalWriteThatTookEffectUnheard(t *testing.T) {
	for name, md := range map[string]provider.Metadata{"with a tag": tagged, "without a tag": plain, "without metadata": nil} {
		t.Run(name, func(t *testing.T) {
			for _, tc := range []struct {
				op   string
				call func(t *testing.T, s store) (provider.Object, error)
			}{
				{"put", func(t *testing.T, s store) (provider.Object, error) {
					return s.Put(t.Context(), "k", strings.NewReader("new text"), 8,
						provider.PutOptions{If: provider.Condition{Absent: true}, Metadata: md})
				}},
				{"put", func(t *testing.T, s store) (provider.Object, error) {
					old := mustPut(t, s.below, "k", "old text", md)
					return s.Put(t.Context(), "k", strings.NewReader("new text"), 8,
						provider.PutOptions{If: provider.Condition{Version: old.Version}, Metadata: md})
				}},
				{"copy", func(t *testing.T, s store) (provider.Object, error) {
					mustPut(t, s.below, "src", "new text", provider.Metadata{provider.MetaPut: "c1-6"})
					return s.Copy(t.Context(), "src", "k", provider.CopyOptions{If: provider.Condition{Absent: true}, Metadata: md})
				}},
			} {
				t.Run(tc.op, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						s := newStore(retry.Options{}, faulty.Rule{Ops: []string{tc.op}, Times: 1, Effect: faulty.ApplyFail})
						o, err := tc.call(t, s)
						wantText(t, s.below, "k", "new text")
						if md[provider.MetaPut] == "" {
							wantUntold(t, err)
							return
						}
						if err != nil {
							t.Fatal(err)
						}
						if o.Key != "k" || o.Size != 8 || o.Version == "" {
							t.Errorf("the object is %+v", o)
						}
						if n := s.requests(tc.op); n != 2 {
							t.Errorf("%d requests, want 2", n)
						}
					})
				})
			}
		})
	}
}

// wantUntold wants the error that says that nobody knows whether the request took effect.
func wantUntold(t *testing.T, err error) {
	t.Helper()
	wantKind(t, err, provider.KindUnavailable)
	if !strings.Contains(err.Error(), "cannot be told") {
		t.Errorf("%v", err)
	}
}

func TestAConditionalWriteThatCameTooLateIsRefused(t *testing.T) {
	for _, tc := range []struct {
		what, theirs string
		md           provider.Metadata // of theirs
		mine         provider.Metadata
	}{
		{"the same size with another tag", "their txt", provider.Metadata{provider.MetaPut: "c2-1", "note": "n"}, tagged},
		{"another size", "theirs", plain, plain},
		{"the same bytes with another tag", "mine text", provider.Metadata{provider.MetaPut: "c2-7", "note": "n"}, tagged},
		{"the same bytes with other metadata", "mine text", provider.Metadata{"note": "other"}, plain},
	} {
		t.Run(tc.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore(retry.Options{}, faulty.Rule{Ops: []string{"put"}, Times: 1, Effect: faulty.Fail})
				time.AfterFunc(time.Nanosecond, func() { mustPut(t, s.below, "k", tc.theirs, tc.md) })
				s.faults.Add(faulty.Rule{Ops: []string{"put"}, Times: 1, RetryAfter: time.Second, Kind: provider.KindThrottled})
				o, err := s.Put(t.Context(), "k", strings.NewReader("mine text"), 9,
					provider.PutOptions{If: provider.Condition{Absent: true}, Metadata: tc.mine})
				wantKind(t, err, provider.KindPrecondition)
				if o.Key != "" {
					t.Errorf("an object came back: %+v", o)
				}
				wantText(t, s.below, "k", tc.theirs)
			})
		})
	}
}

func TestAConditionalWriteThatCannotBeSettledSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(retry.Options{},
			faulty.Rule{Ops: []string{"put"}, Times: 1, Effect: faulty.ApplyFail},
			faulty.Rule{Ops: []string{"stat"}, Kind: provider.KindDenied})
		_, err := s.Put(t.Context(), "k", strings.NewReader("x"), 1, provider.PutOptions{If: provider.Condition{Absent: true}})
		wantUntold(t, err)
	})
}

func TestAFirstRefusalIsPlain(t *testing.T) {
	s := newStore(retry.Options{})
	mustPut(t, s, "k", "x", tagged)
	_, err := s.Put(t.Context(), "k", strings.NewReader("x"), 1, provider.PutOptions{If: provider.Condition{Absent: true}, Metadata: tagged})
	wantKind(t, err, provider.KindPrecondition)
	if n := s.requests("stat"); n != 0 {
		t.Errorf("%d stats, want none: every attempt was answered", n)
	}
}

func TestAnUploadCompletedUnheard(t *testing.T) {
	for _, tc := range []struct {
		what string
		md   provider.Metadata
		want provider.Kind // KindOther: success
	}{
		{"with a tag succeeds", tagged, provider.KindOther},
		{"without a tag cannot be told", plain, provider.KindUnavailable},
	} {
		t.Run(tc.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore(retry.Options{}, faulty.Rule{Ops: []string{"upload.complete"}, Times: 1, Effect: faulty.ApplyFail})
				u, err := s.NewUpload(t.Context(), "k", provider.UploadOptions{Metadata: tc.md})
				if err != nil {
					t.Fatal(err)
				}
				part, err := u.PutPart(t.Context(), 1, strings.NewReader("text"), 4)
				if err != nil {
					t.Fatal(err)
				}
				o, err := u.Complete(t.Context(), []provider.Part{part}, provider.CompleteOptions{})
				if tc.want != provider.KindOther {
					wantKind(t, err, tc.want)
					return
				}
				if err != nil || o.Key != "k" || o.Size != 4 {
					t.Fatalf("%+v, %v", o, err)
				}
			})
		})
	}
}

func TestAnUploadThatSomebodyAbortedIsNotCompleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(retry.Options{}, faulty.Rule{Ops: []string{"upload.complete"}, Times: 1})
		mustPut(t, s, "k", "text", provider.Metadata{provider.MetaPut: "c1-6"})
		u, err := s.NewUpload(t.Context(), "k", provider.UploadOptions{Metadata: tagged})
		if err != nil {
			t.Fatal(err)
		}
		part, err := u.PutPart(t.Context(), 1, strings.NewReader("text"), 4)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.below.AbortUpload(t.Context(), "k", u.ID()); err != nil {
			t.Fatal(err)
		}
		_, err = u.Complete(t.Context(), []provider.Part{part}, provider.CompleteOptions{})
		wantKind(t, err, provider.KindNotFound)
	})
}

func TestAMoveThatMayHaveHappenedIsNotRepeated(t *testing.T) {
	for _, tc := range []struct {
		kind     provider.Kind
		effect   faulty.Effect
		requests int64
	}{{provider.KindUnavailable, faulty.ApplyFail, 1}, {provider.KindThrottled, faulty.Fail, 2}} {
		t.Run(tc.kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore(retry.Options{}, faulty.Rule{Ops: []string{"move"}, Times: 1, Kind: tc.kind, Effect: tc.effect})
				mustPut(t, s, "a", "text", nil)
				_, err := s.Move(t.Context(), "a", "b")
				if tc.requests == 1 {
					wantKind(t, err, provider.KindUnavailable)
				} else if err != nil {
					t.Fatal(err)
				}
				if n := s.requests("move"); n != tc.requests {
					t.Errorf("%d requests, want %d", n, tc.requests)
				}
			})
		})
	}
}

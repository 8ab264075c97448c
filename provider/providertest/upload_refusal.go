package providertest

import (
	"context"
	"errors"
	"strings"

	"sharefs/provider"
)

var uploadRefusalCases = []testCase{
	{"Abort leaves nothing", func(t *tester) {
		t.putString(t.key("old"), "old")
		for _, name := range []string{"old", "new"} {
			up, _ := t.onePart(t.key(name), []byte("x"), provider.UploadOptions{})
			t.abort(up)
			if ids := t.uploadIDs(t.key(name)); len(ids) != 0 {
				t.Errorf("uploads %q", ids)
			}
		}
		t.wantContent(t.key("old"), []byte("old"))
		t.wantMissing(t.key("new"))
	}},
	{"AbortUpload by id, and again", func(t *tester) {
		up, _ := t.onePart(t.key("k"), []byte("x"), provider.UploadOptions{})
		for range 2 { // an upload that does not exist is no error
			if err := t.p.AbortUpload(t.ctx, t.key("k"), up.ID()); err != nil {
				t.Fatal(err)
			}
			if ids := t.uploadIDs(t.key("k")); len(ids) != 0 {
				t.Errorf("uploads %q", ids)
			}
		}
		t.abort(up)
		t.wantMissing(t.key("k"))
	}},
	{"an upload that was aborted is KindNotFound", func(t *tester) {
		up, part := t.onePart(t.key("k"), []byte("x"), provider.UploadOptions{})
		t.abort(up)
		_, err := up.PutPart(t.ctx, 2, strings.NewReader("y"), 1)
		t.wantError(err, "upload.putpart", provider.KindNotFound, t.key("k"))
		_, err = up.Complete(t.ctx, []provider.Part{part}, provider.CompleteOptions{})
		t.wantError(err, "upload.complete", provider.KindNotFound, t.key("k"))
		t.wantMissing(t.key("k"))
	}},
	{"a part that is missing is KindInvalid", func(t *tester) {
		up, part := t.onePart(t.key("k"), t.partData(1, 0, 1), provider.UploadOptions{})
		missing := part
		missing.Number = 2
		_, err := up.Complete(t.ctx, []provider.Part{part, missing}, provider.CompleteOptions{})
		t.wantError(err, "upload.complete", provider.KindInvalid, t.key("k"))
		t.wantMissing(t.key("k"))
		t.abort(up)
	}},
	{"no part at all is KindInvalid", func(t *tester) {
		up := t.newUpload("k", provider.UploadOptions{})
		_, err := up.Complete(t.ctx, nil, provider.CompleteOptions{})
		t.wantError(err, "upload.complete", provider.KindInvalid, t.key("k"))
		t.wantMissing(t.key("k"))
		t.abort(up)
	}},
	{"a part of which another version was sent is KindInvalid", func(t *tester) {
		up := t.newUpload("k", provider.UploadOptions{})
		stale := t.putPart(up, 1, []byte("first"))
		t.putPart(up, 1, []byte("second try"))
		_, err := up.Complete(t.ctx, []provider.Part{stale}, provider.CompleteOptions{})
		t.wantError(err, "upload.complete", provider.KindInvalid, t.key("k"))
		t.wantMissing(t.key("k"))
		t.abort(up)
	}},
	{"a part that is too small is KindInvalid", func(t *tester) {
		if t.caps.MinPartSize <= 1 {
			return // no part is
		}
		up := t.newUpload("k", provider.UploadOptions{})
		first := t.putPart(up, 1, []byte("small"))
		second := t.putPart(up, 2, []byte("last"))
		_, err := up.Complete(t.ctx, []provider.Part{first, second}, provider.CompleteOptions{})
		t.wantError(err, "upload.complete", provider.KindInvalid, t.key("k"))
		t.wantMissing(t.key("k"))
		t.abort(up)
	}},
	{"a body of another size makes no part", func(t *tester) {
		up := t.newUpload("k", provider.UploadOptions{})
		for _, size := range []int64{3, 5, 0, 100_000} {
			_, err := up.PutPart(t.ctx, 1, strings.NewReader("four"), size)
			t.wantError(err, "upload.putpart", provider.KindInvalid, t.key("k"))
		}
		part := t.putPart(up, 1, []byte("right"))
		t.complete(up, []provider.Part{part})
		t.wantContent(t.key("k"), []byte("right"))
	}},
	{"a cancelled part can be sent again", func(t *tester) {
		data := pattern(300_000, 1)
		up := t.newUpload("k", provider.UploadOptions{})
		for _, at := range []int64{0, 150_000} {
			ctx, cancel := context.WithCancel(t.ctx)
			body := newTrap(data, at, func() error { cancel(); return nil })
			if _, err := up.PutPart(ctx, 1, body, int64(len(data))); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled after %d bytes: %v", at, err)
			}
			cancel()
		}
		t.complete(up, []provider.Part{t.putPart(up, 1, data)})
		t.wantContent(t.key("k"), data)
	}},
	{"a context that ended does nothing", func(t *tester) {
		up, part := t.onePart(t.key("k"), []byte("x"), provider.UploadOptions{})
		ctx, cancel := context.WithCancel(t.ctx)
		cancel()
		_, putErr := up.PutPart(ctx, 2, strings.NewReader("y"), 1)
		_, completeErr := up.Complete(ctx, []provider.Part{part}, provider.CompleteOptions{})
		for op, err := range map[string]error{"putpart": putErr, "complete": completeErr, "abort": up.Abort(ctx),
			"abortupload": t.p.AbortUpload(ctx, t.key("k"), up.ID())} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v, want context.Canceled", op, err)
			}
		}
		t.wantMissing(t.key("k"))
		t.complete(up, []provider.Part{part})
		t.wantContent(t.key("k"), []byte("x"))
	}},
}

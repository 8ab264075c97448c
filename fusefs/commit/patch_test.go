package commit

import (
	"errors"
	"strings"
	"testing"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/provider"
	"sharefs/provider/faulty"
)

// cold is a file that is stored and of which nothing is local.
func cold(b *bed, path, data string) error {
	err := errors.Join(done(b.write(path, data)), b.flush())
	clear(b.k.cache)
	b.store.forget()
	return err
}

func TestAChangeIsSentAsAPatch(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(b *bed) error
		want   []string
	}{
		{"in place", func(b *bed) error { return done(b.patch("f", "12")) }, []string{"patch f"}},
		{"of a renamed file: one request for both", func(b *bed) error { return errors.Join(b.mv("f", "g"), done(b.patch("g", "12"))) },
			[]string{"patch f>g", "delete f"}},
		{"renamed over another file", func(b *bed) error {
			return errors.Join(cold(b, "g", "other"), done(b.patch("f", "12")), b.mv("f", "g"))
		}, []string{"patch f>g", "delete f"}},
		{"with another mode", func(b *bed) error { return errors.Join(done(b.patch("f", "12")), b.chmod("f", 0o600)) }, []string{"patch f"}},
		{"all of it: no patch", func(b *bed) error { return done(b.write("f", "another")) }, []string{"put f"}},
		{"into its own place: no patch", func(b *bed) error {
			return errors.Join(done(b.patch("f", "12")), b.mv("f", "g"), done(b.mkdir("f", 0o755)), b.mv("g", "f/f"))
		}, []string{"delete f", "put f/f"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, patching(s3like()), Options{Attributes: true}, func(t *testing.T, b *bed) {
				must(t, cold(b, "f", "original"), tc.change(b), b.flush())
				wantDid(t, b, tc.want...)
				wantInStep(t, b)
				if b.logged() != "" {
					t.Error(b.logged())
				}
			})
		})
	}
}

// TestAPatchWhoseBaseWasChangedBehindStoresNoMixture: another program was there before the request, or comes during it. What
// is local is sent as a whole; of what is not, nothing is stored, and the error says which object and why.
func TestAPatchWhoseBaseWasChangedBehindStoresNoMixture(t *testing.T) {
	for _, during := range []bool{false, true} {
		for _, local := range []bool{true, false} {
			for way, change := range map[string]func(b *bed) error{
				"replaced": func(b *bed) error { return b.foreign("f", "theirs, longer than ours") },
				"deleted":  func(b *bed) error { return b.mem.Delete(ctxBackground, provider.DeleteOptions{}, "f") },
			} {
				t.Run(way+map[bool]string{true: " during", false: " before"}[during]+map[bool]string{true: ", local", false: ""}[local], func(t *testing.T) {
					bubble(t, patching(s3like()), Options{}, func(t *testing.T, b *bed) {
						must(t, cold(b, "f", "original"))
						ino, err := b.patch("f", "12")
						must(t, err)
						if local {
							n, err := b.k.row(ino)
							must(t, err, b.k.fill(ctxBackground, n))
						}
						if during {
							b.faults.Add(faulty.Rule{Ops: []string{"upload.complete"}, Times: 1, Effect: faulty.Stall, Resume: closed(),
								Notify: func(faulty.Call) { must(t, change(b)) }})
						} else {
							must(t, change(b))
						}
						err = b.sync(ino)
						if local {
							must(t, err)
							wantStore(t, b, map[string]string{"f": "12iginal"})
							return
						}
						if err == nil || !strings.Contains(err.Error(), `"f"`) {
							t.Errorf("%v", err)
						}
						if have, err := objects(ctxBackground, b.mem); err != nil || have["f"] != "theirs, longer than ours" && have["f"] != "" {
							t.Errorf("the store has %q, %v", have, err)
						}
						if left, err := b.mem.ListUploads(ctxBackground, ""); err != nil || len(left) > 0 {
							t.Errorf("uploads are left: %v, %v", left, err)
						}
					})
				})
			}
		}
	}
}

// closed returns a channel that makes a stalled request go on at once.
func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// uploads returns what the catalog has noted.
func (b *bed) uploads() (list []catalog.Upload, err error) {
	err = b.cat.View(func(tx *catalog.Tx) (err error) {
		list, err = tx.Uploads()
		return err
	})
	return list, err
}

// TestAnUploadThatWasCutOffIsAbortedAfterwards: the process dies at every step of an upload in parts.
func TestAnUploadThatWasCutOffIsAbortedAfterwards(t *testing.T) {
	for _, effect := range []faulty.Effect{faulty.Fail, faulty.ApplyFail, faulty.Stall} {
		for _, op := range []string{"newupload", "upload.putpart", "upload.copypart", "upload.complete"} {
			for after, change := range map[string]func(b *bed) error{
				"nothing": func(*bed) error { return nil },
				"rm":      func(b *bed) error { return b.rm("f") },
				"mv":      func(b *bed) error { return b.mv("f", "g") },
				"patch":   func(b *bed) error { return done(b.patch("f", "345")) },
			} {
				t.Run(op+" "+string(rune('0'+effect))+", then "+after, func(t *testing.T) {
					bubble(t, patching(s3like()), Options{}, func(t *testing.T, b *bed) {
						must(t, cold(b, "f", "original"))
						seen := make(chan struct{})
						gone := b.faults.Add(faulty.Rule{Ops: []string{op}, Effect: effect, Times: 1, Kind: provider.KindUnavailable,
							Notify: func(faulty.Call) { close(seen) }})
						stop := b.faults.Add(faulty.Rule{Ops: []string{"upload.abort", "abortupload"}, Kind: provider.KindUnavailable})
						must(t, done(b.patch("f", "12")))
						<-seen
						time.Sleep(time.Millisecond)
						must(t, b.crash())
						gone()
						stop()
						must(t, change(b), b.flush())
						wantInStep(t, b)
						if list, err := b.uploads(); err != nil || len(list) > 0 {
							t.Errorf("the catalog still has %v, %v", list, err)
						}
					})
				})
			}
		}
	}
}

// TestAnUploadIsNotedBeforeItsFirstPart, and before it begins, without its id.
func TestAnUploadIsNotedBeforeItsFirstPart(t *testing.T) {
	bubble(t, patching(s3like()), Options{}, func(t *testing.T, b *bed) {
		must(t, cold(b, "f", "original"))
		noted := func(op string, id bool) {
			b.faults.Add(faulty.Rule{Ops: []string{op}, Times: 1, Effect: faulty.Stall, Resume: closed(), Notify: func(faulty.Call) {
				list, err := b.uploads()
				if err != nil || len(list) != 1 || list[0].Key != "f" || (list[0].ID != "") != id {
					t.Errorf("at %s the catalog has %+v, %v", op, list, err)
				}
			}})
		}
		noted("newupload", false)
		noted("upload.putpart", true)
		noted("upload.copypart", true)
		noted("upload.complete", true)
		must(t, done(b.patch("f", "12")), b.flush())
		wantInStep(t, b)
	})
}

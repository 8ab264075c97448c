package commit

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
)

// stores are the kinds of stores that check different things.
func stores() map[string]provider.Capabilities {
	all, weak, absentOnly, versionOnly := s3like(), s3like(), s3like(), s3like()
	weak.CreateIfAbsent, weak.ReplaceIfVersion, weak.DeleteIfVersion = false, false, false
	absentOnly.ReplaceIfVersion = false
	versionOnly.CreateIfAbsent = false
	return map[string]provider.Capabilities{"all conditions": all, "no conditions": weak, "absent only": absentOnly,
		"version only": versionOnly, "disk": disklike()}
}

func everyCondition(t *testing.T, o Options, f func(t *testing.T, b *bed)) {
	for name, caps := range stores() {
		t.Run(name, func(t *testing.T) { bubble(t, caps, o, f) })
	}
}

// TestARequestThatWasAppliedAndNotConfirmedIsOurOwn: the process dies between the request and its record. The next one finds its
// object, and says nothing of other programs.
func TestARequestThatWasAppliedAndNotConfirmedIsOurOwn(t *testing.T) {
	for _, tc := range []struct {
		name   string
		op     []string
		before func(b *bed) error
		change func(b *bed) error
		after  func(b *bed) error
	}{
		{"new file", []string{"put"}, nil, write("f", "1"), nil},
		{"new file, changed after", []string{"put"}, nil, write("f", "1"), write("f", "2")},
		{"new file, renamed after", []string{"put"}, nil, write("f", "1"), func(b *bed) error { return b.mv("f", "g") }},
		{"replaced file", []string{"put"}, write("f", "1"), write("f", "2"), nil},
		{"replaced file, changed after", []string{"put"}, write("f", "1"), write("f", "2"), write("f", "3")},
		{"renamed file", []string{"copy", "move"}, write("f", "1"), func(b *bed) error { return b.mv("f", "g") }, nil},
		{"renamed file, patched after", []string{"copy", "move"}, write("f", "11"), func(b *bed) error { return b.mv("f", "g") },
			func(b *bed) error { return done(b.patch("g", "2")) }},
		{"renamed file, renamed again after", []string{"copy", "move"}, write("f", "1"), func(b *bed) error { return b.mv("f", "g") },
			func(b *bed) error { return b.mv("g", "h") }},
		{"renamed file, name used after", []string{"copy", "move"}, write("f", "1"), func(b *bed) error { return b.mv("f", "g") },
			write("f", "2")},
		{"mode", []string{"copy"}, write("f", "1"), func(b *bed) error { return b.chmod("f", 0o600) }, nil},
		{"marker", []string{"put"}, nil, func(b *bed) error { return done(b.mkdir("d", 0o755)) }, nil},
		{"marker, filled after", []string{"put"}, nil, func(b *bed) error { return done(b.mkdir("d", 0o755)) }, write("d/f", "1")},
		{"symlink", []string{"put"}, nil, func(b *bed) error { return done(b.symlink("l", "there")) }, nil},
		{"delete", []string{"delete"}, write("f", "1"), func(b *bed) error { return b.rm("f") }, nil},
		{"delete, made again after", []string{"delete"}, write("f", "1"), func(b *bed) error { return b.rm("f") }, write("f", "2")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			everyCondition(t, Options{Attributes: true}, func(t *testing.T, b *bed) {
				if tc.before != nil {
					must(t, tc.before(b), b.flush())
					clear(b.k.cache)
				}
				gone := b.faults.Add(faulty.Rule{Ops: tc.op, Effect: faulty.ApplyFail})
				must(t, tc.change(b))
				time.Sleep(1100 * time.Millisecond)
				must(t, b.crash())
				gone()
				if tc.after != nil {
					must(t, tc.after(b))
				}
				must(t, b.flush())
				wantInStep(t, b)
				if strings.Contains(b.logged(), "another program") {
					t.Error(b.logged())
				}
			})
		})
	}
}

func write(path, data string) func(*bed) error {
	return func(b *bed) error { return done(b.write(path, data)) }
}

func (b *bed) foreign(key, data string) error {
	_, err := b.mem.Put(ctxBackground, key, strings.NewReader(data), int64(len(data)), provider.PutOptions{})
	return err
}

func TestAForeignObjectIsReplacedAndReported(t *testing.T) {
	for _, tc := range []struct {
		name         string
		before       func(*bed) error
		atVersions   bool // seen where versions are checked, else where absence is
		foreign, new func(*bed) error
	}{
		{"where none was", nil, false, func(b *bed) error { return b.foreign("f", "theirs") }, write("f", "ours")},
		{"instead of ours", write("f", "old"), true, func(b *bed) error { return b.foreign("f", "theirs") }, write("f", "ours")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			everyCondition(t, Options{}, func(t *testing.T, b *bed) {
				if tc.before != nil {
					must(t, tc.before(b), b.flush())
				}
				must(t, tc.foreign(b), tc.new(b), b.flush())
				wantStore(t, b, map[string]string{"f": "ours"})
				wantInStep(t, b)
				caps := b.store.Capabilities()
				seen := caps.CreateIfAbsent
				if tc.atVersions {
					seen = caps.ReplaceIfVersion
				}
				if warned := strings.Contains(b.logged(), "another program") && strings.Contains(b.logged(), "key=f"); warned != seen {
					t.Errorf("warned: %v, seen: %v; %s", warned, seen, b.logged())
				}
			})
		})
	}
}

func TestAnObjectThatOthersDeletedIsStoredAgain(t *testing.T) {
	everyCondition(t, Options{Attributes: true}, func(t *testing.T, b *bed) {
		must(t, done(b.write("f", "1")), done(b.write("g", "1")), done(b.symlink("l", "to")), b.flush())
		must(t, b.mem.Delete(t.Context(), provider.DeleteOptions{}, "f", "g", "l"))
		must(t, done(b.write("f", "2")), b.flush()) // a change
		must(t, b.mv("g", "h"), b.mv("l", "m"), b.flush())
		wantInStep(t, b)
		must(t, b.mem.Delete(t.Context(), provider.DeleteOptions{}, "h", "m"))
		must(t, b.chmod("h", 0o600), b.chmod("m", 0o700), b.flush())
		wantInStep(t, b)
	})
}

func TestAnObjectThatOthersDeletedAndThatIsNotLocalIsAProblem(t *testing.T) {
	everyCondition(t, Options{}, func(t *testing.T, b *bed) {
		must(t, done(b.write("f", "1")), b.flush(), b.mem.Delete(t.Context(), provider.DeleteOptions{}, "f"))
		clear(b.k.cache)
		must(t, b.mv("f", "g"))
		time.Sleep(10 * time.Minute)
		if n := len(b.store.did()); n > 30 {
			t.Errorf("%d requests in 10 minutes", n)
		}
		p := b.c.Problems()
		if len(p) != 1 || p[0].Path != "/g" || !strings.Contains(p[0].Error, "not found") {
			t.Errorf("%+v", p)
		}
	})
}

func TestAFileThatOthersChangedKeepsTheirContentWhenItIsRenamed(t *testing.T) {
	everyCondition(t, Options{Attributes: true}, func(t *testing.T, b *bed) {
		ino, err := b.write("f", "ours")
		must(t, err, b.flush(), b.foreign("f", "theirs"), b.mv("f", "g"), b.flush())
		b.want[ino] = "theirs"
		must(t, b.chmod("g", 0o600), b.flush(), b.foreign("g", "theirs too"), b.chmod("g", 0o640), b.flush())
		b.want[ino] = "theirs too"
		if b.store.Capabilities().AtomicMove {
			return // a move does not look at what it moves
		}
		wantInStep(t, b)
		if n := strings.Count(b.logged(), "another program has changed"); n != 2 {
			t.Error(b.logged())
		}
	})
}

func TestAStoreThatCannotCopyGetsTheBytes(t *testing.T) {
	caps := s3like()
	caps.Copy = false
	bubble(t, caps, Options{Attributes: true}, func(t *testing.T, b *bed) {
		must(t, done(b.write("f", "1")), done(b.symlink("l", "to")), b.flush())
		clear(b.k.cache)
		_, err := b.mem.Stat(t.Context(), "f")
		must(t, err, b.mv("f", "g"), b.mv("l", "m"), b.flush())
		wantInStep(t, b)
		must(t, b.chmod("g", 0o600), b.chmod("m", 0o700), b.flush())
		wantInStep(t, b)
	})
}

func TestASymlinkWhoseTargetIsNotKnownMovesAllTheSame(t *testing.T) {
	for name, caps := range map[string]provider.Capabilities{"copy": s3like(), "move": disklike(), "neither": func() provider.Capabilities {
		caps := s3like()
		caps.Copy = false
		return caps
	}()} {
		t.Run(name, func(t *testing.T) {
			bubble(t, caps, Options{Attributes: true}, func(t *testing.T, b *bed) {
				ino, err := b.symlink("l", "to")
				must(t, err, b.flush(), b.forgetTarget(ino), b.mv("l", "m"), b.flush())
				wantStore(t, b, map[string]string{"m": "to"})
				must(t, b.forgetTarget(ino), b.chmod("m", 0o700), b.flush())
				wantStore(t, b, map[string]string{"m": "to"})
			})
		})
	}
}

func TestWhatIsUnlinkedDuringItsUploadIsDeletedAfterwards(t *testing.T) {
	for _, state := range []string{"first upload", "second upload", "rename", "mode"} {
		t.Run(state, func(t *testing.T) {
			everyCondition(t, Options{Attributes: true}, func(t *testing.T, b *bed) {
				name := "f"
				if state != "first upload" {
					must(t, done(b.write("f", "1")), b.flush())
				}
				b.store.takes = func(string, string) time.Duration { return 10 * second }
				switch state {
				case "rename":
					must(t, b.mv("f", "g"))
					name = "g"
				case "mode":
					must(t, b.chmod("f", 0o600))
				default:
					must(t, done(b.write("f", "2")))
				}
				time.Sleep(5 * second)
				must(t, b.rm(name))
				time.Sleep(time.Minute)
				wantInStep(t, b)
				must(t, done(b.write(name, "3")), b.flush())
				wantInStep(t, b)
			})
		})
	}
}

func TestWhatChangesDuringItsUploadIsStoredAgain(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(b *bed) error
	}{
		{"content", write("f", "2")},
		{"mode", func(b *bed) error { return b.chmod("f", 0o600) }},
		{"name", func(b *bed) error { return b.mv("f", "g") }},
		{"all", func(b *bed) error {
			if err := b.chmod("f", 0o600); err != nil {
				return err
			}
			if err := b.mv("f", "g"); err != nil {
				return err
			}
			return done(b.write("g", "2"))
		}},
		{"replaced", func(b *bed) error {
			if err := b.rm("f"); err != nil {
				return err
			}
			return done(b.write("f", "2"))
		}},
		{"replaced by a directory", func(b *bed) error {
			if err := b.rm("f"); err != nil {
				return err
			}
			if _, err := b.mkdir("f", 0o755); err != nil {
				return err
			}
			return done(b.write("f/g", "2"))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			everyCondition(t, Options{Attributes: true}, func(t *testing.T, b *bed) {
				b.store.takes = func(string, string) time.Duration { return 10 * second }
				must(t, done(b.write("f", "1")))
				time.Sleep(5 * second)
				must(t, tc.change(b))
				time.Sleep(4 * time.Minute)
				wantInStep(t, b)
				if n := len(b.store.did()); n > 5 {
					t.Errorf("%q", b.store.did())
				}
			})
		})
	}
}

func TestMetadataThatOthersWroteStays(t *testing.T) {
	bubble(t, s3like(), Options{Attributes: true}, func(t *testing.T, b *bed) {
		ino, err := b.write("f", "1")
		must(t, err, b.edit(ino, func(n *inode) { n.Foreign = provider.Metadata{"camera": "obscura"} }), b.flush())
		must(t, done(b.write("f", "2")), b.flush(), b.chmod("f", 0o600), b.flush(), b.mv("f", "g"), b.flush())
		o, err := b.mem.Stat(t.Context(), "g")
		must(t, err)
		if o.Metadata["camera"] != "obscura" || o.Metadata[provider.MetaPut] == "" || provider.ParseAttrs(o.Metadata).Mode != provider.ModeFile|0o600 {
			t.Errorf("%v", o.Metadata)
		}
	})
}

func TestEveryRequestCarriesATagOfItsOwn(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		seen := map[string]bool{}
		for i := range 5 {
			must(t, done(b.write("f", fmt.Sprint(i))), b.flush())
			o, err := b.mem.Stat(t.Context(), "f")
			must(t, err)
			tag := o.Metadata[provider.MetaPut]
			if !strings.HasPrefix(tag, b.cat.ID()+"-") || seen[tag] {
				t.Errorf("%q", tag)
			}
			seen[tag] = true
		}
	})
}

func TestALargeFileGoesInPartsAndAWriteEndsItsUpload(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		large := strings.Repeat("0123456789abcdef", 40<<20/16)
		ino, err := b.write("f", large)
		must(t, err)
		var once sync.Once
		b.k.onRead = func(uint64) {
			once.Do(func() {
				must(t, done(b.write("f", large+"more")))
				b.k.mu.Lock()
				defer b.k.mu.Unlock()
				b.k.broken = true
			})
		}
		defer b.openForWrite(ino)()
		if err := b.sync(ino); err != nil {
			t.Error(err)
		}
		o, err := b.mem.Stat(t.Context(), "f")
		if err != nil || o.Size != int64(len(large)+4) {
			t.Errorf("%d bytes, %v", o.Size, err)
		}
		if ups, err := b.mem.ListUploads(t.Context(), ""); err != nil || len(ups) != 0 {
			t.Errorf("%v, %v", ups, err)
		}
		wantInStep(t, b)
	})
}

func TestMovedIsToldOfContentsThatKeptTheirBytes(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		must(t, done(b.write("f", "1")), b.flush(), b.mv("f", "g"), b.flush())
		if !slices.Equal(b.moved, []string{"g"}) {
			t.Error(b.moved)
		}
	})
}

func TestACommitterTakesUpWhatAnEarlierOneLeft(t *testing.T) {
	bubble(t, mem.Full(), Options{Writeback: time.Hour, WritebackMax: time.Hour}, func(t *testing.T, b *bed) {
		must(t, done(b.write("gone", "1")), done(b.write("moved", "1")), b.flush())
		must(t, b.rm("gone"), b.mv("moved", "there"), done(b.write("new", "1")), done(b.mkdir("d", 0o755)))
		b.c.Close()
		b.o.Writeback, b.o.WritebackMax = second, second
		must(t, b.start())
		time.Sleep(10 * second)
		wantInStep(t, b)
	})
}

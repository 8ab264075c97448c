package commit

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sharefs/provider"
	"sharefs/test/soak"
)

// everyStore runs f over the kinds of stores that ask for different requests. The short run does a third of them, other ones for
// each test.
func everyStore(t *testing.T, f func(t *testing.T, b *bed)) {
	part := fnv.New32()
	_, _ = part.Write([]byte(t.Name()))
	turn := int(part.Sum32() % 3)
	noCopy := s3like()
	noCopy.Copy = false
	weak := s3like()
	weak.CreateIfAbsent, weak.ReplaceIfVersion, weak.DeleteIfVersion = false, false, false
	for _, kind := range []struct {
		name string
		caps provider.Capabilities
	}{{"bucket", s3like()}, {"disk", disklike()}, {"without copy", noCopy}, {"without conditions", weak}} {
		for _, attributes := range []bool{true, false} {
			if turn++; turn%3 != 0 && !soak.Long() {
				continue
			}
			t.Run(fmt.Sprintf("%s attributes=%v", kind.name, attributes), func(t *testing.T) {
				bubble(t, kind.caps, Options{Attributes: attributes}, f)
			})
		}
	}
}

// TestSoakChangesOfNamesReachTheStore: each case starts from a store that is in step with "before" (names that end in "/" are
// directories), makes the changes, and ends in step, over a store that refuses objects above and below each other.
func TestSoakChangesOfNamesReachTheStore(t *testing.T) {
	type do func(b *bed) error
	mv := func(from, to string) do { return func(b *bed) error { return b.mv(from, to) } }
	rm := func(path string) do { return func(b *bed) error { return b.rm(path) } }
	mkdir := func(path string) do { return func(b *bed) error { return done(b.mkdir(path, 0o755)) } }
	write := func(path string) do { return func(b *bed) error { return done(b.write(path, "new "+path)) } }
	patch := func(path string) do { return func(b *bed) error { return done(b.patch(path, "NEW")) } }
	link := func(path, to string) do { return func(b *bed) error { return done(b.symlink(path, to)) } }
	chmod := func(path string, mode uint32) do { return func(b *bed) error { return b.chmod(path, mode) } }
	later := func(b *bed) error { time.Sleep(600 * time.Millisecond); synctest.Wait(); return nil } // more than half of Writeback
	for _, tc := range []struct {
		name   string
		before []string
		change []do
	}{
		{"rename", []string{"a"}, []do{mv("a", "b")}},
		{"rename over", []string{"a", "b"}, []do{mv("a", "b")}},
		{"rename and write at the old name", []string{"a"}, []do{mv("a", "b"), write("a")}},
		{"patch, rename and write at the old name", []string{"a"}, []do{patch("a"), mv("a", "b"), write("a")}},
		{"rename, patch and write at the old name", []string{"a"}, []do{mv("a", "b"), patch("b"), write("a")}},
		{"rotate", []string{"a", "b", "c"}, []do{mv("c", "d"), mv("b", "c"), mv("a", "b"), write("a")}},
		{"swap", []string{"a", "b"}, []do{mv("a", "t"), mv("b", "a"), mv("t", "b")}},
		{"swap of patched files", []string{"a", "b"}, []do{patch("a"), patch("b"), mv("a", "t"), mv("b", "a"), mv("t", "b")}},
		{"circle of three", []string{"a", "b", "c"}, []do{mv("a", "t"), mv("b", "a"), mv("c", "b"), mv("t", "c")}},
		{"remove and make again", []string{"a"}, []do{rm("a"), write("a")}},
		{"file becomes directory", []string{"a"}, []do{rm("a"), mkdir("a"), write("a/f")}},
		{"file becomes empty directory", []string{"a"}, []do{rm("a"), mkdir("a")}},
		{"directory becomes file", []string{"d/", "d/f"}, []do{rm("d/f"), rm("d"), write("d")}},
		{"empty directory becomes file", []string{"d/"}, []do{rm("d"), write("d")}},
		{"file moves into its own place", []string{"a"}, []do{mv("a", "t"), mkdir("a"), mv("t", "a/b")}},
		{"patched file moves into its own place", []string{"a"}, []do{patch("a"), mv("a", "t"), mkdir("a"), mv("t", "a/b")}},
		{"written file moves into its own place", []string{"a"}, []do{write("a"), mv("a", "t"), mkdir("a"), mv("t", "a/b")}},
		{"file moves out to its directory's place", []string{"a/", "a/b"}, []do{mv("a/b", "t"), rm("a"), mv("t", "a")}},
		{"patched file moves out to its directory's place", []string{"a/", "a/b"}, []do{patch("a/b"), mv("a/b", "t"), rm("a"), mv("t", "a")}},
		{"written file moves out to its directory's place", []string{"a/", "a/b"}, []do{write("a/b"), mv("a/b", "t"), rm("a"), mv("t", "a")}},
		{"file and directory swap", []string{"d/", "d/f", "a"}, []do{mv("d", "t"), mv("a", "d"), mv("t", "a")}},
		{"file and empty directory swap", []string{"d/", "a"}, []do{mv("d", "t"), mv("a", "d"), mv("t", "a")}},
		{"patched file and directory swap", []string{"d/", "d/f", "a"}, []do{patch("a"), patch("d/f"), mv("d", "t"), mv("a", "d"), mv("t", "a")}},
		{"directory moves", []string{"d/", "d/e/", "d/e/f", "d/g"}, []do{mv("d", "x")}},
		{"directory moves and is made again", []string{"d/", "d/f"}, []do{mv("d", "x"), mkdir("d"), write("d/f")}},
		{"directories swap", []string{"d/", "d/f", "e/", "e/f"}, []do{mv("d", "t"), mv("e", "d"), mv("t", "e")}},
		{"last file goes", []string{"d/", "d/f"}, []do{rm("d/f")}},
		{"last file moves away", []string{"d/", "d/f", "e/"}, []do{mv("d/f", "e/f")}},
		{"tree goes", []string{"d/", "d/e/", "d/e/f", "d/g"}, []do{rm("d/e/f"), rm("d/e"), rm("d/g"), rm("d")}},
		{"link moves", []string{"l@"}, []do{mv("l", "m")}},
		{"link is replaced", []string{"l@"}, []do{rm("l"), link("l", "elsewhere")}},
		{"link and file swap", []string{"l@", "a"}, []do{mv("a", "t"), mv("l", "a"), mv("t", "l")}},
		{"link's mode", []string{"l@"}, []do{chmod("l", 0o700)}},
		{"mode", []string{"a"}, []do{chmod("a", 0o600)}},
		{"mode and name", []string{"a"}, []do{chmod("a", 0o600), mv("a", "b")}},
		{"mode of a directory", []string{"d/", "d/f"}, []do{chmod("d", 0o700)}},
		{"mode of a directory that moves", []string{"d/", "d/f"}, []do{chmod("d", 0o700), mv("d", "e")}},
		{"directory gets a mode, and what made it goes", []string{"d/", "d/x", "q", "d2"}, []do{
			rm("d/x"), mkdir("d/x"), chmod("d", 0o700), mv("q", "d/x/g"), mv("d2", "q")}},
		{"what waits to replace an object goes elsewhere, where the object is in its way", []string{"d/", "d/f"}, []do{
			rm("d/f"), later, write("d/f"), later, mv("d/f", "t"), rm("d"), mv("t", "d")}},
		{"a long chain through files and directories", []string{"f1", "d/", "d/x", "q"}, []do{
			rm("d/x"), mkdir("d/x"), mv("q", "d/x/g"), mv("f1", "q"), mkdir("f1"), chmod("f1", 0o700)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			everyStore(t, func(t *testing.T, b *bed) {
				for _, name := range tc.before {
					switch {
					case strings.HasSuffix(name, "/"):
						must(t, mkdir(strings.TrimSuffix(name, "/"))(b))
					case strings.HasSuffix(name, "@"):
						must(t, link(strings.TrimSuffix(name, "@"), "target")(b))
					default:
						must(t, done(b.write(name, "the old content of "+name)))
					}
				}
				must(t, b.flush())
				wantInStep(t, b)
				clear(b.k.cache) // what is stored is only in the store
				for _, d := range tc.change {
					must(t, d(b))
				}
				must(t, b.flush())
				wantInStep(t, b)
			})
		})
	}
}

func TestADirectoryHasItsMarkerBeforeItsLastObjectGoes(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		must(t, done(b.mkdir("d", 0o755)), done(b.write("d/f", "1")), b.flush())
		b.store.forget()
		must(t, b.rm("d/f"), b.flush())
		wantDid(t, b, "put d/", "delete d/f")
		wantInStep(t, b)
	})
}

func TestADoomedObjectIsReplacedByItsSuccessor(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		must(t, done(b.write("f", "1")), b.flush())
		b.store.forget()
		must(t, b.rm("f"), done(b.write("f", "2")), b.flush())
		wantDid(t, b, "put f")
		wantInStep(t, b)
	})
}

func TestANameThatIsUsedAgainLaterCostsOnePut(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		must(t, done(b.write("f", "1")), b.flush(), b.rm("f"), b.flush()) // the kernel still knows the inode
		b.store.forget()
		must(t, done(b.write("f", "2")), b.flush())
		wantDid(t, b, "put f")
		if log := b.logged(); log != "" {
			t.Error(log)
		}
		wantInStep(t, b)
	})
}

func TestFiveHundredDeletesAreOneRequest(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		for i := range 500 {
			must(t, done(b.write(fmt.Sprintf("%03d", i), "x")))
		}
		must(t, b.flush())
		b.store.forget()
		for i := range 500 {
			must(t, b.rm(fmt.Sprintf("%03d", i)))
		}
		must(t, b.flush())
		if did := b.store.did(); len(did) != 1 {
			t.Errorf("%d requests, the first %.80s", len(did), did[0])
		}
		wantInStep(t, b)
	})
}

func TestABatchOfDeletesIsNoLargerThanTheStoreTakes(t *testing.T) {
	caps := s3like()
	caps.MaxDeleteBatch = 7
	bubble(t, caps, Options{}, func(t *testing.T, b *bed) {
		for i := range 20 {
			must(t, done(b.write(fmt.Sprint(i), "x")))
		}
		must(t, b.flush())
		b.store.forget()
		for i := range 20 {
			must(t, b.rm(fmt.Sprint(i)))
		}
		time.Sleep(time.Minute)
		if did := b.store.did(); len(did) != 3 {
			t.Errorf("%d requests: %q", len(did), did)
		}
		wantInStep(t, b)
	})
}

func TestAnUnlinkedFileThatIsReadKeepsItsObjectUntilItIsClosed(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		ino, err := b.write("f", "1")
		must(t, err, b.flush())
		closed := b.openForRead(ino)
		must(t, b.rm("f"))
		start := time.Now()
		must(t, b.flush()) // does not wait for it
		ctx, cancel := contextAfter(time.Minute)
		defer cancel()
		must(t, b.c.SyncDoomed(ctx, "f")) // nor does this
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %v", took)
		}
		time.Sleep(time.Hour)
		wantStore(t, b, map[string]string{"f": "1"})
		closed()
		time.Sleep(2 * second)
		wantInStep(t, b)
	})
}

func TestAFileThatIsUnlinkedDuringItsRenameCanStillBeRead(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		ino, err := b.write("f", "1")
		must(t, err, b.flush())
		closed := b.openForRead(ino)
		b.store.takes = func(string, string) time.Duration { return 10 * second }
		must(t, b.mv("f", "g"))
		time.Sleep(5 * second) // the copy is under way
		must(t, b.rm("g"))
		time.Sleep(time.Minute)
		if got, err := b.k.fetch(t.Context(), ino); got != "1" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		wantStore(t, b, map[string]string{"f": "1"})
		closed()
		time.Sleep(time.Minute)
		wantInStep(t, b)
	})
}

// TestAnUnlinkedFileThatIsReadGivesWayToWhoNeedsItsKey: its content is made local first.
func TestAnUnlinkedFileThatIsReadGivesWayToWhoNeedsItsKey(t *testing.T) {
	for _, tc := range []struct {
		name   string
		path   string
		change func(b *bed) error
	}{
		{"a file", "f", func(b *bed) error { return done(b.write("f", "new")) }},
		{"a directory with a file", "f", func(b *bed) error {
			_, err := b.mkdir("f", 0o755)
			if err == nil {
				_, err = b.write("f/g", "new")
			}
			return err
		}},
		{"a directory's marker", "f", func(b *bed) error { return done(b.mkdir("f", 0o700)) }},
		{"a file in the place of its directory", "d/f", func(b *bed) error {
			if err := b.rm("d"); err != nil {
				return err
			}
			return done(b.write("d", "new"))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
				must(t, done(b.mkdir("d", 0o755)))
				ino, err := b.write(tc.path, "old")
				must(t, err, b.flush())
				clear(b.k.cache)
				defer b.openForRead(ino)()
				must(t, b.rm(tc.path))
				time.Sleep(10 * second) // its delete is parked
				must(t, tc.change(b), b.flush())
				wantInStep(t, b)
				n, err := b.k.row(ino)
				must(t, err)
				if f := b.k.staged[n.Stage]; f == nil || f.data != "old" {
					t.Errorf("the open file's content is %+v", f)
				}
			})
		})
	}
}

func TestAFileThatIsOpenForWritingDoesNotHoldUpWhoTakesItsOldName(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		ino, err := b.write("log", "old entries")
		must(t, err, b.flush())
		clear(b.k.cache)
		closed := b.openForWrite(ino)
		must(t, done(b.patch("log", "OLD")), b.mv("log", "log.1"), done(b.write("log", "new entries")))
		time.Sleep(time.Minute)
		got, err := b.mem.Stat(t.Context(), "log")
		if err != nil || got.Size != int64(len("new entries")) {
			t.Errorf("%+v, %v", got, err)
		}
		closed()
		must(t, b.flush())
		wantStore(t, b, map[string]string{"log": "new entries", "log.1": "OLD entries"})
		wantInStep(t, b)
	})
}

func TestSyncOfWhatWaitsForAnOpenFileStoresThatToo(t *testing.T) {
	bubble(t, s3like(), Options{}, func(t *testing.T, b *bed) {
		ino, err := b.write("a", "1")
		must(t, err, b.flush(), done(b.patch("a", "2")))
		defer b.openForWrite(ino)()
		must(t, b.mv("a", "b"), done(b.mkdir("a", 0o755)))
		inside, err := b.write("a/f", "inside") // waits until a has moved away
		must(t, err)
		time.Sleep(10 * second)
		start := time.Now()
		must(t, b.sync(inside))
		if took := time.Since(start); took > second {
			t.Errorf("it took %v", took)
		}
		must(t, b.flush())
		wantInStep(t, b)
	})
}

func TestWhatConflictsWaitsOnlyForWhatIsInItsWay(t *testing.T) {
	bubble(t, s3like(), Options{Attributes: true, Parallel: 4}, func(t *testing.T, b *bed) {
		b.store.takes = func(op, key string) time.Duration {
			if key == "d/" {
				return 100 * second
			}
			return second
		}
		must(t, done(b.mkdir("d", 0o700)))
		time.Sleep(2 * second) // its marker is under way
		for i := range 20 {
			must(t, done(b.write(fmt.Sprint("d/", i), "x")), done(b.write(fmt.Sprint("e", i), "x")))
		}
		time.Sleep(30 * second)
		var elsewhere int
		for _, d := range b.store.did() {
			if strings.HasPrefix(d, "put e") {
				elsewhere++
			} else if d != "put d/" {
				t.Error(d)
			}
		}
		if elsewhere != 20 {
			t.Errorf("%d of 20 files elsewhere were stored meanwhile", elsewhere)
		}
		must(t, b.flush())
		wantInStep(t, b)
	})
}

func TestDirectoriesOfAStoreThatHasThemGoAfterTheirContents(t *testing.T) {
	caps := s3like()
	caps.Directories = true
	bubble(t, caps, Options{}, func(t *testing.T, b *bed) {
		must(t, done(b.mkdir("d", 0o755)), done(b.mkdir("d/e", 0o755)), done(b.write("d/e/f", "1")), done(b.write("d/g", "1")), b.flush())
		wantInStep(t, b)
		b.store.forget()
		must(t, b.rm("d/e/f"), b.rm("d/e"), b.rm("d/g"), b.rm("d"), b.flush())
		wantInStep(t, b)
		if log := b.logged(); log != "" {
			t.Error(log)
		}
		did := b.store.did()
		if i, j := slices.IndexFunc(did, func(s string) bool { return strings.Contains(s, "d/e/f") }),
			slices.IndexFunc(did, func(s string) bool { return strings.HasSuffix(s, " d/") }); i < 0 || j < i {
			t.Errorf("%q", did)
		}
	})
}

package cache

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestPromotionAndBackLosesNothing(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, filepath.Join(dir, "cache"), Options{})
	s := newStore(1, 3*mib+5)
	f := c.File(s.obj, s.fetch)
	readAt(t, f, s, 3*mib, 5)
	readAt(t, f, s, mib, 2*blk)
	staged := filepath.Join(dir, "staged")
	if _, _, err := c.Take(s.obj, staged); !errors.Is(err, ErrOpen) {
		t.Errorf("take of an open content: %v", err)
	}
	mustClose(t, f)

	present, ok, err := c.Take(s.obj, staged)
	if want := []Range{{mib, 2 * blk}, {3 * mib, 5}}; err != nil || !ok || !slices.Equal(present, want) {
		t.Fatalf("taken %v, %v, %v; want %v", present, ok, err, want)
	}
	got, err := os.ReadFile(staged)
	if err != nil || int64(len(got)) != s.obj.Size {
		t.Fatalf("the file has %d bytes, %v", len(got), err)
	}
	for _, r := range present {
		if !bytes.Equal(got[r.Off:r.Off+r.Len], s.data[r.Off:r.Off+r.Len]) {
			t.Errorf("wrong bytes in %v", r)
		}
	}
	if st := stats(t, c); st.Bytes != 0 || st.Objects != 0 {
		t.Errorf("the cache still counts %d bytes of %d contents", st.Bytes, st.Objects)
	}
	if _, ok, err := c.Take(s.obj, staged); ok || err != nil {
		t.Errorf("take of what is not there: %v, %v", ok, err)
	}

	changed := newStore(2, 3*mib+5)
	if err := os.WriteFile(staged, changed.data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Give(changed.obj, staged); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(staged); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file that was given is still there: %v", err)
	}
	if !whole(t, c, 2) {
		t.Error("what was given is not whole")
	}
	checkAccounts(t, c)
	f = c.File(changed.obj, changed.fetch)
	readAll(t, f, changed, 100*kib)
	mustClose(t, f)
	if n := changed.requests(); n != 0 {
		t.Errorf("%d requests for what was given", n)
	}
}

func TestADamagedBlockIsNotPromoted(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, filepath.Join(dir, "cache"), Options{})
	s := newStore(1, mib)
	f := c.File(s.obj, s.fetch)
	readAt(t, f, s, 0, mib)
	mustClose(t, f)
	data, err := os.OpenFile(dataFile(t, filepath.Join(dir, "cache")), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	if _, err := data.WriteAt([]byte("?"), 20*kib+5*blk); err != nil {
		t.Fatal(err)
	}
	present, ok, err := c.Take(s.obj, filepath.Join(dir, "staged"))
	if want := []Range{{0, 5 * blk}, {6 * blk, mib - 6*blk}}; err != nil || !ok || !slices.Equal(present, want) {
		t.Errorf("taken %v, %v, %v; want %v", present, ok, err, want)
	}
}

func TestGivenContentSurvivesARemountUnderItsNewKey(t *testing.T) {
	dir := t.TempDir()
	cacheDir, staged := filepath.Join(dir, "cache"), filepath.Join(dir, "staged")
	c := openCache(t, cacheDir, Options{Owner: "catalog"})
	s := newStore(1, mib)
	if err := os.WriteFile(staged, s.data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Give(s.obj, staged); err != nil {
		t.Fatal(err)
	}
	closeCache(t, c)
	c = openCache(t, cacheDir, Options{Owner: "catalog"})
	s.obj.Key, s.obj.Version = "a/new/key", "v2"
	if err := c.Retarget(1, s.obj.Key, s.obj.Version); err != nil {
		t.Fatal(err)
	}
	if err := c.Retarget(99, "k", "v"); err != nil {
		t.Errorf("an id that is not known: %v", err)
	}
	closeCache(t, c)
	c = openCache(t, cacheDir, Options{Owner: "catalog"})
	f := c.File(s.obj, s.fetch)
	readAll(t, f, s, mib)
	if err := c.Retarget(1, "third", "v3"); err != nil {
		t.Fatal(err)
	}
	readAll(t, f, s, mib)
	mustClose(t, f)
	if n := s.requests(); n != 0 {
		t.Errorf("%d requests for a content that moved", n)
	}
}

func TestWhatDoesNotFitIsRemoved(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, filepath.Join(dir, "cache"), Options{Size: mib})
	s := newStore(1, 2*mib)
	staged := filepath.Join(dir, "staged")
	if err := os.WriteFile(staged, s.data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Give(s.obj, staged); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(staged); !errors.Is(err, os.ErrNotExist) || whole(t, c, 1) {
		t.Errorf("the file is there (%v) or kept (%v)", err, whole(t, c, 1))
	}
}

func TestGiveRefusesAFileThatIsNotTheContent(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, filepath.Join(dir, "cache"), Options{})
	staged := filepath.Join(dir, "staged")
	if err := os.WriteFile(staged, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"too short": staged, "missing": staged + "x", "a directory": dir} {
		if err := c.Give(newStore(1, mib).obj, path); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := os.Stat(staged); err != nil {
		t.Errorf("a refused file is gone: %v", err)
	}
}

func TestDroppedContentIsGoneAndOpenFilesGoOn(t *testing.T) {
	c := openCache(t, t.TempDir(), Options{Memory: 1})
	s := newStore(1, mib)
	f := c.File(s.obj, s.fetch)
	readAt(t, f, s, 0, mib)
	c.Drop(1)
	if whole(t, c, 1) || stats(t, c).Bytes != 0 {
		t.Error("the content is still there")
	}
	checkAccounts(t, c)
	readAt(t, f, s, 0, mib)
	g := c.File(s.obj, s.fetch)
	readAt(t, g, s, 0, mib)
	readAt(t, f, s, 0, mib)
	mustClose(t, f)
	mustClose(t, g)
	if !whole(t, c, 1) {
		t.Error("the content did not come back with a new File")
	}
}

func TestTakeDoesNotWaitForAGETThatGoesOnAfterItsFile(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, filepath.Join(dir, "cache"), Options{})
	s := gated(1, 3*mib)
	s.free = blk
	for off := range int64(2) {
		f := c.File(s.obj, s.fetch)
		readAt(t, f, s, off*32*kib, 32*kib)
		mustClose(t, f)
	}
	present, ok, err := c.Take(s.obj, filepath.Join(dir, "staged"))
	if want := []Range{{0, blk}}; err != nil || !ok || !slices.Equal(present, want) {
		t.Errorf("taken %v, %v, %v; want %v", present, ok, err, want)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		open := s.open
		s.mu.Unlock()
		if open == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the GET goes on though nobody wants it")
		}
	}
}

func TestRenamedContentOfAnEarlierRunNeedsAKnownOwner(t *testing.T) {
	for _, tt := range []struct {
		name          string
		before, after string // owners
		requests      int
	}{
		{"the same owner", "catalog 1", "catalog 1", 0},
		{"another owner", "catalog 1", "catalog 2", 1},
		{"no owner", "", "", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			c := openCache(t, dir, Options{Owner: tt.before})
			s := newStore(1, mib)
			f := c.File(s.obj, s.fetch)
			readAt(t, f, s, 0, mib)
			mustClose(t, f)
			closeCache(t, c)
			s.sent()

			c = openCache(t, dir, Options{Owner: tt.after})
			s.obj.Key = "renamed"
			if err := c.Retarget(1, s.obj.Key, s.obj.Version); err != nil {
				t.Fatal(err)
			}
			f = c.File(s.obj, s.fetch)
			readAt(t, f, s, 0, mib)
			mustClose(t, f)
			if n := s.requests(); n != tt.requests {
				t.Errorf("%d requests, want %d", n, tt.requests)
			}
		})
	}
}

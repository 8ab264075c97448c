package tree

import (
	"errors"
	"slices"
	"testing"
	"time"

	"sharefs/provider/mem"
)

func TestACacheDirectoryTellsWhatWaitsInItAndIsNotChanged(t *testing.T) {
	s := mem.New(mem.Options{})
	m := openTree(t, s, Options{Writeback: time.Hour, WritebackMax: time.Hour})
	must(t, m.write("stored", "1"))
	m.flush()
	must(t, m.mkdir("d"), m.write("d/waits", "12345"))
	dir := m.opts.CacheDir
	if !IsCacheDir(dir) || IsCacheDir(t.TempDir()) {
		t.Error("what is a cache directory is not told from what is none")
	}
	if _, err := Inspect(t.Context(), dir); !errors.Is(err, ErrLocked) {
		t.Errorf("while it is mounted: %v", err)
	}
	m.close()
	for range 2 { // the second time shows that the first has changed nothing
		in, err := Inspect(t.Context(), dir)
		must(t, err)
		if in.Store != s.String() || in.Bytes != 5 || in.Pending == 0 || in.Superseded || len(in.Conflicts) > 0 || !slices.Contains(in.Paths, "/d/waits") ||
			in.StageSize == 0 {
			t.Errorf("%+v", in)
		}
	}
	again := openTree(t, s, m.opts)
	wantFile(t, again, "d/waits", "12345")
	again.flush()
	again.close()
	in, err := Inspect(t.Context(), dir)
	must(t, err)
	if in.Pending != 0 || len(in.Paths) != 0 {
		t.Errorf("when all is stored: %+v", in)
	}
}

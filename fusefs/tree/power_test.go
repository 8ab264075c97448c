package tree

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/provider"
	"sharefs/provider/faulty"
)

func bootNumber(n int) string { return fmt.Sprintf("%032x", n) }

// openIdle opens a tree that stores nothing and makes nothing durable by itself.
func openIdle(t testing.TB, store provider.Provider) *mount {
	t.Helper()
	return openTree(t, store, Options{Writeback: time.Hour, WritebackMax: time.Hour, BootID: bootNumber(1), secureAfter: time.Hour, IOTimeout: time.Second})
}

// reboot is crash, under another kernel. What the old one had not written is there all the same; that it must not be believed
// is the subject.
func (m *mount) reboot(n int) *mount {
	m.t.Helper()
	m.opts.BootID = bootNumber(n)
	m.opts.Writeback, m.opts.WritebackMax = time.Millisecond, time.Second
	return m.crash()
}

func (m *mount) rowAt(path string) *catalog.Inode {
	m.t.Helper()
	ino, err := m.walk(path)
	if err != nil {
		m.t.Fatal(err)
	}
	var row *catalog.Inode
	err = m.cat.View(func(tx *catalog.Tx) (err error) {
		row, err = tx.Get(ino)
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return row
}

func TestAfterARebootTheStoresVersionStandsForWhatWasNotDurable(t *testing.T) {
	secure := func(m *mount) error { return m.secureBatch() }
	write := func(path, content string) func(*mount) error {
		return func(m *mount) error { return m.write(path, content) }
	}
	flush := func(m *mount) error { return m.Flush(ctx, nil) }
	mv := func(from, to string) func(*mount) error { return func(m *mount) error { return m.mv(from, to) } }
	for _, tc := range []struct {
		name  string
		steps []func(*mount) error
		want  map[string]string
		kept  map[string]string // by path
	}{
		{"never stored, not durable", []func(*mount) error{write("f", "1")}, map[string]string{}, map[string]string{"/f": "1"}},
		{"never stored, durable", []func(*mount) error{write("f", "1"), secure}, map[string]string{"f": "1"}, nil},
		{"empty and not durable", []func(*mount) error{write("f", "")}, map[string]string{}, nil},
		{"stored", []func(*mount) error{write("f", "1"), flush}, map[string]string{"f": "1"}, nil},
		{"changed, not durable", []func(*mount) error{write("f", "1"), flush, write("f", "22")}, map[string]string{"f": "1"}, map[string]string{"/f": "22"}},
		{"changed, durable", []func(*mount) error{write("f", "1"), flush, write("f", "22"), secure}, map[string]string{"f": "22"}, nil},
		{"durable, and changed again", []func(*mount) error{write("f", "1"), flush, write("f", "22"), secure, write("f", "333")},
			map[string]string{"f": "1"}, map[string]string{"/f": "333"}},
		{"emptied, not durable", []func(*mount) error{write("f", "1"), flush, write("f", "")}, map[string]string{"f": "1"}, nil},
		{"changed and renamed", []func(*mount) error{write("f", "1"), flush, write("f", "22"), mv("f", "g")},
			map[string]string{"g": "1"}, map[string]string{"/g": "22"}},
		{"changed, durable and renamed", []func(*mount) error{write("f", "1"), flush, write("f", "22"), secure, mv("f", "g")},
			map[string]string{"g": "22"}, nil},
		{"the last of a directory", []func(*mount) error{func(m *mount) error { return m.mkdir("d") }, write("d/f", "1")},
			map[string]string{"d/": ""}, map[string]string{"/d/f": "1"}},
		{"unlinked", []func(*mount) error{write("f", "1"), flush, write("f", "22"), secure, func(m *mount) error { return m.rm("f") }},
			map[string]string{}, nil},
		{"two files swapped", []func(*mount) error{write("a", "1"), write("b", "2"), flush, mv("a", "c"), mv("b", "a"), mv("c", "b")},
			map[string]string{"a": "2", "b": "1"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newCounted()
			m := openIdle(t, s)
			for i, step := range tc.steps {
				if err := step(m); err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
			}
			m = m.reboot(2)
			defer func() { m.close() }()
			if err := same(m.show(), tc.want); err != nil {
				t.Error(err)
			}
			m.flush()
			stored := objects(t, s.mem)
			if err := same(stored, tc.want); err != nil {
				t.Errorf("the store: %v", err)
			}
			st, err := m.Status()
			must(t, err)
			kept := map[string]string{}
			for _, c := range st.Conflicts {
				body, err := os.ReadFile(c.Kept)
				must(t, err)
				kept[c.Path] = string(body)
				note, err := os.ReadFile(c.Kept + ".txt")
				if err != nil || !strings.Contains(string(note), c.Path) || !strings.Contains(string(note), m.opts.StoreName) {
					t.Errorf("note: %v: %s", err, note)
				}
				must(t, os.Remove(c.Kept), os.Remove(c.Kept+".txt"))
			}
			if err := same(kept, tc.kept); err != nil {
				t.Errorf("kept aside: %v", err)
			}
			if st, err = m.Status(); err != nil || len(st.Conflicts) > 0 {
				t.Errorf("removed and still named: %+v, %v", st.Conflicts, err)
			}
			m = m.reboot(3) // all of it is in the store: nothing is taken
			if err := same(m.show(), tc.want); err != nil {
				t.Errorf("after another reboot: %v", err)
			}
		})
	}
}

func TestAKilledDaemonUnderTheSameKernelLosesNothing(t *testing.T) {
	s := newCounted()
	m := openIdle(t, s)
	must(t, m.write("f", "1"))
	m = m.reboot(1) // the same boot
	defer m.close()
	wantFile(t, m, "f", "1")
	m.flush()
	if err := same(objects(t, s.mem), map[string]string{"f": "1"}); err != nil {
		t.Error(err)
	}
}

func TestWhatIsLeftAtACleanEndSurvivesAReboot(t *testing.T) {
	s := newCounted()
	heal := s.faults.Add(faulty.Rule{Ops: []string{"put"}, Kind: provider.KindUnavailable})
	m := openIdle(t, s)
	must(t, m.write("f", "1"))
	h, err := m.open("open", syscall.O_CREAT|syscall.O_WRONLY)
	must(t, err)
	_, err = h.WriteAt(ctx, []byte("2"), 0)
	must(t, err)
	m.close()
	heal()
	o := m.opts
	o.BootID, o.Writeback = bootNumber(2), time.Millisecond
	m = m.again(o)
	defer m.close()
	m.flush()
	if err := same(objects(t, s.mem), map[string]string{"f": "1", "open": "2"}); err != nil {
		t.Error(err)
	}
}

// TestARequestWhoseFateIsNotKnownIsSettledAfterAReboot sends a version and loses the answer; then the file changes, and the
// system goes down.
func TestARequestWhoseFateIsNotKnownIsSettledAfterAReboot(t *testing.T) {
	for name, tc := range map[string]struct {
		effect faulty.Effect
		old    bool // something is stored before
		want   map[string]string
	}{
		"it came":                             {faulty.ApplyFail, false, map[string]string{"d/": "", "d/f": "first"}},
		"it did not":                          {faulty.Fail, false, map[string]string{"d/": ""}},
		"it came over an old one":             {faulty.ApplyFail, true, map[string]string{"d/": "", "d/f": "first"}},
		"it did not, and there is an old one": {faulty.Fail, true, map[string]string{"d/": "", "d/f": "old"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newCounted()
			m := openIdle(t, s)
			must(t, m.mkdir("d"))
			if tc.old {
				must(t, m.write("d/f", "old"), m.Flush(ctx, nil))
			}
			heal := s.faults.Add(faulty.Rule{Ops: []string{"put"}, Key: func(k string) bool { return k == "d/f" }, Effect: tc.effect, Kind: provider.KindUnavailable})
			must(t, m.write("d/f", "first"))
			if err := m.storeNow(ctx, m.rowAt("d/f").Ino); err == nil {
				t.Fatal("no error")
			}
			must(t, m.write("d/f", "second"))
			heal()
			m = m.reboot(2)
			defer m.close()
			if err := same(m.show(), tc.want); err != nil {
				t.Error(err)
			}
			m.flush()
			delete(tc.want, "d/")
			got := objects(t, s.mem)
			delete(got, "d/")
			if err := same(got, tc.want); err != nil {
				t.Errorf("the store: %v", err)
			}
		})
	}
}

func TestEveryChangeTakesSyncedAwayAndOnlyTheFirstWaitsForIt(t *testing.T) {
	size := int64(3)
	for name, change := range map[string]func(*mount, Handle) error{
		"write":    func(_ *mount, h Handle) error { _, err := h.WriteAt(ctx, []byte("x"), 0); return err },
		"allocate": func(_ *mount, h Handle) error { return h.Allocate(ctx, 0, 100, 0) },
		"truncate by name": func(m *mount, _ Handle) error {
			_, err := m.SetAttr(ctx, m.rowAt("f").Ino, SetAttr{Size: &size})
			return err
		},
		"O_TRUNC": func(m *mount, _ Handle) error {
			h, err := m.open("f", syscall.O_WRONLY|syscall.O_TRUNC)
			if err == nil {
				h.Release()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := openIdle(t, newCounted())
			defer m.close()
			must(t, m.write("f", "12345"), m.secureBatch())
			if !m.rowAt("f").Synced {
				t.Fatal("a closed file is not durable after the batch")
			}
			h, err := m.open("f", syscall.O_RDWR)
			must(t, err)
			defer h.Release()
			before := m.cat.Syncs()
			must(t, change(m, h))
			if m.rowAt("f").Synced || m.cat.Syncs() != before+1 {
				t.Errorf("synced %v, %d fsyncs of the catalog; want false, durably", m.rowAt("f").Synced, m.cat.Syncs()-before)
			}
			before = m.cat.Syncs()
			_, err = h.WriteAt(ctx, []byte("y"), 1)
			must(t, err)
			if n := m.cat.Syncs() - before; n != 0 {
				t.Errorf("the second change waited for %d fsyncs", n)
			}
			must(t, m.secureBatch())
			if m.rowAt("f").Synced {
				t.Error("a file that is open for writing is called durable")
			}
		})
	}
}

// TestAFileThatWasStoredIsWrittenToAgainWhileItIsOpenForReading is the one that keeps its staged file: the catalog that is
// durable may still call it synced.
func TestAFileThatWasStoredIsWrittenToAgainWhileItIsOpenForReading(t *testing.T) {
	m := openIdle(t, newCounted())
	must(t, m.write("f", "12345"))
	reader, err := m.open("f", syscall.O_RDONLY)
	must(t, err)
	_, err = readHandle(reader)
	must(t, err, m.Flush(ctx, nil))
	before := m.cat.Syncs()
	must(t, m.write("f", "x"))
	if m.rowAt("f").Synced || m.cat.Syncs() == before {
		t.Errorf("synced %v, %d fsyncs", m.rowAt("f").Synced, m.cat.Syncs()-before)
	}
	reader.Release()
	m = m.reboot(2)
	defer m.close()
	wantFile(t, m, "f", "12345")
}

func TestClosedFilesBecomeDurableByThemselves(t *testing.T) {
	m := openTree(t, newCounted(), Options{Writeback: time.Hour, WritebackMax: time.Hour, secureAfter: 10 * time.Millisecond})
	defer m.close()
	must(t, m.write("f", "1"), m.mkdir("d"), m.write("d/g", "2"))
	waitFor(t, func() bool { return m.rowAt("f").Synced && m.rowAt("d/g").Synced })
	size := int64(10)
	_, err := m.SetAttr(ctx, m.rowAt("f").Ino, SetAttr{Size: &size})
	must(t, err)
	waitFor(t, func() bool { return m.rowAt("f").Synced })
	if secureAfter >= 5*time.Second {
		t.Errorf("%v is promised to be less than 5 s", secureAfter)
	}
}

func TestADurableFileThatIsUnlinkedGoesAfterItsRow(t *testing.T) {
	m := openIdle(t, newCounted())
	defer m.close()
	must(t, m.write("f", "1"), m.secureBatch())
	row := m.rowAt("f")
	must(t, m.rm("f"))
	m.Forget(row.Ino)
	before := m.cat.Syncs()
	ids, err := m.stage.IDs()
	must(t, err)
	if len(ids) != 1 {
		t.Errorf("%d staged files, and the unlink is not durable", len(ids))
	}
	must(t, m.secureBatch())
	if ids, err = m.stage.IDs(); err != nil || len(ids) != 0 || m.cat.Syncs() == before {
		t.Errorf("%v, %v, %d fsyncs", ids, err, m.cat.Syncs()-before)
	}
}

func TestSecureMakesAnOpenFileDurableWhenAsked(t *testing.T) {
	m := openIdle(t, newCounted())
	defer m.close()
	h, err := m.open("f", syscall.O_CREAT|syscall.O_RDWR)
	must(t, err)
	defer h.Release()
	_, err = h.WriteAt(ctx, []byte("1"), 0)
	must(t, err, m.secure(h.Ino(), false))
	if m.rowAt("f").Synced {
		t.Error("an open file is called durable, and nobody asked for that")
	}
	must(t, m.secure(h.Ino(), true))
	if row := m.rowAt("f"); !row.Synced || row.Size != 1 {
		t.Errorf("%+v", row)
	}
	_, err = h.WriteAt(ctx, []byte("2"), 0)
	must(t, err)
	if m.rowAt("f").Synced {
		t.Error("still called durable after a write")
	}
}

// TestAnObjectThatWasToBeReplacedIsNotTakenForTheFile is a file of which nothing is left but the intent to replace another
// one's object, which is still there.
func TestAnObjectThatWasToBeReplacedIsNotTakenForTheFile(t *testing.T) {
	s := newCounted()
	m := openIdle(t, s)
	must(t, m.write("f", "old"), m.Flush(ctx, nil), m.mv("f", "g"))
	heal := s.faults.Add(faulty.Rule{Ops: []string{"delete"}, Kind: provider.KindUnavailable})
	must(t, m.storeNow(ctx, m.rowAt("g").Ino), m.write("f", "new"))
	healPut := s.faults.Add(faulty.Rule{Ops: []string{"put"}, Kind: provider.KindUnavailable})
	if err := m.storeNow(ctx, m.rowAt("f").Ino); err == nil {
		t.Fatal("no error")
	}
	must(t, m.write("f", "newer"))
	heal()
	healPut()
	m = m.reboot(2)
	defer m.close()
	want := map[string]string{"g": "old"}
	if err := same(m.show(), want); err != nil {
		t.Error(err)
	}
	m.flush()
	if err := same(objects(t, s.mem), want); err != nil {
		t.Errorf("the store: %v", err)
	}
}

// TestSecureEndsWhileSomebodyWrites asks for it again and again under a writer that never stops.
func TestSecureEndsWhileSomebodyWrites(t *testing.T) {
	m := openIdle(t, newCounted())
	defer m.close()
	h, err := m.open("f", syscall.O_CREAT|syscall.O_RDWR)
	must(t, err)
	defer h.Release()
	_, err = h.WriteAt(ctx, []byte("12345"), 0)
	must(t, err)
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := int64(0); ; n++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if _, err := h.WriteAt(ctx, []byte("12345"), n%1000); err != nil {
				stopped <- err
				return
			}
		}
	}()
	for range 100 {
		must(t, m.secure(h.Ino(), true))
	}
	close(stop)
	must(t, <-stopped, m.secure(h.Ino(), true))
	if row := m.rowAt("f"); !row.Synced || row.Size < 5 {
		t.Errorf("%+v", row)
	}
}

func TestWithCommitSyncErrorsSayThatItWasDone(t *testing.T) {
	s := newCounted()
	m := openTree(t, s, Options{Writeback: time.Hour, CommitSync: true})
	defer m.close()
	heal := s.faults.Add(faulty.Rule{Ops: []string{"put"}, Kind: provider.KindDenied})
	err := m.mkdir("d")
	var done *NotStored
	if !errors.As(err, &done) || !provider.Is(err, provider.KindDenied) {
		t.Errorf("%v", err)
	}
	if _, err := m.walk("d"); err != nil {
		t.Error(err)
	}
	heal()
	must(t, m.write("d/f", "1"))
	if err := same(objects(t, s.mem), map[string]string{"d/": "", "d/f": "1"}); err != nil {
		if err := same(objects(t, s.mem), map[string]string{"d/f": "1"}); err != nil {
			t.Error(err)
		}
	}
}

package test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"sharefs/test/harness"
)

// stored reports what the store has of a file; empty: nothing.
func (p *place) stored(t *testing.T, name string) string {
	t.Helper()
	if p.m.Store.Kind == harness.File {
		b, err := os.ReadFile(filepath.Join(p.m.Store.Dir, p.dir, name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(b)
	}
	if !slices.Contains(keysBelow(t, p), name) {
		return ""
	}
	return string(p.m.Store.Object(t, p.dir+"/"+name).Body)
}

var spaceSection = map[string]statement{
	"S1": {see: []string{"test.TestDfIsExact", "fusefs/catalog.TestALiveFileIsCountedAtItsLength"}},
	"S2": {do: func(t *testing.T, p *place) {
		if p.m.Store.Kind != harness.File {
			return
		}
		var disk unix.Statfs_t
		if err := unix.Statfs(p.m.Store.Dir, &disk); err != nil {
			t.Fatal(err)
		}
		all := int64(disk.Blocks) * disk.Frsize
		fails(t, "a file of the size of the whole disk", p.open(t, "f", 0).Truncate(all), unix.ENOSPC)
	}, see: []string{"test.TestAWriteBeyondCapacityFails", "test.TestAServerThatReservesSpaceStopsInTime"}},
	"S3": {do: func(t *testing.T, p *place) {
		f := p.open(t, "f", 0)
		before := p.m.Status()
		if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, 1<<20); err != nil {
			t.Fatal(err)
		}
		allocated := p.m.Status()
		if allocated.Space.Used != before.Space.Used || allocated.Stage.Size-before.Stage.Size < 1<<20 {
			t.Errorf("after fallocate %+v and %+v, before %+v and %+v", allocated.Space, allocated.Stage, before.Space, before.Stage)
		}
		if err := f.Truncate(3 << 20); err != nil {
			t.Fatal(err)
		}
		if now := p.m.Status(); now.Space.Used-before.Space.Used != 3<<20 {
			t.Errorf("a hole of 3 MiB counts %d bytes", now.Space.Used-before.Space.Used)
		}
	}},
	"S4": {do: func(t *testing.T, p *place) {
		before := statfs(t, p)
		p.write(t, "f", "")
		if now := statfs(t, p); now.Files != 1<<40 || before.Ffree-now.Ffree != 1 {
			t.Errorf("%d inodes, of which %d are free, before %d", now.Files, now.Ffree, before.Ffree)
		}
	}},
	"S5": {do: func(t *testing.T, p *place) {
		f := p.open(t, "f", 0)
		if _, err := f.Write(make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
		before := p.m.Status()
		if err := os.Remove(p.path("f")); err != nil {
			t.Fatal(err)
		}
		now := p.m.Status()
		if before.Space.Used-now.Space.Used != 100_000 || now.Stage.Size < before.Stage.Size {
			t.Errorf("after the unlink %+v and %+v, before %+v and %+v", now.Space, now.Stage, before.Space, before.Stage)
		}
	}},
}

func statfs(t *testing.T, p *place) unix.Statfs_t {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(p.m.Dir, &st); err != nil {
		t.Fatal(err)
	}
	return st
}

var safetySection = map[string]statement{
	"D1": {see: []string{"test.TestSoakNothingIsLostWhenTheDaemonIsKilled", "test.TestSoakTheOrderOfNamesSurvivesAKillAtEveryStep", "test.TestWhatCpHasCopiedSurvivesAKilledDaemon"}},
	"D2": {do: func(t *testing.T, p *place) {
		f := p.open(t, "f", 0)
		for _, content := range []string{"fsync", "fdata"} {
			if _, err := f.WriteAt([]byte(content), 0); err != nil {
				t.Fatal(err)
			}
			sync := f.Sync
			if content == "fdata" {
				sync = func() error { return unix.Fdatasync(int(f.Fd())) }
			}
			if err := sync(); err != nil {
				t.Fatal(err)
			}
			if got := p.stored(t, "f"); got != content {
				t.Errorf("the store has %q, want %q", got, content)
			}
		}
		for name, flag := range map[string]int{"o_sync": unix.O_SYNC, "o_dsync": unix.O_DSYNC} {
			if _, err := p.open(t, name, flag).WriteString(name); err != nil || p.stored(t, name) != name {
				t.Errorf("after the write the store has %q, %v; want %q", p.stored(t, name), err, name)
			}
		}
		mapped, err := unix.Mmap(int(f.Fd()), 0, 5, unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		copy(mapped, "msync")
		if err := unix.Msync(mapped, unix.MS_SYNC); err != nil || p.stored(t, "f") != "msync" {
			t.Errorf("after msync the store has %q, %v", p.stored(t, "f"), err)
		}
		if err := unix.Munmap(mapped); err != nil {
			t.Error(err)
		}
	}, see: []string{"test.TestWhatFsyncConfirmedSurvivesTheLossOfTheCache", "fusefs/tree.TestFsyncReturnsTheErrorOfTheStore"}},
	"D3": {do: func(t *testing.T, p *place) {
		harness.Script(t, p.path(""), "mkdir d; echo in >d/f; echo beside >g")
		syncPath(t, p.path("d"))
		if p.stored(t, "d/f") != "in\n" || p.stored(t, "g") != "" {
			t.Errorf("after fsync of d the store has %q and %q", p.stored(t, "d/f"), p.stored(t, "g"))
		}
		syncPath(t, p.m.Dir)
		if p.stored(t, "g") != "beside\n" || p.m.Status().Pending.Files != 0 {
			t.Errorf("after fsync of the root the store has %q", p.stored(t, "g"))
		}
	}},
	"D4": {do: func(t *testing.T, p *place) {
		p.write(t, "f", "content")
		f := p.open(t, "f", 0)
		if err := unix.Syncfs(int(f.Fd())); err != nil {
			t.Error(err)
		}
		unix.Sync()
		if got := p.stored(t, "f"); got != "" {
			t.Errorf("the store has %q: tell the users", got)
		}
	}},
	"D5": {see: []string{"test.TestABurstOfUpdatesIsOnePut", "fusefs/tree.TestAFileHeldOpenForWritingIsNotStored", "fusefs/tree.TestFsyncStoresAFileThatIsOpen"}},
	"D6": {see: []string{"test.TestWithCommitSyncTheStoreHasItWhenTheCallReturns", "test.TestWithCommitSyncTheErrorOfStoringIsTheCalls"}},
	"D7": {see: []string{"test.TestSoakNothingIsLostWhenTheDaemonIsKilled", "fusefs/tree.TestAWriteDuringAnUploadNeverTearsTheObject"}},
	"D8": {see: []string{"test.TestSoakPowerFails", "test.TestSoakPowerFailsAtEveryStep", "fusefs/tree.TestAfterARebootTheStoresVersionStandsForWhatWasNotDurable"}},
	"D9": {do: func(t *testing.T, p *place) { p.write(t, "f", "content") }, later: func(t *testing.T, p *place) {
		if got := p.stored(t, "f"); got != "content" {
			t.Errorf("the store has %q", got)
		}
	}, see: []string{"fusefs.TestPlainUmountEndsServing"}},
	"D10": {see: []string{"test.TestAStoreThatRefusesLosesNothing"}},
	"D11": {see: []string{"test.TestScratchFilesStayOnThisDisk", "test.TestStateFilesAreLazy"}},
	"D12": {see: []string{"test.TestSoakWorkGoesOnWhileTheStoreIsAway", "test.TestNothingHangsLongerThanTheTimeout", "test.TestAProcessThatWaitsForTheStoreCanBeKilled"}},
	"D13": {see: []string{"test.TestSoakASmallDiskTakesAllOrSaysItIsFull", "fusefs/tree.TestAStageThatStaysFullSaysSoAndKeepsWhatItHas"}},
}

func syncPath(t *testing.T, path string) {
	t.Helper()
	d, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		t.Error(err)
	}
}

var storeSection = map[string]statement{
	"O1": {do: func(t *testing.T, p *place) {
		harness.Script(t, p.path(""), "mkdir empty full; echo content >full/f")
	}, later: func(t *testing.T, p *place) {
		if got := p.stored(t, "full/f"); got != "content\n" {
			t.Errorf("the store has %q", got)
		}
		if tree := p.m.Store.Tree(t); tree[p.dir+"/empty"].Type != harness.Directory {
			t.Errorf("of the empty directory the store has %+v", tree[p.dir+"/empty"])
		}
	}, see: []string{"test.TestFilesAreNamedAsObjectsAndCarryTheirAttributes"}},
	"O2": {see: []string{"fusefs/tree.TestReconcileSeesWhatChangedWhileNothingWasMounted", "test.TestWhatAnotherProgramChangedIsSeenAfterReconcile", "fusefs/tree.TestAForeignChangeIsSeenByTheNextOpen", "test.TestALargeFileWhoseObjectWasChangedBehindIsNotMixed"}},
	"M1": {see: []string{"test.TestAStoreIsEitherSharedOrClaimed", "test.TestAStoreThatChecksNoVersionsIsNotShared", "fusefs/tree.TestAStoreIsSharedOrClaimed"}},
	"M2": {see: []string{"test.TestSoakSharedMountsLoseNoLine", "test.TestWithCommitSyncTheStoreHasItWhenTheCallReturns"}},
	"M3": {see: []string{"test.TestWhoIsSecondOnASharedMountGetsESTALE", "fusefs/tree.TestWhoIsSecondInASharedStoreGetsESTALEAndKeepsHisData", "fusefs/tree.TestTwoSharedMountsLoseNoLine"}},
	"M4": {see: []string{"fusefs/tree.TestWhoIsSecondInASharedStoreGetsESTALEAndKeepsHisData"}},
	"M5": {see: []string{"test.TestSharedMountsSeeEachOther", "fusefs/tree.TestASharedStoreShowsWhatOthersDo"}},
	"M6": {see: []string{"fusefs/tree.TestASharedStoreCopiesNothing", "fusefs/tree.TestWhoIsSecondInASharedStoreGetsESTALEAndKeepsHisData"}},
	"O3": {see: []string{"fusefs/tree.TestForeignKeysThatAreNoPathsAreHidden"}},
	"O4": {see: []string{"fusefs/tree.TestReadOnlyRefusesChanges", "fusefs.TestReadOnlyMountRefusesChanges"}},
}

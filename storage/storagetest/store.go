package storagetest

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"sharefs/storage"
	"sharefs/storage/container"
)

var storeTests = map[string]func(b *bed){
	"TheDiskTellsItsRoom":                    diskRoom,
	"ReservedSpaceIsNotAllocated":            reservedSpace,
	"AReadOnlyStoreTakesNoUploads":           readOnly,
	"FilesWithoutANumberAreNoShares":         otherFiles,
	"AnAdvisoryIsAFileOfItsOwn":              advisory,
	"ADamagedShareIsAnErrorThatNamesTheFile": damagedShare,
}

func diskRoom(b *bed) {
	space, err := b.store.Space()
	b.check(err)
	if space.Available <= 0 || space.Available > space.Free || space.Free > space.Total {
		b.Errorf("the room on the disk: %+v", space)
	}
}

// roomFS is a file system with a room that others do not change meanwhile.
type roomFS struct {
	storage.FS
	room int64
}

func (r roomFS) Space(string) (storage.Space, error) {
	return storage.Space{Total: r.room, Free: r.room, Available: r.room}, nil
}

// room gives the store as much room as a test wants.
func (b *bed) room(bytes int64) {
	b.Helper()
	b.o.FS = roomFS{b.FS, bytes}
	b.open()
}

func reservedSpace(b *bed) {
	b.o.ReservedSpace = 900_000
	b.room(1_000_000)
	i, free := Index(1), b.store.AvailableSpace()
	if free != 100_000 {
		b.Fatalf("%d bytes are available, of 1000000 with 900000 reserved", free)
	}
	got, err := b.store.Allocate(i, storage.Allocation{Shares: []int{0, 1}, Size: free * 2 / 3, Lease: Lease(0)})
	b.check(err)
	if len(got.Uploads) != 1 || got.Uploads[0] == nil {
		b.Fatalf("%v are allocated where there is space for one", got.Uploads)
	}
	if got := b.allocate(Index(2), int(free/2), 0); len(got.Uploads) != 0 {
		b.Errorf("the space of an upload is allocated again: %v", got)
	}
	if got := b.store.Stats(); got.Uploads != 1 || got.Allocated != free*2/3 {
		b.Errorf("the store says %+v", got)
	}
	b.check(got.Uploads[0].Abort())
	if got := b.allocate(Index(2), int(free/2), 0); len(got.Uploads) != 1 {
		b.Errorf("the space of an aborted upload is not free: %v", got)
	}
}

func readOnly(b *bed) {
	b.put(Index(1), 0, body(1, 100))
	b.o.ReadOnly = true
	b.open()
	if got := b.allocate(Index(1), 100, 0, 1); len(got.Uploads) != 0 || len(got.Have) != 1 {
		b.Errorf("a read-only store allocates %v, has %v", got.Uploads, got.Have)
	}
	if limits := b.store.Limits(); limits.Available != 0 || limits.MaxImmutable != 0 || limits.MaxMutable != container.MaxMutableSize {
		b.Errorf("a read-only store says %+v", limits)
	}
	b.update(Index(2), write(0, storage.Write{Data: []byte("slots are taken")}))
	b.holds(Index(2), 0, []byte("slots are taken"))
}

// write writes a file beside the store's back.
func (b *bed) write(path string, contents []byte) {
	b.Helper()
	f, err := b.FS.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
	b.check(err)
	_, err = f.WriteAt(contents, 0)
	b.check(errors.Join(err, f.Close()))
}

func otherFiles(b *bed) {
	i := Index(1)
	b.put(i, 10, body(1, 100))
	b.put(i, 9, body(1, 100))
	for _, name := range []string{"9.tmp", "x", "-1", "+3", "07", ".hidden"} {
		b.write(filepath.Join(filepath.Dir(b.file(i, 0)), name), []byte("no share"))
	}
	b.shares(i, 9, 10)
	b.check(b.store.AddLease(i, Lease(1)))
}

func advisory(b *bed) {
	i := Index(1)
	if err := b.store.AdviseCorrupt(container.Immutable, i, 0, "bad"); !errors.Is(err, fs.ErrNotExist) {
		b.Errorf("an advisory on no share: %v", err)
	}
	b.put(i, 0, body(1, 100))
	b.check(b.store.AdviseCorrupt(container.Immutable, i, 0, "bad hash"))
	files := b.tree("corruption-advisories")
	want := "corruption-advisories/2027-01-15T080000--" + i.String() + "-0"
	if len(files) != 1 || files[0] != want {
		b.Fatalf("advisories: %q, want %q", files, want)
	}
	got, err := readFile(b.FS, filepath.Join(b.Dir, files[0]))
	b.check(err)
	report := "report: Share Corruption\ntype: immutable\nstorage_index: " + i.String() + "\nshare_number: 0\n\nbad hash\n\n"
	if string(got) != report {
		b.Errorf("the advisory is %q, want %q", got, report)
	}
}

func readFile(fsys storage.FS, path string) ([]byte, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, fi.Size())
	_, err = f.ReadAt(b, 0)
	return b, err
}

func damagedShare(b *bed) {
	i := Index(1)
	b.put(i, 0, body(1, 100))
	path := b.file(i, 0)
	whole, err := readFile(b.FS, path)
	b.check(err)
	for name, contents := range map[string][]byte{
		"empty": {}, "short": whole[:11], "of version 3": append([]byte{0, 0, 0, 3}, whole[4:]...),
		"with too many leases": append(bytes.Clone(whole[:8]), append([]byte{1, 0, 0, 0}, whole[12:]...)...),
	} {
		b.write(path, contents)
		_, err := b.store.OpenShare(i, 0)
		if wrong := new(container.Error); !errors.As(err, &wrong) || wrong.Name != path {
			b.Errorf("a share that is %s: %v", name, err)
		}
		if err := b.store.AddLease(i, Lease(1)); err == nil {
			b.Errorf("a share that is %s takes a lease", name)
		}
		if now, err := readFile(b.FS, path); err != nil && len(contents) > 0 || !bytes.Equal(now, contents) {
			b.Errorf("a share that is %s was changed: %v", name, err)
		}
	}
}

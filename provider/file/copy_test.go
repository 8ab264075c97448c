package file_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"

	"sharefs/provider"
)

func TestMoveOfADirectoryTakesEverythingAlong(t *testing.T) {
	f := newFixture(t)
	f.put("a/x", "x", given)
	f.put("a/b/y", "y", nil)
	f.put("a/link", "b/y", provider.Metadata{provider.MetaMode: "41471", "note": "link"})
	f.put("full/z", "z", nil)
	f.put("file", "x", nil)
	_, err := f.store.Move(t.Context(), "a/", "full/")
	f.wantKind(err, provider.KindNotEmpty)
	_, err = f.store.Move(t.Context(), "a/", "file/")
	f.wantKind(err, provider.KindConflict)
	_, err = f.store.Move(t.Context(), "a/", "a/b/c/")
	f.wantKind(err, provider.KindInvalid)
	_, err = f.store.Move(t.Context(), "a/", "plain")
	f.wantKind(err, provider.KindInvalid)
	_, err = f.store.Move(t.Context(), "file", "full")
	f.wantKind(err, provider.KindConflict)
	o, err := f.store.Move(t.Context(), "a/", "new/a/")
	f.do(err)
	if o.Key != "new/a/" || !o.IsDir() {
		t.Errorf("%+v", o)
	}
	f.wantListed("new/", "new/", "new/a/", "new/a/b/", "new/a/b/y", "new/a/link", "new/a/x")
	if f.stat("new/a/link").Metadata["note"] != "link" || f.stat("new/a/x").Metadata["note"] != "kept" {
		t.Error("metadata is lost")
	}
	_, err = f.store.Stat(t.Context(), "a/")
	f.wantKind(err, provider.KindNotFound)
}

func TestMoveOntoAnotherNameOfTheSameFile(t *testing.T) {
	f := newFixture(t)
	f.put("a", "x", nil)
	f.do(os.Link(f.path("a"), f.path("b")))
	_, err := f.store.Move(t.Context(), "a", "b")
	f.do(err)
	f.wantListed("", "b")
}

func TestCopyKeepsHoles(t *testing.T) {
	f := newFixture(t)
	file, err := os.Create(f.path("sparse"))
	f.do(err)
	for _, at := range []int64{1 << 20, 9 << 20} {
		_, err = file.WriteAt([]byte("data"), at)
		f.do(err)
	}
	f.do(errors.Join(file.Truncate(20<<20), file.Close()))
	_, err = f.store.Copy(t.Context(), "sparse", "copy", provider.CopyOptions{})
	f.do(err)
	want, err := os.ReadFile(f.path("sparse"))
	f.do(err)
	got, err := os.ReadFile(f.path("copy"))
	f.do(err)
	if !bytes.Equal(got, want) {
		t.Error("the copy differs")
	}
	info, err := os.Stat(f.path("copy"))
	f.do(err)
	if taken := info.Sys().(*syscall.Stat_t).Blocks * 512; taken > 1<<20 {
		t.Errorf("the copy of a file with 8 bytes of data takes %d", taken)
	}
}

func TestMetadataIsChangedInPlace(t *testing.T) {
	f := newFixture(t)
	f.put("k", "x", given)
	before, err := os.Stat(f.path("k"))
	f.do(err)
	_, err = f.store.Copy(t.Context(), "k", "k", provider.CopyOptions{Metadata: provider.Metadata{provider.MetaMode: "33152"}})
	f.do(err)
	after, err := os.Stat(f.path("k"))
	f.do(err)
	if !os.SameFile(before, after) || after.Mode() != 0o600 {
		t.Errorf("mode %v, the same file: %v", after.Mode(), os.SameFile(before, after))
	}
}

func TestAReaderOfAFileThatIsCutFails(t *testing.T) {
	f := newFixture(t)
	f.put("k", string(make([]byte, 100_000)), nil)
	r, _, err := f.store.Open(t.Context(), "k", provider.OpenOptions{})
	f.do(err)
	_, err = io.ReadFull(r, make([]byte, 10))
	f.do(err)
	f.do(os.Truncate(f.path("k"), 50))
	_, err = io.ReadAll(r)
	f.wantKind(err, provider.KindUnavailable)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want io.ErrUnexpectedEOF", err)
	}
	f.do(r.Close())
}

func TestWhatAnOrdinaryUserMayNot(t *testing.T) {
	asOrdinaryUser(t, func(t *testing.T) {
		f := newFixture(t)
		// An owner that cannot be set, and a mode that locks us out, come back; the bytes stay readable.
		md := provider.Metadata{provider.MetaMode: "32768", provider.MetaUID: "0", provider.MetaGID: "0", "note": "x"}
		f.put("k", "bytes", md)
		if got := f.stat("k").Metadata; got[provider.MetaUID] != "0" || got[provider.MetaMode] != "32768" {
			t.Errorf("metadata %v", got)
		}
		if f.get("k") != "bytes" {
			t.Error("the object cannot be read")
		}
		f.put("d/", "", provider.Metadata{provider.MetaMode: "16384"})
		f.put("d/x", "x", nil)

		// Files and directories of others that may not be read.
		f.write("locked/x", "x")
		f.write("unreadable", "x")
		f.do(os.Chmod(f.path("unreadable"), 0))
		if got := provider.ParseAttrs(f.stat("unreadable").Metadata); got.Mode != provider.ModeFile {
			t.Errorf("mode %o", got.Mode)
		}
		_, _, err := f.store.Open(t.Context(), "unreadable", provider.OpenOptions{})
		f.wantKind(err, provider.KindDenied)
		f.wantListed("", "d/", "d/x", "k", "locked/", "locked/x", "unreadable")
		f.do(os.Chmod(f.path("locked"), 0))
		defer func() { _ = os.Chmod(f.path("locked"), 0o755) }()
		_, err = f.store.List(t.Context(), provider.ListOptions{Flat: true})
		f.wantKind(err, provider.KindDenied)
		_, err = f.store.List(t.Context(), provider.ListOptions{Prefix: "locked/"})
		f.wantKind(err, provider.KindDenied)
		_, err = f.tryPut("locked/new", "x", nil)
		f.wantKind(err, provider.KindDenied)
		_, err = f.store.Stat(t.Context(), "locked/x")
		f.wantKind(err, provider.KindDenied)
		f.wantKind(f.store.Delete(t.Context(), provider.DeleteOptions{}, "locked/x"), provider.KindDenied)
	})
}

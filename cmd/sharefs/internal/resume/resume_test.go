package resume

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func open(t *testing.T, dir string) *State {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// killed lets go of the lock and writes nothing.
func (s *State) killed(t *testing.T) {
	t.Helper()
	if err := s.lock.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWhatAKilledCopyHasNotedIsKnown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := open(t, dir)
	name := s.Name()
	err := errors.Join(s.Try("first"), s.Held("first"), s.Try("second"), s.Began("key"), s.Began("other key"), s.Began("other key"))
	if err != nil {
		t.Fatal(err)
	}
	s.Gone("key")
	s.Gone("other key")
	if got := s.Uploads(); !slices.Equal(got, []string{"other key"}) {
		t.Errorf("%v", got)
	}
	s.killed(t)
	s = open(t, dir)
	last, tried := s.Tokens()
	if last != "first" || !slices.Equal(tried, []string{"second"}) || s.Name() != name || !slices.Contains(s.Uploads(), "other key") {
		t.Errorf("%q, %q, %v", last, tried, s.Uploads())
	}
	s.Gone("key")
	s.Gone("key")
	s.Forget("other key")
	if err := errors.Join(s.Held("second"), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	if last, tried := s.Tokens(); last != "second" || len(tried)+len(s.Uploads()) != 0 {
		t.Errorf("%q, %q, %v", last, tried, s.Uploads())
	}
}

func TestOneAtATime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := Open(dir); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAFileThatMakesNoSenseIsNamed(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "state.json cannot be read") {
		t.Error(err)
	}
}

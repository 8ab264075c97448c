package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// AdviseCorrupt keeps what a client says of a share that is not what it should be, in a file of its own below
// corruption-advisories. It is for the operator: nothing else happens. fs.ErrNotExist: there is no such share. ErrNoSpace: the
// disk has no room for it.
func (s *Store) AdviseCorrupt(kind Kind, index Index, number int, reason string) error {
	name := shareName{index, number}
	if _, err := s.fs.Stat(s.sharePath(name)); err != nil {
		return err
	}
	s.log.Error("a client says that a share is corrupt", "kind", kind.String(), "share", name.String(), "reason", reason)
	report := fmt.Appendf(nil, "report: Share Corruption\ntype: %v\nstorage_index: %v\nshare_number: %d\n\n%s\n\n", kind, index, number, reason)
	if int64(len(report)) > s.AvailableSpace() {
		return fmt.Errorf("a report on share %v: %w", name, ErrNoSpace)
	}
	path := filepath.Join(s.advisoriesDir(), fmt.Sprintf("%s--%v-%d", advisoryTime(s.now()), index, number))
	f, err := s.fs.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(report, 0)
	return errors.Join(err, f.Close())
}

// advisoryTime is a time as Tahoe-LAFS has it in the names of advisories: microseconds only if there are any.
func advisoryTime(t time.Time) string {
	text := t.UTC().Format("2006-01-02T150405")
	if micros := t.Nanosecond() / 1000; micros > 0 {
		text += fmt.Sprintf(".%06d", micros)
	}
	return text
}

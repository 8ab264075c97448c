package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Advisory is what a client once said of a share that is not what it should be.
type Advisory struct {
	Time   time.Time `json:"time"`
	Index  string    `json:"storage_index"`
	Number int       `json:"share_number"`
	Reason string    `json:"reason"` // the first part of it
}

// maxReason is how much of a reason an Advisory has, in bytes.
const maxReason = 1000

// Advisories returns the last advisories, newest first, at most so many. Files that are none are left out.
func (s *Store) Advisories(most int) ([]Advisory, error) {
	entries, err := s.fs.ReadDir(s.advisoriesDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	found := []Advisory{}
	for i := len(entries) - 1; i >= 0 && len(found) < most; i-- { // their names begin with the time
		a, ok := parseAdvisory(entries[i].Name())
		if !ok {
			continue
		}
		if a.Reason, err = s.advisedReason(entries[i].Name()); err != nil {
			return nil, err
		}
		found = append(found, a)
	}
	return found, nil
}

// parseAdvisory reads the name of an advisory: TIME--INDEX-NUMBER.
func parseAdvisory(name string) (Advisory, bool) {
	when, share, ok := strings.Cut(name, "--")
	index, number, ok2 := strings.Cut(share, "-")
	t, err := time.Parse("2006-01-02T150405.999999", when)
	n, err2 := strconv.Atoi(number)
	if !ok || !ok2 || err != nil || err2 != nil {
		return Advisory{}, false
	}
	return Advisory{Time: t, Index: index, Number: n}, true
}

// advisedReason reads what stands after the four lines that each advisory begins with.
func (s *Store) advisedReason(name string) (string, error) {
	f, err := s.fs.OpenFile(filepath.Join(s.advisoriesDir(), name), os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	text := make([]byte, maxReason+200)
	n, err := f.ReadAt(text, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("reading an advisory: %w", err)
	}
	_, reason, _ := strings.Cut(string(text[:n]), "\n\n")
	return strings.ToValidUTF8(strings.TrimSpace(reason[:min(len(reason), maxReason)]), "?"), nil
}

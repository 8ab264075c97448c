package crawl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"sharefs/storage"
)

// stateFile is a file of JSON, replaced as a whole.
type stateFile struct {
	fs     storage.FS
	path   string
	pickle string // where Tahoe-LAFS before 1.17 had it, in another format
}

func newStateFile(s *storage.Store, name string) stateFile {
	path := filepath.Join(s.Dir(), name)
	return stateFile{fs: s.FS(), path: path + ".json", pickle: path}
}

// checkFormat refuses a directory that was last used by a Tahoe-LAFS before 1.17.
func (f stateFile) checkFormat() error {
	if _, err := f.fs.Stat(f.pickle); err == nil {
		return fmt.Errorf("%s is of a Tahoe-LAFS before 1.17: convert it by \"tahoe admin migrate-crawler\", or remove it and lose what it tells", f.pickle)
	}
	return nil
}

// read decodes the file. That there is none is no error.
func (f stateFile) read(into any) error {
	h, err := f.fs.OpenFile(f.path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	fi, err := h.Stat()
	if err == nil {
		err = json.NewDecoder(io.NewSectionReader(h, 0, fi.Size())).Decode(into)
	}
	return errors.Join(err, h.Close())
}

func (f stateFile) write(state any) error {
	b, err := json.Marshal(state)
	if err != nil {
		return err
	}
	temp := f.path + ".tmp"
	h, err := f.fs.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	_, err = h.WriteAt(b, 0)
	if err := errors.Join(err, h.Close()); err != nil {
		return err
	}
	return f.fs.Rename(temp, f.path)
}

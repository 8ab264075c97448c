package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// orders are what the writer process is told, on its standard input.
type orders struct {
	Dir      string // the mount
	Manifest string // a file outside of it
	Start    model  // what is in the mount
	Seed     uint64
	First    int // number of the first step
	Steps    int // how many to make; 0: until the mount is gone
}

// line is one of the manifest's. A step that has Began and not Done was cut off.
type line struct {
	Began *step `json:",omitempty"`
	Done  *int  `json:",omitempty"`
	Error string
}

// write makes steps until the mount is gone. It writes down each before and after it was made, and then prints a byte.
func write([]string) error {
	var o orders
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return fmt.Errorf("writer: %w", err)
	}
	manifest, err := os.OpenFile(o.Manifest, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("writer: %w", err)
	}
	defer manifest.Close()
	log := json.NewEncoder(manifest)
	r := rand.New(rand.NewPCG(o.Seed, uint64(o.First)))
	if o.Start == nil {
		o.Start = model{}
	}
	for n := o.First; o.Steps == 0 || n < o.First+o.Steps; n++ {
		s := o.Start.next(r, n)
		if err := log.Encode(line{Began: &s}); err != nil {
			return fmt.Errorf("writer: %w", err)
		}
		if err := s.do(o.Dir); killed(o.Dir, err) {
			return nil
		} else if err != nil {
			return errors.Join(log.Encode(line{Error: fmt.Sprintf("%v: %v", s, err)}), err)
		}
		o.Start.apply(s)
		if err := log.Encode(line{Done: &n}); err != nil {
			return fmt.Errorf("writer: %w", err)
		}
		if _, err := os.Stdout.Write([]byte{'.'}); err != nil {
			return fmt.Errorf("writer: %w", err)
		}
	}
	return nil
}

// killed reports whether an error is that of a mount without a daemon. Some requests that are cut off end in EIO.
func killed(dir string, err error) bool {
	if errors.Is(err, syscall.EIO) {
		var st syscall.Statfs_t
		err = syscall.Statfs(dir, &st) // which always asks the daemon
	}
	return errors.Is(err, syscall.ENOTCONN) || errors.Is(err, syscall.ECONNABORTED)
}

// do makes the step on a real tree.
func (s step) do(root string) error {
	name := filepath.Join(root, s.Path)
	switch s.Action {
	case create:
		return s.write(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, false)
	case replace:
		return s.write(name, os.O_TRUNC|os.O_WRONLY, false)
	case appendTo:
		return s.write(name, os.O_APPEND|os.O_WRONLY, false)
	case patch:
		return s.write(name, os.O_RDWR, false)
	case save:
		temporary := filepath.Join(root, s.temporary())
		if err := s.write(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, true); err != nil {
			return err
		}
		return os.Rename(temporary, name)
	case fsync:
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	case truncate:
		return os.Truncate(name, int64(s.Size))
	case rename:
		return os.Rename(name, filepath.Join(root, s.To))
	case unlink, rmdir:
		return os.Remove(name)
	case mkdir:
		return os.Mkdir(name, 0o755)
	case symlink:
		return os.Symlink(s.To, name)
	case chmod:
		return os.Chmod(name, os.FileMode(s.Mode))
	}
	return errors.New("unknown action " + strconv.Quote(string(s.Action)))
}

// write opens a file, writes the step's bytes in chunks, and closes it.
func (s step) write(name string, flags int, durable bool) error {
	f, err := os.OpenFile(name, flags, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Seek(int64(s.Offset), io.SeekStart); err != nil && s.Action == patch {
		return errors.Join(err, f.Close())
	}
	for rest := s.bytes(); len(rest) > 0; {
		n := min(chunk, len(rest))
		if _, err := f.Write(rest[:n]); err != nil {
			return errors.Join(err, f.Close())
		}
		rest = rest[n:]
	}
	if durable {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Package resume keeps, on this machine, what a copy to a store has to know of the one before it that was killed: the claims
// that it wrote, so that they are known to be of a dead process of ours, and the keys whose uploads in parts it began, so that
// they are not paid for any longer. What has been copied is not here: the objects themselves tell.
package resume

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrBusy is the error of Open while another process has the state.
var ErrBusy = errors.New("another copy to this store is under way on this machine")

// State is a directory with a lock and a file of JSON. It is safe for concurrent use. Make it with Open.
type State struct {
	name string
	lock *os.File

	mu   sync.Mutex
	data data // guarded by mu
}

// data is the file.
type data struct {
	Name    string         `json:"name"`              // of this state, in claims
	Token   string         `json:"token,omitempty"`   // of the last claim that was held
	Tried   []string       `json:"tried,omitempty"`   // those since of which it is not known
	Uploads map[string]int `json:"uploads,omitempty"` // by key, how many may have been left
}

// Open opens the state in a directory, which is made when missing, and locks it until Close.
func Open(dir string) (*State, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	s := &State{name: filepath.Join(dir, "state.json"), lock: lock}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrBusy
		}
		return nil, errors.Join(err, lock.Close())
	}
	if err := s.read(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func (s *State) read() error {
	text, err := os.ReadFile(s.name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		s.data.Name = rand.Text()
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(text, &s.data); err != nil {
			return fmt.Errorf("%s cannot be read: %w: remove it if no copy is under way", s.name, err)
		}
	}
	if s.data.Uploads == nil {
		s.data.Uploads = map[string]int{}
	}
	return nil
}

// Name names this state in claims, where a mount names its catalog.
func (s *State) Name() string { return s.data.Name }

// Tokens returns that of the last claim that was held, and those that were tried since.
func (s *State) Tokens() (last string, tried []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data.Token, append([]string(nil), s.data.Tried...)
}

// Try notes the token of a claim that is about to be written. It is durable then, as is all that is noted here.
func (s *State) Try(token string) error {
	return s.change(func(d *data) { d.Tried = append(d.Tried, token) })
}

// Held notes that the claim with the token is held.
func (s *State) Held(token string) error {
	return s.change(func(d *data) { d.Token, d.Tried = token, nil })
}

// Began notes an upload in parts of a key, before it is asked for.
func (s *State) Began(key string) error {
	return s.change(func(d *data) { d.Uploads[key]++ })
}

// Gone says that such an upload has ended. After a crash it may still be known: to look for it once more does no harm.
func (s *State) Gone(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.data.Uploads[key]--; s.data.Uploads[key] <= 0 {
		delete(s.data.Uploads, key)
	}
}

// Forget says that a key has no uploads.
func (s *State) Forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.data.Uploads, key)
}

// Uploads returns the keys that have uploads under way, or may have some that were left.
func (s *State) Uploads() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.data.Uploads))
}

// Close writes the state and unlocks it.
func (s *State) Close() error {
	return errors.Join(s.change(func(*data) {}), s.lock.Close())
}

// change changes the file, durably, before it returns.
func (s *State) change(how func(*data)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	how(&s.data)
	text, err := json.MarshalIndent(s.data, "", "  ")
	if err != nil {
		return err
	}
	temp := s.name + ".new"
	if err := writeSynced(temp, text); err != nil {
		return err
	}
	if err := os.Rename(temp, s.name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(s.name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func writeSynced(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

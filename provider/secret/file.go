package secret

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxFile is the size of a file that nobody has written by hand, in bytes.
const maxFile = 1 << 20

// File is a file with a credential on each line, NAME=VALUE, as the environment would have it: AWS_SECRET_ACCESS_KEY=...,
// OS_PASSWORD=.... Empty lines and lines that begin with # count for nothing, "export " before a name neither; a value may
// stand in quotes. It is read again whenever it has changed. Make it with Open.
type File struct {
	name string
	log  *slog.Logger

	mu     sync.Mutex
	seen   identity        // guarded by mu: of the file at the last look, be it good or not
	values map[string]Text // guarded by mu: of the last good one
}

// identity changes when a file is written or replaced.
type identity struct {
	inode, device uint64
	size          int64
	mode          os.FileMode
	written       time.Time
	changed       syscall.Timespec
}

// Open reads the file. One that others than its owner may read, or whose owner is another user than root and this one, is
// refused. No error shows what the file holds. A nil logger means none.
func Open(name string, log *slog.Logger) (*File, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &File{name: name, log: log}
	var err error
	if f.values, f.seen, err = read(name); err != nil {
		return nil, err
	}
	return f, nil
}

// Name returns the name of the file.
func (f *File) Name() string { return f.name }

// Lookup returns the credential of a name, as the file has it now. When the file cannot be used any more what it held
// before goes on to hold, and the log says why.
func (f *File) Lookup(name string) (value string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	t, ok := f.values[name]
	return t.Reveal(), ok
}

// refresh reads the file again if it has changed. The caller holds mu.
func (f *File) refresh() {
	var now identity // of no file
	if fi, err := os.Stat(f.name); err == nil {
		now = identify(fi)
	}
	if now == f.seen {
		return
	}
	values, seen, err := read(f.name)
	if err != nil {
		f.seen = now // said once for each change
		f.log.Warn("the secrets file has changed and cannot be used: the secrets of before are used on", "error", err)
		return
	}
	f.values, f.seen = values, seen
	f.log.Info("the secrets file has changed and was read again", "file", f.name)
}

func identify(fi os.FileInfo) identity {
	id := identity{size: fi.Size(), mode: fi.Mode(), written: fi.ModTime()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		id.inode, id.device, id.changed = st.Ino, uint64(st.Dev), st.Ctim
	}
	return id
}

func read(name string) (map[string]Text, identity, error) {
	bad := func(err error) (map[string]Text, identity, error) {
		return nil, identity{}, fmt.Errorf("the secrets file %s: %w", name, err)
	}
	text, fi, err := readPrivate(name)
	if err != nil {
		return bad(err)
	}
	values, err := parse(text)
	if err != nil {
		return bad(err)
	}
	return values, identify(fi), nil
}

// Bytes reads a file that holds one secret, such as a key, under the same rules: nobody but its owner may read it.
func Bytes(name string) ([]byte, error) {
	text, _, err := readPrivate(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}

func readPrivate(name string) ([]byte, os.FileInfo, error) {
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a fifo does not block
	if err != nil {
		return nil, nil, errors.Unwrap(err)
	}
	defer file.Close()
	fi, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	if err := private(fi, os.Geteuid()); err != nil {
		return nil, nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFile))
	return text, fi, err
}

// private says what is wrong with who may read a file.
func private(fi os.FileInfo, uid int) error {
	if !fi.Mode().IsRegular() {
		return errors.New("it is not a file")
	}
	if perm := fi.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("others may read or change it (mode %04o): chmod 600 %s", perm, fi.Name())
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if ok && st.Uid != 0 && int(st.Uid) != uid {
		return fmt.Errorf("it belongs to the user %d, who is neither root nor you (%d): chown it", st.Uid, uid)
	}
	return nil
}

var line = regexp.MustCompile(`^(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$`)

// parse reads the lines. Its errors show numbers of lines and names, and nothing else.
func parse(text []byte) (map[string]Text, error) {
	values := map[string]Text{}
	scan := bufio.NewScanner(bytes.NewReader(text))
	scan.Buffer(nil, maxFile)
	for n := 1; scan.Scan(); n++ {
		s := strings.TrimSpace(scan.Text())
		if s == "" || strings.HasPrefix(s, "#") {
			continue
		}
		parts := line.FindStringSubmatch(s)
		if parts == nil {
			return nil, fmt.Errorf("line %d is not NAME=VALUE", n)
		}
		name := parts[1]
		value, err := unquote(strings.TrimSpace(parts[2]))
		if err != nil {
			return nil, fmt.Errorf("line %d, %s: %w", n, name, err)
		}
		if _, ok := values[name]; ok {
			return nil, fmt.Errorf("line %d: %s stands there twice", n, name)
		}
		values[name] = New(value)
	}
	if err := scan.Err(); err != nil {
		return nil, err
	}
	return values, nil
}

// unquote takes away quotes around a value. There are no escapes: a value with both kinds of quotes in it stands there
// as it is.
func unquote(s string) (string, error) {
	if s == "" {
		return "", errors.New("the value is empty")
	}
	if q := s[0]; q == '"' || q == '\'' {
		if len(s) < 2 || s[len(s)-1] != q {
			return "", errors.New("the quote at the beginning has none at the end")
		}
		return s[1 : len(s)-1], nil
	}
	return s, nil
}

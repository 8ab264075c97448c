// Package logging makes the logger of a process: text or JSON, to stderr or to a file, and it remembers the last
// warnings and errors for "sharefs status".
package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"sharefs/cmd/sharefs/internal/control"
)

// Options say how to log. The zero value is text to stderr, from info on.
type Options struct {
	File  string // empty: Out
	Out   io.Writer
	Level string // debug, info, warn or error; empty is info
	JSON  bool
}

// Log is a logger with its memory and its file.
type Log struct {
	*slog.Logger
	recent *recent
	file   *file // nil without Options.File
}

// New opens the log.
func New(o Options) (*Log, error) {
	level := slog.LevelInfo
	if o.Level != "" {
		if err := level.UnmarshalText([]byte(o.Level)); err != nil {
			return nil, fmt.Errorf("log level %q: %w", o.Level, err)
		}
	}
	l := &Log{recent: &recent{}}
	out := o.Out
	if out == nil {
		out = os.Stderr
	}
	if o.File != "" {
		l.file = &file{name: o.File}
		if err := l.file.reopen(); err != nil {
			return nil, err
		}
		out = l.file
	}
	ho := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewTextHandler(out, ho)
	if o.JSON {
		h = slog.NewJSONHandler(out, ho)
	}
	l.Logger = slog.New(&remembering{Handler: h, recent: l.recent})
	return l, nil
}

// Recent returns the last warnings and errors, oldest first.
func (l *Log) Recent() []control.LogLine { return l.recent.lines() }

// Reopen opens the file again, after somebody has renamed it.
func (l *Log) Reopen() error {
	if l.file == nil {
		return nil
	}
	return l.file.reopen()
}

// Close closes the file.
func (l *Log) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.close()
}

// file is a log file that can be opened again. Only its owner reads it: names of files are private too.
type file struct {
	name string
	mu   sync.Mutex
	f    *os.File // guarded by mu
}

func (f *file) reopen() error {
	if err := os.MkdirAll(filepath.Dir(f.name), 0o700); err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	next, err := os.OpenFile(f.name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.f
	f.f = next
	if old != nil {
		return old.Close()
	}
	return nil
}

func (f *file) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.f.Write(p)
}

func (f *file) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.f.Close()
}

// keep is how many lines are remembered.
const keep = 20

type recent struct {
	mu   sync.Mutex
	last []control.LogLine // guarded by mu; oldest first
}

func (r *recent) add(l control.LogLine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.last) == keep {
		r.last = slices.Delete(r.last, 0, 1)
	}
	r.last = append(r.last, l)
}

func (r *recent) lines() []control.LogLine {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]control.LogLine{}, r.last...)
}

// remembering passes records on, and remembers warnings and errors with their attributes.
type remembering struct {
	slog.Handler
	recent *recent
	attrs  string
}

func (h *remembering) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		text := r.Message + h.attrs
		r.Attrs(func(a slog.Attr) bool {
			text += attrText(a)
			return true
		})
		h.recent.add(control.LogLine{Time: r.Time, Level: strings.ToLower(r.Level.String()), Message: text})
	}
	return h.Handler.Handle(ctx, r)
}

func (h *remembering) WithAttrs(attrs []slog.Attr) slog.Handler {
	text := h.attrs
	for _, a := range attrs {
		text += attrText(a)
	}
	return &remembering{Handler: h.Handler.WithAttrs(attrs), recent: h.recent, attrs: text}
}

func (h *remembering) WithGroup(name string) slog.Handler {
	return &remembering{Handler: h.Handler.WithGroup(name), recent: h.recent, attrs: h.attrs}
}

func attrText(a slog.Attr) string { return " " + a.Key + "=" + a.Value.Resolve().String() }

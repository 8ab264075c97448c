// Package soak is for tests that count: kills survived, races won, bytes compared.
//
// Such a test runs its short count in make test and its long one in make soak, and records its figures. make soak
// runs the tests whose names contain Soak with SOAK=1, and writes what they recorded to docs/soak.md.
package soak

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"
)

// The environment that make soak sets.
const (
	// EnvLong asks for the long counts when it is not empty.
	EnvLong = "SOAK"
	// EnvFigures names the file that Record appends to.
	EnvFigures = "SOAK_FIGURES"
)

// Long reports whether the long counts are wanted.
func Long() bool { return os.Getenv(EnvLong) != "" }

// Count returns the short count, or the long one under make soak.
func Count(short, long int) int {
	if Long() {
		return long
	}
	return short
}

// Figure is one recorded value, as a line of JSON.
type Figure struct {
	Test   string `json:"test"`
	Figure string `json:"figure"`
	Value  string `json:"value"`
}

var file sync.Mutex // one line at a time; processes are kept apart by O_APPEND

// Record logs a figure of a test, such as Record(t, "kills survived", 300), and keeps it for docs/soak.md when
// make soak runs the test.
func Record(t testing.TB, figure string, value any) {
	t.Helper()
	f := Figure{Test: t.Name(), Figure: figure, Value: fmt.Sprint(value)}
	t.Logf("%s: %s", f.Figure, f.Value)
	path := os.Getenv(EnvFigures)
	if path == "" {
		return
	}
	if err := record(path, f); err != nil {
		t.Errorf("the figure %q could not be recorded: %v", figure, err)
	}
}

func record(path string, f Figure) error {
	line, err := json.Marshal(f)
	if err != nil {
		return err
	}
	file.Lock()
	defer file.Unlock()
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	if _, err := out.Write(append(line, '\n')); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

package logging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLastWarningsAndErrorsAreRemembered(t *testing.T) {
	var out bytes.Buffer
	l, err := New(Options{Out: &out})
	if err != nil {
		t.Fatal(err)
	}
	l.Info("not this one")
	sub := l.With("path", "a/b")
	for i := range keep + 5 {
		sub.Warn("refused", "try", i)
	}
	l.Error("the end")
	lines := l.Recent()
	if len(lines) != keep {
		t.Fatalf("%d lines, want %d", len(lines), keep)
	}
	if first := lines[0]; first.Message != "refused path=a/b try=6" || first.Level != "warn" || first.Time.IsZero() {
		t.Errorf("first %+v", first)
	}
	if last := lines[keep-1]; last.Message != "the end" || last.Level != "error" {
		t.Errorf("last %+v", last)
	}
	if !strings.Contains(out.String(), `level=WARN msg=refused path=a/b try=0`) || !strings.Contains(out.String(), "not this one") {
		t.Errorf("the log itself: %s", out.String())
	}
}

func TestLevelAndFormat(t *testing.T) {
	var out bytes.Buffer
	l, err := New(Options{Out: &out, Level: "warn", JSON: true})
	if err != nil {
		t.Fatal(err)
	}
	l.Info("quiet")
	l.Warn("loud", "n", 1)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["msg"] != "loud" || line["n"] != 1.0 {
		t.Errorf("got %s (%v)", out.String(), err)
	}
	if _, err := New(Options{Level: "chatty"}); err == nil {
		t.Error("an unknown level: no error")
	}
}

func TestLogFileIsPrivateAndReopened(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log", "a.log")
	l, err := New(Options{File: name})
	if err != nil {
		t.Fatal(err)
	}
	l.Info("one")
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	l.Info("two")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Info("three")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{name + ".1": "[one two]", name: "[three]"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(string(b)) {
			_, msg, _ := strings.Cut(strings.TrimSpace(line), "msg=")
			got = append(got, msg)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: %v, want %s", filepath.Base(file), got, want)
		}
	}
	if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
}

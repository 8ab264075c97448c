package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sharefs/test/soak"
)

func TestReportSaysWhatRanAndWhatCameOut(t *testing.T) {
	got := render(facts{commit: "0123456789ab", dirty: true, date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), host: "2 cores"},
		[]soak.Figure{{Test: "TestSoakKill", Figure: "kills | survived", Value: "300"}})
	want := "# Figures of `make soak`\n\nWritten by `make soak`, not by hand.\n\n" +
		"Commit 0123456789ab with changes that were not committed, 2026-01-02, 2 cores.\n\n" +
		"| test | figure | value |\n|---|---|---|\n| TestSoakKill | kills \\| survived | 300 |\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestRecordedFiguresReachTheReport(t *testing.T) {
	dir := t.TempDir()
	figures, out := filepath.Join(dir, "figures"), filepath.Join(dir, "soak.md")
	t.Setenv(soak.EnvFigures, figures)
	soak.Record(t, "first", 1)
	soak.Record(t, "took", 1500*time.Millisecond)
	if err := write(figures, out); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{"| " + t.Name() + " | first | 1 |\n", "| " + t.Name() + " | took | 1.5s |\n"} {
		if !strings.Contains(string(text), row) {
			t.Errorf("%q is not in\n%s", row, text)
		}
	}
}

func TestNoFiguresIsAnError(t *testing.T) {
	if err := write(filepath.Join(t.TempDir(), "none"), filepath.Join(t.TempDir(), "soak.md")); err == nil {
		t.Error("want an error")
	}
}

func TestLongCountsAreForSoakOnly(t *testing.T) {
	t.Setenv(soak.EnvLong, "")
	if n := soak.Count(30, 300); n != 30 {
		t.Errorf("%d without %s", n, soak.EnvLong)
	}
	t.Setenv(soak.EnvLong, "1")
	if n := soak.Count(30, 300); n != 300 {
		t.Errorf("%d with %s", n, soak.EnvLong)
	}
}

// The command report turns the figures that soak tests recorded into docs/soak.md.
//
//	go run ./test/soak/report -figures FILE -out docs/soak.md
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"sharefs/test/soak"
)

func main() {
	figures := flag.String("figures", "", "the file of recorded figures")
	out := flag.String("out", "", "the file to write")
	flag.Parse()
	if err := write(*figures, *out); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func write(figures, out string) error {
	in, err := os.Open(figures)
	if err != nil {
		return fmt.Errorf("no figures, did a soak test run? %w", err)
	}
	defer in.Close()
	var list []soak.Figure
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var f soak.Figure
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			return fmt.Errorf("%s: %w", figures, err)
		}
		list = append(list, f)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	run, err := about()
	if err != nil {
		return err
	}
	return os.WriteFile(out, []byte(render(run, list)), 0o644)
}

// facts say what was run, and on what.
type facts struct {
	commit string
	dirty  bool
	date   time.Time
	host   string
}

func about() (facts, error) {
	commit, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return facts{}, fmt.Errorf("git does not tell the commit: %w", err)
	}
	changes, err := exec.Command("git", "status", "--porcelain").Output()
	if err != nil {
		return facts{}, fmt.Errorf("git does not tell what has changed: %w", err)
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return facts{}, err
	}
	return facts{
		commit: strings.TrimSpace(string(commit)),
		dirty:  len(changes) > 0,
		date:   time.Now().UTC(),
		host:   fmt.Sprintf("%d cores, Linux %s, %s", runtime.NumCPU(), strings.TrimSpace(string(kernel)), runtime.Version()),
	}, nil
}

func render(run facts, list []soak.Figure) string {
	var b strings.Builder
	state := ""
	if run.dirty {
		state = " with changes that were not committed"
	}
	fmt.Fprintf(&b, "# Figures of `make soak`\n\nWritten by `make soak`, not by hand.\n\n")
	fmt.Fprintf(&b, "Commit %s%s, %s, %s.\n\n", run.commit, state, run.date.Format(time.DateOnly), run.host)
	fmt.Fprintf(&b, "| test | figure | value |\n|---|---|---|\n")
	for _, f := range list {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", cell(f.Test), cell(f.Figure), cell(f.Value))
	}
	return b.String()
}

func cell(s string) string { return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s) }

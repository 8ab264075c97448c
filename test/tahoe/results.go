package tahoe

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Results are the outcomes of the tests of a run of trial, by name.
type Results map[string]Outcome

// Outcome is how a test ended.
type Outcome struct {
	Kind    string // successful, skip, failure, error, xfail or uxsuccess
	Details string // why
}

// outcome is a line of subunit's first protocol that tells how a test ended. A bracket at its end opens details, which end
// with a line that has nothing but a bracket.
var outcome = regexp.MustCompile(`^(successful|skip|failure|error|xfail|uxsuccess): (\S+)( \[.*)?$`)

// ParseResults reads what trial --reporter=subunit writes, which is version 1 of the protocol
// (github.com/testing-cabal/subunit).
func ParseResults(out []byte) Results {
	found := Results{}
	name, details := "", false // of which test the details are
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, len(out)+1)
	for lines.Scan() {
		line := lines.Text()
		if details {
			o := found[name]
			o.Details += line + "\n"
			if details = line != "]"; details {
				found[name] = o
			}
			continue
		}
		if m := outcome.FindStringSubmatch(line); m != nil {
			name, details = m[2], m[3] != ""
			found[name] = Outcome{Kind: m[1]}
		}
	}
	return found
}

// Count returns how many tests ended so.
func (r Results) Count(kind string) int {
	n := 0
	for _, o := range r {
		if o.Kind == kind {
			n++
		}
	}
	return n
}

// String counts all outcomes.
func (r Results) String() string {
	counts := map[string]int{}
	for _, o := range r {
		counts[o.Kind]++
	}
	parts := []string{fmt.Sprintf("%d tests", len(r))}
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	return strings.Join(parts, ", ")
}

// Good returns whether every test passed, or said why it cannot, or failed as its author expects.
func (r Results) Good() bool {
	good := r.Count("successful") + r.Count("skip") + r.Count("xfail")
	return good > 0 && good == len(r)
}

// Failures tells of the tests that are not good.
func (r Results) Failures() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if one := (Results{name: r[name]}); !one.Good() {
			fmt.Fprintf(&b, "%s: %s\n%s", name, r[name].Kind, r[name].Details)
		}
	}
	return b.String()
}

// Differences says which tests ended otherwise than in another run.
func (r Results) Differences(other Results) []string {
	var found []string
	all := maps.Clone(r)
	maps.Copy(all, other)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if r[name].Kind != other[name].Kind {
			found = append(found, fmt.Sprintf("%s: %q, not %q", name, r[name].Kind, other[name].Kind))
		}
	}
	return found
}

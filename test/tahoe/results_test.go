package tahoe

import (
	"maps"
	"slices"
	"testing"
)

const subunit = `test: a.T.test_one
successful: a.T.test_one
something that a test has printed
test: a.T.test_two
skip: a.T.test_two [
successful: a.T.test_that_is_only_text
]
test: a.T.test_three
failure: a.T.test_three [ multipart
Content-Type: text/plain
]
test: a.T.test_four
xfail: a.T.test_four [
why
]
`

func TestParseResults(t *testing.T) {
	want := Results{
		"a.T.test_one":   {Kind: "successful"},
		"a.T.test_two":   {"skip", "successful: a.T.test_that_is_only_text\n"},
		"a.T.test_three": {"failure", "Content-Type: text/plain\n"},
		"a.T.test_four":  {"xfail", "why\n"},
	}
	got := ParseResults([]byte(subunit))
	if !maps.Equal(want, got) {
		t.Errorf("got %v", got)
	}
	if text := got.String(); text != "4 tests, 1 failure, 1 skip, 1 successful, 1 xfail" {
		t.Errorf("in words: %q", text)
	}
	if text := got.Failures(); got.Good() || text != "a.T.test_three: failure\nContent-Type: text/plain\n" {
		t.Errorf("failures: %q", text)
	}
	delete(want, "a.T.test_three")
	if !want.Good() || (Results{}).Good() {
		t.Error("good results are not, or none are")
	}
	other := Results{"a.T.test_one": {Kind: "skip"}, "a.T.test_two": {Kind: "skip"}, "a.T.test_four": {Kind: "xfail"}}
	differences := []string{`a.T.test_one: "successful", not "skip"`, `a.T.test_three: "failure", not ""`}
	if found := got.Differences(other); !slices.Equal(found, differences) {
		t.Errorf("differences: %q", found)
	}
}

package pathrule

import (
	"strings"
	"testing"
	"time"
)

func TestScratchPaths(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"**/shares/incoming/**", "/shares/incoming/aa/aabb/0", true},
		{"**/shares/incoming/**", "/storage/shares/incoming/aa/aabb/0", true},
		{"**/shares/incoming/**", "/shares/incoming", true},
		{"**/shares/incoming/**", "/shares/aa/aabb/0", false},
		{"**/shares/incoming/**", "/shares/incoming2/x", false},
		{"/tmp/**", "/tmp/x/y", true},
		{"/tmp/**", "/a/tmp/x", false},
		{"*.tmp", "/a/b/c.tmp", true},
		{"*.tmp", "/a/b.tmp/c", false},
		{"*.{tmp,part}", "/a/b.part", true},
		{"a/*", "/a/b", true},
		{"a/*", "/a/b/c", false},
		{"*", "/\xff\xfe", true},
	} {
		r, err := Parse([]string{c.pattern}, nil)
		if err != nil {
			t.Fatalf("%s: %v", c.pattern, err)
		}
		if got := r.Scratch(c.path); got != c.want {
			t.Errorf("%q is scratch by %s: %v, want %v", c.path, c.pattern, got, c.want)
		}
	}
}

func TestLazyPaths(t *testing.T) {
	r, err := Parse(nil, []string{"*.state.json*=10m", "logs/**=30s", "*=1h"})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]time.Duration{
		"/bucket_counter.state.json":     10 * time.Minute,
		"/bucket_counter.state.json.tmp": 10 * time.Minute,
		"/logs/a/b":                      30 * time.Second,
		"/else":                          time.Hour,
	} {
		if got := r.Delay(path); got != want {
			t.Errorf("%s waits %v, want %v", path, got, want)
		}
	}
	if d := (Rules{}).Delay("/x"); d != 0 {
		t.Errorf("without rules a path waits %v", d)
	}
}

func TestWrongRulesSayWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ scratch, lazy, want string }{
		{scratch: "[a", want: "not a pattern"},
		{scratch: "", want: "empty"},
		{scratch: "/", want: "empty"},
		{scratch: "incoming/", want: "incoming/**"},
		{lazy: "*.json", want: "PATTERN=DURATION"},
		{lazy: "*.json=soon", want: `"soon" is no duration`},
		{lazy: "*.json=-1s", want: "more than nothing"},
		{lazy: "*.json=25h", want: "at most 24h"},
		{lazy: "=10m", want: "empty"},
	} {
		var err error
		if c.lazy != "" {
			_, err = Parse(nil, []string{c.lazy})
		} else {
			_, err = Parse([]string{c.scratch}, nil)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want an error with %q", c, err, c.want)
		}
	}
}

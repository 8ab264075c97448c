package near

import "testing"

func TestHintNamesTheNearestWordAndAll(t *testing.T) {
	known := []string{"cache-size", "cache-dir", "uid"}
	const all = "known are cache-size, cache-dir, uid"
	for word, want := range map[string]string{
		"cash-size": "did you mean cache-size? " + all,
		"Cache-Dir": "did you mean cache-dir? " + all,
		"gid":       "did you mean uid? " + all,
		"parallel":  all,
		"":          all,
	} {
		if got := Hint(word, known); got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"abc", "abc", 0}, {"abc", "axc", 1}, {"abc", "ac", 1}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

package providertest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sharefs/provider"
)

// sortNames sort around "/" in every way, and beyond the plane that UTF-16 sorts differently.
var sortNames = []string{
	"A", "a!", "a-b", "a.b", "a/-", "a/x", "a/x.y", "a/y/1", "a/y-", "a0", "a~", "b", "d/e/f/g", "d-e", "d0",
	"z/~", "é", "\uff5e", "😀",
}

var listCases = []testCase{
	{"every prefix, mode, limit and start", func(t *tester) {
		keys := t.keys(sortNames...)
		for _, key := range keys {
			t.putString(key, key)
		}
		limits, fewLimits := []int{0, 1, 2, 3, 7}, []int{0, 2}
		if t.cfg.Slow {
			limits, fewLimits = []int{0, 2}, []int{3}
		}
		for _, prefix := range t.keys("", "a/", "a/y/", "d/", "d/e/", "z/", "none/", "a0/") {
			for _, flat := range []bool{false, true} {
				want := t.expected(keys, provider.ListOptions{Prefix: prefix, Flat: flat})
				for _, limit := range limits {
					t.wantListed(provider.ListOptions{Prefix: prefix, Flat: flat, Limit: limit}, want)
				}
			}
		}
		for _, prefix := range t.keys("a", "a/x", "d/e/f/g", "d/e/f/g/", "x", "\uff5e", "😀") {
			opts := provider.ListOptions{Prefix: prefix, Flat: true}
			t.wantListed(opts, t.expected(keys, opts))
		}
		for _, after := range t.keys("", "0", "A", "a", "a-b", "a/", "a/x", "a/y/", "a/y/1", "a0", "d/e/f/g", "d/zzz", "z/", "😀", "😀😀") {
			for _, flat := range []bool{false, true} {
				for _, limit := range fewLimits {
					opts := provider.ListOptions{Prefix: t.prefix, Flat: flat, After: after, Limit: limit}
					t.wantListed(opts, t.expected(keys, opts))
				}
			}
		}
		for _, after := range t.keys("a/", "a/x", "a/y", "a/y-", "a/y/", "a/y/1", "a/zz", "b", "a") {
			for _, flat := range []bool{false, true} {
				opts := provider.ListOptions{Prefix: t.key("a/"), Flat: flat, After: after, Limit: 1}
				t.wantListed(opts, t.expected(keys, opts))
			}
		}
	}},
	{"a marker whose key is the prefix comes first", func(t *tester) {
		keys := t.keys("d/", "d/!", "d/x", "d/y/")
		for _, key := range keys {
			t.put(key, nil, nil)
		}
		for _, flat := range []bool{false, true} {
			for _, limit := range []int{0, 1, 2} {
				opts := provider.ListOptions{Prefix: t.key("d/"), Flat: flat, Limit: limit}
				t.wantListed(opts, keys)
				opts.After = t.key("d/")
				t.wantListed(opts, keys[1:])
			}
		}
		opts := provider.ListOptions{Prefix: t.prefix}
		t.wantListed(opts, t.expected(keys, opts))
		t.wantListed(provider.ListOptions{Prefix: t.key("d/y/")}, t.keys("d/y/"))
		opts = provider.ListOptions{Prefix: t.key("d/y/"), After: t.key("d/y/")}
		t.wantListed(opts, []string{})
	}},
	{"a directory is an object of size 0", func(t *tester) {
		t.putString(t.key("d/x"), "xyz")
		t.settled(func() error {
			objects, err := t.tryList(provider.ListOptions{Prefix: t.prefix, After: t.prefix})
			if err != nil {
				return err
			}
			if len(objects) != 1 || objects[0].Key != t.key("d/") || !objects[0].IsDir() || objects[0].Size != 0 {
				return fmt.Errorf("got %+v", objects)
			}
			return nil
		})
		if t.caps.Directories {
			t.wantListedSame(t.stat(t.key("d/")))
		}
	}},
	{"pages end where Limit says and go on with Token", func(t *tester) {
		var keys []string
		for i := range 7 {
			keys = append(keys, t.key(fmt.Sprintf("d%d/x", i)))
			t.putString(keys[i], "x")
		}
		opts := provider.ListOptions{Prefix: t.prefix, Limit: 3}
		t.wantListed(opts, t.expected(keys, opts)) // settled
		opts.After = t.prefix
		first, err := t.p.List(t.ctx, opts)
		if err != nil {
			t.Fatal(err)
		}
		if got := keysOf(first.Objects); !slices.Equal(got, t.keys("d0/", "d1/", "d2/")) || first.Next == "" {
			t.Fatalf("the first page has %q, next %q", got, first.Next)
		}
		// A token may be used again, and After is ignored beside it.
		again := provider.ListOptions{Prefix: t.prefix, Limit: 3, Token: first.Next, After: t.key("d6/")}
		for range 2 {
			second, err := t.p.List(t.ctx, again)
			if err != nil {
				t.Fatal(err)
			}
			if got := keysOf(second.Objects); !slices.Equal(got, t.keys("d3/", "d4/", "d5/")) {
				t.Fatalf("the second page has %q", got)
			}
		}
	}},
	{"a listing goes on after what it listed was deleted", func(t *tester) {
		for i := range 9 {
			t.putString(t.key(fmt.Sprintf("d%d/x", i)), "x")
		}
		opts := provider.ListOptions{Prefix: t.key("d"), Flat: true}
		keys := t.keys("d0/x", "d1/x", "d2/x", "d3/x", "d4/x", "d5/x", "d6/x", "d7/x", "d8/x")
		t.wantListed(opts, t.expected(keys, opts))
		var seen []string
		opts.Limit = 2
		for {
			page, err := t.p.List(t.ctx, opts)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range page.Objects {
				if !o.IsDir() {
					seen = append(seen, o.Key)
					t.delete(o.Key)
				}
			}
			if page.Next == "" {
				break
			}
			opts.Token = page.Next
		}
		if !slices.Equal(seen, keys) {
			t.Errorf("seen %q, want %q", seen, keys)
		}
	}},
	{"many objects", func(t *tester) {
		var keys []string
		for i := range t.cfg.ManyKeys {
			keys = append(keys, t.key(fmt.Sprintf("many/%06d", i)))
			t.putString(keys[i], "x")
		}
		for _, flat := range []bool{false, true} {
			for _, limit := range []int{0, max(7, t.cfg.ManyKeys/5)} {
				opts := provider.ListOptions{Prefix: t.key("many/"), Flat: flat, Limit: limit}
				t.wantListed(opts, t.expected(keys, opts))
			}
		}
	}},
	{"what was changed is listed as it is", func(t *tester) {
		t.put(t.key("k"), pattern(10, 1), nil)
		t.wantListedSame(t.stat(t.key("k")))
		t.put(t.key("k"), pattern(20, 1), nil)
		t.wantListedSame(t.stat(t.key("k")))
		t.delete(t.key("k"))
		t.wantListed(provider.ListOptions{Prefix: t.key("k"), Flat: true}, []string{})
	}},
}

// expected computes what a listing shows when the case's keys are keys: the model of List.
func (t *tester) expected(keys []string, opts provider.ListOptions) []string {
	set := map[string]bool{}
	for _, key := range t.withDirs(keys) {
		if !strings.HasPrefix(key, opts.Prefix) {
			continue
		}
		if rest := key[len(opts.Prefix):]; !opts.Flat {
			if slash := strings.IndexByte(rest, '/'); slash >= 0 {
				key = opts.Prefix + rest[:slash+1]
			}
		}
		if key > opts.After {
			set[key] = true
		}
	}
	return slices.AppendSeq([]string{}, slices.Values(slices.Sorted(maps.Keys(set))))
}

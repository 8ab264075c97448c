package main

import (
	"testing"

	"sharefs/provider/replicate"
)

func TestHowFarACopyIs(t *testing.T) {
	for want, p := range map[string]replicate.Progress{
		"0 of 0 objects that are counted so far, 0 B of 0 B": {},
		"1,200 of 4,000 objects that are counted so far, 12 MiB of 40 MiB": {Source: replicate.Count{Objects: 4000, Bytes: 40 << 20},
			Copied: replicate.Count{Objects: 200, Bytes: 1 << 20}, Same: replicate.Count{Objects: 1000, Bytes: 10 << 20}, Moving: 1 << 20},
		"0 of 1 object, 5 B of 5 B, 1 failed": {Source: replicate.Count{Objects: 1, Bytes: 3}, Counted: true, Moving: 5, Failed: 1},
	} {
		a := copyAmount(p)
		if a.text != want || a.idle || a.done > a.whole {
			t.Errorf("%+v, want %q", a, want)
		}
	}
}

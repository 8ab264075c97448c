package main

import (
	"strings"
	"testing"
)

func TestWhatMountGivesItsHelperIsUnderstood(t *testing.T) {
	for args, want := range map[string]string{
		"shares /srv -o rw,_netdev":               "mount shares /srv -o rw,_netdev",
		"shares /srv -n -s -v -o ro":              "mount shares /srv -o ro",
		"shares /srv -sv -t sharefs.x -o ro":      "mount shares /srv -o ro",
		"shares /srv -f -o ro":                    "",
		"shares /srv -fn":                         "",
		"shares /srv -N 1":                        "mount shares /srv -N 1",
		"s3://b?endpoint=http://h /srv --profile": "mount s3://b?endpoint=http://h /srv --profile",
		"shares /srv -x":                          "mount shares /srv -x",
	} {
		ours, ok := helperArgs(strings.Fields(args))
		if got := strings.Join(ours, " "); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %s (%v), want %s", args, got, ok, want)
		}
	}
}

package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sharefs/cmd/sharefs/internal/control"
)

func TestProgressElsewhereThanOnATerminalIsALineNowAndThen(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		var out bytes.Buffer
		l := &lines{out: &out}
		show := storing(l)
		for left := 100; left >= 0; left-- { // 20 s
			show(control.Pending{Files: left, Bytes: int64(left) << 20})
			time.Sleep(200 * time.Millisecond)
		}
		l.end()
		want := "storing: 75 files, 75 MiB left\nstoring: 50 files, 50 MiB left\nstoring: 25 files, 25 MiB left\n"
		if out.String() != want {
			t.Errorf("got\n%swant\n%s", out.String(), want)
		}
	})
}

func TestBarShowsHowMuchIsLeftAndGoesAway(t *testing.T) {
	var out bytes.Buffer
	b := &bar{out: &out}
	show := storing(b)
	show(control.Pending{})
	if out.Len() > 0 {
		t.Errorf("a bar for nothing: %q", out.String())
	}
	for _, left := range []int{2, 3, 1, 0} { // one came in between
		show(control.Pending{Files: left, Bytes: int64(left) << 20})
	}
	b.end()
	for _, part := range []string{"storing, 3 files, 3.0 MiB left   0%", "storing, 1 file, 1.0 MiB left  66%"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q does not show %q", out.String(), part)
		}
	}
}

package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"sharefs/cmd/sharefs/internal/control"
)

// progress shows how much is left to store: a bar on a terminal, now and then a line elsewhere.
type progress interface {
	show(control.Pending)
	end()
}

// newProgress returns the progress for what out is.
func newProgress(out *os.File) progress {
	if term.IsTerminal(int(out.Fd())) {
		return &bar{out: out}
	}
	return &lines{out: out}
}

// lineEvery is the pace of lines.
const lineEvery = 5 * time.Second

// lines waits with its first line, so that what is done at once says nothing.
type lines struct {
	out  io.Writer
	next time.Time
}

func (l *lines) show(p control.Pending) {
	now := time.Now()
	if l.next.IsZero() {
		l.next = now.Add(lineEvery)
	}
	if p.Files > 0 && !now.Before(l.next) {
		l.next = now.Add(lineEvery)
		fmt.Fprintln(l.out, "storing: "+pendingText(p)+" left")
	}
}

func (l *lines) end() {}

// bar counts bytes. The whole is the most that was ever left; more may come while it runs.
type bar struct {
	out   io.Writer
	bar   *progressbar.ProgressBar
	whole int64
}

func (b *bar) show(p control.Pending) {
	if p.Files == 0 && b.bar == nil {
		return
	}
	if b.bar == nil {
		b.bar = progressbar.NewOptions64(max(p.Bytes, 1), progressbar.OptionSetWriter(b.out), progressbar.OptionShowBytes(true),
			progressbar.OptionUseIECUnits(true), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth())
	}
	if p.Bytes > b.whole {
		b.whole = p.Bytes
		b.bar.ChangeMax64(max(b.whole, 1) + 1) // never quite full before the end: a full bar is finished
	}
	_ = b.bar.Set64(b.whole - p.Bytes) // a terminal that is gone: nobody looks
	b.bar.Describe("storing, " + pendingText(p) + " left")
}

func (b *bar) end() {
	if b.bar != nil {
		_ = b.bar.Clear() // likewise
	}
}

// pendingText is "3 files, 1.2 MiB".
func pendingText(p control.Pending) string {
	return filesText(p.Files) + ", " + humanize.IBytes(uint64(max(p.Bytes, 0)))
}

func filesText(n int) string {
	if n == 1 {
		return "1 file"
	}
	return humanize.Comma(int64(n)) + " files"
}

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

// progress shows how far long work has come: a bar on a terminal, now and then a line elsewhere.
type progress interface {
	show(amount)
	end()
}

// amount is how far work has come.
type amount struct {
	idle        bool   // nothing is under way
	work        string // "storing"
	text        string // "3 files, 1.2 MiB left"
	done, whole int64  // bytes
	noBytes     bool   // they are something else
}

// newProgress returns the progress for what out is.
func newProgress(out *os.File) progress {
	if term.IsTerminal(int(out.Fd())) {
		return &bar{out: out}
	}
	return &lines{out: out}
}

// storing shows what is left to store. The whole is the most that was ever left; more may come meanwhile.
func storing(p progress) func(control.Pending) {
	var whole int64
	return func(left control.Pending) {
		whole = max(whole, left.Bytes)
		p.show(amount{idle: left.Files == 0, work: "storing", text: pendingText(left) + " left", done: whole - left.Bytes, whole: whole})
	}
}

// lineEvery is the pace of lines.
const lineEvery = 5 * time.Second

// lines waits with its first line, so that what is done at once says nothing.
type lines struct {
	out  io.Writer
	next time.Time
}

func (l *lines) show(a amount) {
	now := time.Now()
	if l.next.IsZero() {
		l.next = now.Add(lineEvery)
	}
	if !a.idle && !now.Before(l.next) {
		l.next = now.Add(lineEvery)
		fmt.Fprintln(l.out, a.work+": "+a.text)
	}
}

func (l *lines) end() {}

// bar counts bytes.
type bar struct {
	out   io.Writer
	bar   *progressbar.ProgressBar
	whole int64
}

func (b *bar) show(a amount) {
	if a.idle && b.bar == nil {
		return
	}
	if b.bar == nil {
		b.bar = progressbar.NewOptions64(max(a.whole, 1), progressbar.OptionSetWriter(b.out), progressbar.OptionShowBytes(!a.noBytes),
			progressbar.OptionUseIECUnits(true), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth())
	}
	if a.whole > b.whole {
		b.whole = a.whole
		b.bar.ChangeMax64(max(b.whole, 1) + 1) // never quite full before the end: a full bar is finished
	}
	_ = b.bar.Set64(min(a.done, b.whole)) // a terminal that is gone: nobody looks
	b.bar.Describe(a.work + ", " + a.text)
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

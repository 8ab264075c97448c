package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dustin/go-humanize"

	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/provider"
	"sharefs/provider/replicate"
)

// copyResult is what is printed of a copy.
type copyResult struct {
	Source      string          `json:"source"`
	Destination string          `json:"destination"`
	DryRun      bool            `json:"dry_run"`
	Complete    bool            `json:"complete"`
	Copied      replicate.Count `json:"copied"`
	Same        replicate.Count `json:"same"`
	Deleted     replicate.Count `json:"deleted"`
	Extra       replicate.Count `json:"extra"`
	Failed      int64           `json:"failed"`
	Failures    []copyFailure   `json:"failures"`
	Seconds     float64         `json:"seconds"`
	Error       string          `json:"error,omitempty"`
}

type copyFailure struct {
	Key   string `json:"key"`
	Error string `json:"error"`
}

func (c *copying) result(p replicate.Progress, err error, took time.Duration) copyResult {
	r := copyResult{Source: c.src.String(), Destination: c.dst.String(), DryRun: c.o.dryRun, Complete: err == nil,
		Copied: p.Copied, Same: p.Same, Deleted: p.Deleted, Extra: p.Extra, Failed: p.Failed, Failures: []copyFailure{}, Seconds: took.Seconds()}
	for _, f := range p.Failures {
		r.Failures = append(r.Failures, copyFailure{f.Key, oneLine(f.Err)})
	}
	if err != nil && !errors.Is(err, replicate.ErrIncomplete) {
		r.Error = oneLine(err)
	}
	return r
}

func (r copyResult) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return printIndented(w, r)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(w, "not copied: %q: %s\n", f.Key, f.Error)
	}
	if more := r.Failed - int64(len(r.Failures)); more > 0 {
		fmt.Fprintf(w, "not copied: %s more\n", humanize.Comma(more))
	}
	would := ""
	if r.DryRun {
		would = "would be "
	}
	text := would + "copied: " + countText(r.Copied) + "; there already: " + countText(r.Same)
	if r.Deleted.Objects > 0 {
		text += "; " + would + "deleted: " + countText(r.Deleted)
	}
	if r.Extra.Objects > 0 {
		text += "; only at the destination, and left there: " + countText(r.Extra)
	}
	_, err := fmt.Fprintf(w, "%s; in %.1f s\n", text, r.Seconds)
	return err
}

// judge returns the error of the command.
func (c *copying) judge(ctx context.Context, p replicate.Progress, err error) error {
	const again = "the same command goes on from there"
	switch {
	case err == nil:
		return nil
	case errors.Is(err, replicate.ErrIncomplete):
		return exit.Errorf(exit.NotStored, "%s could not be copied, or deleted, or changed meanwhile: %s does not hold what %s does", objectsText(p.Failed), c.dst, c.src)
	case errors.Is(err, replicate.ErrEmpty):
		return err
	case ctx.Err() != nil:
		return exit.Errorf(exit.NotStored, "interrupted, with %s at %s: %s", objectsText(p.Copied.Objects+p.Same.Objects), c.dst, again)
	}
	return exit.Errorf(exit.NotStored, "stopped, with %s at %s: %w: %s", objectsText(p.Copied.Objects+p.Same.Objects), c.dst, err, again)
}

// copyAmount is how far a copy is.
func copyAmount(p replicate.Progress) amount {
	a := amount{work: "copying", done: p.Copied.Bytes + p.Same.Bytes + p.Moving}
	a.whole = max(p.Source.Bytes, a.done)
	a.text = fmt.Sprintf("%s of %s", humanize.Comma(p.Copied.Objects+p.Same.Objects), objectsText(p.Source.Objects))
	if !p.Counted {
		a.text += " that are counted so far"
	}
	a.text += ", " + humanize.IBytes(uint64(a.done)) + " of " + humanize.IBytes(uint64(a.whole))
	if p.Failed > 0 {
		a.text += ", " + humanize.Comma(p.Failed) + " failed"
	}
	return a
}

// printChange prints what a dry run would do.
func printChange(c replicate.Change, o provider.Object) {
	fmt.Fprintf(os.Stdout, "%s %q %s\n", c, o.Key, humanize.IBytes(uint64(o.Size)))
}

func countText(c replicate.Count) string {
	return objectsText(c.Objects) + ", " + humanize.IBytes(uint64(max(c.Bytes, 0)))
}

func objectsText(n int64) string {
	if n == 1 {
		return "1 object"
	}
	return humanize.Comma(n) + " objects"
}

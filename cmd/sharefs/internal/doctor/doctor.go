// Package doctor looks through a store for what does not belong there, or is not seen through a mount, and removes what it is
// told to. It knows stores by the provider contract only.
//
// What it may remove is sharefs's own: below .sharefs/, and uploads in parts. Nothing is removed while somebody holds the
// claim on the store, and nothing that is younger than Options.Older: it may belong to work that is under way.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sharefs/cmd/sharefs/internal/probe"
	"sharefs/fusefs/claim"
	"sharefs/provider"
	"sharefs/provider/keycodec"
)

// Kind is a kind of finding.
type Kind string

// The kinds. Those before NoPath can be mended.
const (
	Uploads     Kind = "uploads"     // in parts, that were neither completed nor aborted, or left parts behind
	Leftovers   Kind = "leftovers"   // parts of files that were written when the room ran out, below .sharefs/open/
	Probes      Kind = "probes"      // what a probe could not remove
	Checkpoints Kind = "checkpoints" // all but the newest
	Claims      Kind = "claims"      // all but the one that counts
	NoPath      Kind = "no-path"     // keys that are no path: not seen through a mount
	Shadowed    Kind = "shadowed"    // objects that are hidden by a directory of the same name
	Strange     Kind = "strange"     // keys below .sharefs/ that are none of ours
)

// Mendable are the kinds that can be mended.
var Mendable = []Kind{Uploads, Leftovers, Probes, Checkpoints, Claims}

// Finding is something that was found.
type Finding struct {
	Kind     Kind
	Key      string
	UploadID string    // of an upload
	Size     int64     // bytes; -1: not known
	Time     time.Time // when it was stored, or the upload begun, by the store's clock
	Young    bool      // it may belong to work that is under way, and is left alone
	Mended   bool
}

// Report is what was found in a store.
type Report struct {
	Objects  int64 // files, and markers of directories
	Bytes    int64
	Claim    *claim.Record // nil: nobody has ever claimed the store
	Findings []Finding
	Unlisted error // why the uploads could not be listed, when these credentials may not; else nil
}

// Held reports whether somebody holds the claim: it was not given up in good order.
func (r *Report) Held() bool { return r.Claim != nil && !r.Claim.Released }

// Open returns the findings that are still there and not Young.
func (r *Report) Open() []Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Mended || f.Young })
}

// Options are the options of Examine. Older must be set.
type Options struct {
	Older    time.Duration       // what is younger is Young
	Now      time.Time           // by which that is judged
	Progress func(objects int64) // is told how many were listed; may be nil
}

// Examine looks through a store, which it lists as a whole. It changes nothing.
func Examine(ctx context.Context, store provider.Provider, o Options) (*Report, error) {
	r := &Report{}
	var err error
	if r.Claim, err = claim.Look(ctx, store); err != nil {
		return nil, err
	}
	uploads, err := store.ListUploads(ctx, "")
	switch provider.KindOf(err) {
	case provider.KindDenied:
		r.Unlisted = err
	case provider.KindUnsupported: // so there are none
	default:
		if err != nil {
			return nil, err
		}
	}
	for _, u := range uploads {
		f := Finding{Kind: Uploads, Key: u.Key, UploadID: u.ID, Size: u.Size, Time: u.Started}
		if u.Size == 0 {
			f.Size = -1
		}
		r.Findings = append(r.Findings, f)
	}
	l := &listing{report: r, highest: map[Kind]numbered{}}
	if err := l.all(ctx, store, o.Progress); err != nil {
		return nil, err
	}
	for i, f := range r.Findings {
		r.Findings[i].Young = slices.Contains(Mendable, f.Kind) && o.Now.Sub(f.Time) < o.Older
	}
	return r, nil
}

// listing goes through the keys of a store in their order.
type listing struct {
	report  *Report
	files   []provider.Object // whose keys the next key may go on from: it begins with each of them
	highest map[Kind]numbered // of the objects with numbers
}

type numbered struct {
	n      uint64
	object provider.Object
}

func (l *listing) all(ctx context.Context, store provider.Provider, progress func(int64)) error {
	for token := ""; ; {
		page, err := store.List(ctx, provider.ListOptions{Flat: true, Token: token})
		if err != nil {
			return err
		}
		for _, o := range page.Objects {
			l.object(o)
		}
		if progress != nil {
			progress(l.report.Objects)
		}
		if token = page.Next; token == "" {
			return nil
		}
	}
}

func (l *listing) object(o provider.Object) {
	if own, ok := strings.CutPrefix(o.Key, provider.Reserved); ok {
		l.own(o, own)
		return
	}
	l.report.Objects++
	l.report.Bytes += o.Size
	if !keycodec.ValidPath(o.Key) {
		l.add(NoPath, o)
		return
	}
	for len(l.files) > 0 && !strings.HasPrefix(o.Key, l.files[len(l.files)-1].Key) {
		l.files = l.files[:len(l.files)-1]
	}
	l.files = slices.DeleteFunc(l.files, func(f provider.Object) bool {
		below := strings.HasPrefix(o.Key, f.Key+"/")
		if below {
			l.add(Shadowed, f)
		}
		return below // it has been found
	})
	if !o.IsDir() {
		l.files = append(l.files, o)
	}
}

// own looks at a key below .sharefs/.
func (l *listing) own(o provider.Object, rest string) {
	switch {
	case rest == "" || o.IsDir():
	case strings.HasPrefix(rest, "open/"):
		l.add(Leftovers, o)
	case strings.HasPrefix(o.Key, probe.Prefix):
		l.add(Probes, o)
	case strings.HasPrefix(o.Key, provider.Checkpoints):
		l.numbered(Checkpoints, provider.Checkpoints, o)
	case strings.HasPrefix(o.Key, claim.Prefix):
		l.numbered(Claims, claim.Prefix, o)
	default:
		l.add(Strange, o)
	}
}

// numbered keeps a checkpoint or a claim back until one with a higher number is met: the highest is no finding.
func (l *listing) numbered(kind Kind, prefix string, o provider.Object) {
	n, err := strconv.ParseUint(strings.TrimPrefix(o.Key, prefix), 10, 64)
	if err != nil {
		l.add(Strange, o)
		return
	}
	highest, ok := l.highest[kind]
	switch {
	case !ok:
	case n > highest.n:
		l.add(kind, highest.object)
	default:
		l.add(kind, o)
		return
	}
	l.highest[kind] = numbered{n, o}
}

func (l *listing) add(kind Kind, o provider.Object) {
	l.report.Findings = append(l.report.Findings, Finding{Kind: kind, Key: o.Key, Size: o.Size, Time: o.ModTime})
}

// ErrHeld is the error of Mend when somebody holds the claim.
var ErrHeld = errors.New("the store is in use")

// Mend removes the findings of the kinds that are not Young, and marks them Mended. It fails with ErrHeld while somebody holds the
// claim, unless force.
func Mend(ctx context.Context, store provider.Provider, r *Report, kinds []Kind, force bool) error {
	for _, k := range kinds {
		if !slices.Contains(Mendable, k) {
			return fmt.Errorf("%s cannot be mended", k)
		}
	}
	var err error
	if r.Claim, err = claim.Look(ctx, store); err != nil { // it may have been taken since
		return err
	}
	if r.Held() && !force {
		return fmt.Errorf("%w: %s holds it, last heard of at %s", ErrHeld, r.Claim.Holder(), r.Claim.Renewed.Local().Format(time.DateTime))
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Young || !slices.Contains(kinds, f.Kind) {
			continue
		}
		var err error
		if f.Kind == Uploads {
			err = store.AbortUpload(ctx, f.Key, f.UploadID)
		} else {
			err = store.Delete(ctx, provider.DeleteOptions{}, f.Key)
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", f.Kind, f.Key, err)
		}
		f.Mended = true
	}
	return nil
}

package commit

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sharefs/fusefs/catalog"
	"sharefs/fusefs/stage"
	"sharefs/provider"
	"sharefs/provider/transfer"
)

// planner is a committer that only plans.
func planner(caps provider.Capabilities) *Committer {
	return &Committer{caps: caps, patchFrom: 0, planPatch: transfer.PlanPatch}
}

func TestWhatNobodyChangedSinceIsCopiedFromItsSpill(t *testing.T) {
	const s = 8 // bytes of a spill; numbers below are bytes
	r := func(off, end int64) stage.Range { return stage.Range{Off: off, Len: end - off} }
	for _, tc := range []struct {
		name          string
		size          int64
		spills        []int64 // where they begin
		dirty, absent []stage.Range
		patch         bool
		want          string // s: sent, c: copied from the object, number: from the spill that begins there; with the end
	}{
		{"a new file, but for its end", 20, []int64{0, 8}, []stage.Range{r(0, 20)}, []stage.Range{r(0, 16)}, false, "0-8 8-16 s-20"},
		{"one written to again", 24, []int64{0, 8, 16}, []stage.Range{r(0, 24)}, []stage.Range{r(0, 9), r(10, 24)}, false, "0-8 s-16 16-24"},
		{"cut off in a spill", 12, []int64{0, 8, 16}, []stage.Range{r(0, 12)}, []stage.Range{r(0, 12)}, false, "0-8 8-12"},
		{"cut off and grown again", 24, []int64{0, 8, 16}, []stage.Range{r(0, 24)}, []stage.Range{r(0, 12)}, false, "0-8 s-24"},
		{"of an object, the rest clean", 40, []int64{8}, []stage.Range{r(8, 16), r(33, 40)}, []stage.Range{r(0, 40)}, true, "c-8 8-16 s-40"},
		{"of an object that cannot be copied from", 40, []int64{8}, []stage.Range{r(8, 16)}, []stage.Range{r(0, 40)}, false, "s-8 8-16 s-40"},
		{"all of it here again", 16, []int64{0, 8}, []stage.Range{r(0, 16)}, nil, false, ""},
		{"emptied", 0, []int64{0, 8}, nil, nil, false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var spills []catalog.Spill
			for _, off := range tc.spills {
				spills = append(spills, catalog.Spill{Off: off, Len: s, Key: fmt.Sprint(off)})
			}
			caps := provider.Capabilities{MinPartSize: 4}
			var got []string
			for _, p := range planner(caps).piecesOfSpilled(stage.Layout{Size: tc.size, Dirty: tc.dirty, Absent: tc.absent}, spills, tc.patch) {
				kind := "s"
				if p.Copy {
					kind = "c"
				}
				if p.From != nil {
					kind = p.From.Key
				}
				got = append(got, fmt.Sprintf("%s-%d", kind, p.Off+p.Len))
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("parts %q, want %q", got, tc.want)
			}
		})
	}
}

// TestASmallChangeBesideSpillsSendsItsPart: of a file that was stored, was changed in the middle and has grown, of which some is in
// spills.
func TestASmallChangeBesideSpillsSendsItsPart(t *testing.T) {
	const mib = 1 << 20
	l := stage.Layout{Size: 86 * mib, Dirty: []stage.Range{{Off: 20 * mib, Len: mib}, {Off: 60 * mib, Len: 26 * mib}}, Absent: []stage.Range{{Len: 84 * mib}}}
	for _, tc := range []struct {
		caps  provider.Capabilities
		spill int64 // bytes of one
	}{
		{provider.Capabilities{Copy: true, MinPartSize: 5 * mib, MaxParts: 10_000}, 8 * mib},
		{provider.Capabilities{Copy: true, MinPartSize: 1, MaxPartSize: 4 * mib, MaxParts: 500}, 4 * mib},
	} {
		var spills []catalog.Spill
		for off := int64(60 * mib); off < 84*mib; off += tc.spill {
			spills = append(spills, catalog.Spill{Off: off, Len: tc.spill, Key: fmt.Sprint(off)})
		}
		sent := int64(0)
		for _, p := range planner(tc.caps).piecesOfSpilled(l, spills, true) {
			if !p.Copy {
				sent += p.Len
			}
		}
		if sent < 3*mib || sent > 8*mib {
			t.Errorf("%d bytes are sent of a change of 1 MiB and an end of 2, where a part has %d at least", sent, tc.caps.MinPartSize)
		}
	}
}

// TestPartsOfASpilledFileAreLawful: they tile the file, are long enough, copy from a spill only what is absent, and from the
// object only what is clean.
func TestPartsOfASpilledFileAreLawful(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		caps := provider.Capabilities{MinPartSize: rapid.Int64Range(1, 12).Draw(t, "least"), MaxParts: rapid.IntRange(0, 20).Draw(t, "parts")}
		l := stage.Layout{Size: rapid.Int64Range(0, 200).Draw(t, "size")}
		ranges := func(what string, longest int64) (list []stage.Range) {
			for at := int64(0); ; {
				off := at + rapid.Int64Range(0, 40).Draw(t, what)
				end := off + rapid.Int64Range(1, longest).Draw(t, what)
				if end > l.Size || rapid.IntRange(0, 6).Draw(t, "enough") == 0 {
					return list
				}
				list = append(list, stage.Range{Off: off, Len: end - off})
				at = end + 1
			}
		}
		l.Dirty, l.Absent = ranges("dirty", 30), ranges("absent", 80)
		var spills []catalog.Spill
		for _, r := range ranges("spill", 30) {
			spills = append(spills, catalog.Spill{Off: r.Off, Len: r.Len, Key: "k"})
		}
		patch := rapid.Bool().Draw(t, "patch")
		c := planner(caps)
		if rapid.Bool().Draw(t, "in pieces of any size") {
			c.planPatch = planAll
		}
		pieces := c.piecesOfSpilled(l, spills, patch)
		if pieces == nil {
			return
		}
		var at int64
		for i, p := range pieces {
			switch {
			case p.Off != at || p.Len < 1 || i < len(pieces)-1 && p.Len < caps.MinPartSize:
				t.Fatalf("part %d: %+v", i, pieces)
			case p.From != nil && (p.From.Off != p.Off-offsetOf(spills, p.Off) || !holds(l.Absent, p.Off, p.Off+p.Len)):
				t.Fatalf("part %d is not all in its spill: %+v", i, p)
			case p.Copy && p.From == nil && (!patch || len(within(l.Dirty, p.Off, p.Off+p.Len)) > 0):
				t.Fatalf("part %d is not the stored object's: %+v", i, p)
			}
			at += p.Len
		}
		if at != l.Size || caps.MaxParts > 0 && len(pieces) > caps.MaxParts {
			t.Fatalf("%d parts, %d bytes of %d", len(pieces), at, l.Size)
		}
	})
}

// offsetOf returns where the spill begins that has the byte at off.
func offsetOf(spills []catalog.Spill, off int64) int64 {
	for _, s := range spills {
		if s.Off <= off && off < s.Off+s.Len {
			return s.Off
		}
	}
	return -1
}

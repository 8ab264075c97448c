package transfer

import (
	"fmt"
	"math/bits"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sharefs/provider"
	"sharefs/test/soak"
)

func TestMain(m *testing.M) {
	soak.FixRapid()
	m.Run()
}

const mib = 1 << 20

// bucket is what Amazon S3 allows.
var bucket = provider.Capabilities{Copy: true, MinPartSize: 5 * mib, MaxPartSize: 5 << 30, MaxParts: 10_000, MaxObjectSize: 5 << 40}

func TestPlanPatchSendsLittle(t *testing.T) {
	const gib = 1 << 30
	noCopy, few := bucket, bucket
	noCopy.Copy = false
	few.MaxParts = 5
	for _, tc := range []struct {
		name    string
		caps    provider.Capabilities
		size    int64
		changed []Range
		want    string // s: sent, c: copied, in MiB; the whole: ""
	}{
		{"one page in the middle", bucket, gib, []Range{{500 * mib, 4096}}, "c500 s5 c519"},
		{"one page not at a multiple", bucket, gib, []Range{{503*mib + 4096, 4096}}, "c500 s5 c519"},
		{"one page across a multiple", bucket, gib, []Range{{500*mib - 4096, 8192}}, "c499.996 s5 c519.004"},
		{"the first page", bucket, gib, []Range{{0, 4096}}, "s5 c1019"},
		{"near the beginning", bucket, gib, []Range{{2 * mib, 4096}}, "s5 c1019"},
		{"across the end of the smallest first part", bucket, gib, []Range{{5*mib - 4096, 8192}}, "s5.004 c1018.996"},
		{"the last page", bucket, gib, []Range{{gib - 4096, 4096}}, "c1023.996 s0.004"},
		{"both ends", bucket, gib, []Range{{0, 4096}, {gib - 4096, 4096}}, "s5 c1018.996 s0.004"},
		{"near the end", bucket, gib, []Range{{gib - 6*mib, 4096}}, "c1015 s5 c4"},
		{"nearer to the end", bucket, gib, []Range{{gib - 3*mib, 4096}}, "c1021 s3"},
		{"appended", bucket, gib + 7*mib, []Range{{gib, 7 * mib}}, "c1024 s7"},
		{"appended a little", bucket, gib + 100, []Range{{gib, 100}}, "c1024 s0.000"},
		{"cut off", bucket, 800 * mib, nil, "c800"},
		{"nothing", bucket, 3 * gib, nil, "c1024 c1024 c1024"},
		{"two that are close", bucket, gib, []Range{{100 * mib, 4096}, {103 * mib, 4096}}, "c100 s5 c919"},
		{"two for which one part is cheaper", bucket, gib, []Range{{100 * mib, 4096}, {106 * mib, 4096}}, "c100 s6.004 c917.996"},
		{"two for which two parts are cheaper", bucket, gib, []Range{{100 * mib, 4096}, {116 * mib, 4096}}, "c100 s5 c10 s5 c904"},
		{"a large change", bucket, gib, []Range{{100 * mib, 40 * mib}}, "c100 s13.333 s13.333 s13.333 c884"},
		{"everything", bucket, gib, []Range{{0, gib}}, ""},
		{"all but a little", bucket, gib, []Range{{0, gib - 4*mib}}, ""},
		{"most of a file that fits in one request", bucket, 30 * mib, []Range{{0, 24 * mib}}, ""},
		{"a file of three parts", bucket, 15 * mib, []Range{{7 * mib, 1}}, "c5 s5 c5"},
		{"too small", bucket, 7 * mib, []Range{{0, 1}}, ""},
		{"empty", bucket, 0, nil, ""},
		{"too large", bucket, 6 << 40, []Range{{0, 1}}, ""},
		{"no copies", noCopy, gib, []Range{{0, 4096}}, ""},
		{"few parts", few, gib, []Range{{100 * mib, 1}, {200 * mib, 1}, {300 * mib, 1}, {900 * mib, 1}}, "c100 s200.000 c600.000 s5 c119"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []byte
			pieces := PlanPatch(tc.caps, tc.size, tc.changed)
			for _, p := range pieces {
				kind := map[bool]string{true: "c", false: "s"}[p.Copy]
				text := fmt.Sprintf("%.3f", float64(p.Len)/mib)
				if p.Len%mib == 0 {
					text = fmt.Sprint(p.Len / mib)
				}
				got = append(got, " "+kind+text...)
			}
			if string(slices.Concat(got)) != "" && string(got[1:]) != tc.want || len(got) == 0 && tc.want != "" {
				t.Errorf("parts %s, want %s", got, tc.want)
			}
			if pieces != nil {
				if err := legal(tc.caps, tc.size, tc.changed, pieces); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// legal says what is wrong with a plan.
func legal(caps provider.Capabilities, size int64, changed []Range, pieces []Piece) error {
	var at int64
	for i, p := range pieces {
		switch {
		case p.Off != at:
			return fmt.Errorf("part %d begins at %d, the one before ends at %d", i, p.Off, at)
		case p.Len < 1 || i < len(pieces)-1 && p.Len < caps.MinPartSize || caps.MaxPartSize > 0 && p.Len > caps.MaxPartSize:
			return fmt.Errorf("part %d of %d has %d bytes", i, len(pieces), p.Len)
		}
		at += p.Len
		for _, r := range changed {
			if p.Copy && r.Len > 0 && r.Off < p.Off+p.Len && p.Off < r.Off+r.Len {
				return fmt.Errorf("part %d, %+v, copies what was changed: %+v", i, p, r)
			}
		}
	}
	if at != size {
		return fmt.Errorf("the parts end at %d of %d", at, size)
	}
	if caps.MaxParts > 0 && len(pieces) > caps.MaxParts {
		return fmt.Errorf("%d parts", len(pieces))
	}
	return nil
}

// drawChanged draws ranges in order and apart.
func drawChanged(t *rapid.T, size int64, most int) []Range {
	var out []Range
	var at int64
	for range rapid.IntRange(0, most).Draw(t, "ranges") {
		off := at + rapid.Int64Range(0, max(1, size/4)).Draw(t, "gap")
		length := rapid.Int64Range(1, max(1, size/6)).Draw(t, "length")
		if off+length > size {
			break
		}
		out = append(out, Range{off, length})
		at = off + length + 1
	}
	return out
}

// TestPatchesAreLegal: whatever changed, the parts tile the object, have legal sizes, and copy nothing that changed.
func TestPatchesAreLegal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 4000).Draw(t, "size")
		l := cuts{min: rapid.Int64Range(1, 40).Draw(t, "min"), most: rapid.IntRange(0, 30).Draw(t, "most")}
		l.send, l.copy = 3*l.min, 100*l.min
		caps := provider.Capabilities{Copy: true, MinPartSize: l.min, MaxParts: l.most}
		if rapid.Bool().Draw(t, "bounded") {
			caps.MaxPartSize = rapid.Int64Range(l.min, 10*l.min).Draw(t, "max")
		}
		changed := drawChanged(t, size, 20)
		pieces := planPatch(l, caps, size, changed)
		if pieces == nil {
			return
		}
		if err := legal(caps, size, changed, pieces); err != nil {
			t.Fatalf("%v: %+v", err, pieces)
		}
	})
}

// TestPatchesSendNoMoreThanTheyMust compares with the best of all ways to choose the bytes to send.
func TestPatchesSendNoMoreThanTheyMust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 16).Draw(t, "size")
		l := cuts{min: rapid.Int64Range(1, 4).Draw(t, "min"), send: 100, copy: 100}
		changed := drawChanged(t, size, 4)
		var must uint
		for _, r := range changed {
			must |= (1<<r.Len - 1) << r.Off
		}
		best := size
		for sent := must; sent < 1<<size; sent = (sent + 1) | must {
			if n := int64(bits.OnesCount(sent)); n < best && allowed(sent, size, l.min) {
				best = n
			}
		}
		send := l.widen(size, joined(changed, l.min))
		pieces := l.pieces(size, send)
		caps := provider.Capabilities{MinPartSize: l.min}
		if err := legal(caps, size, changed, pieces); err != nil {
			t.Fatalf("%v: %+v", err, pieces)
		}
		if n := Sent(pieces); n != best {
			t.Fatalf("%d bytes are sent, %d are enough: %+v", n, best, pieces)
		}
	})
}

// allowed reports whether all runs of equal bits but the last are long enough.
func allowed(sent uint, size, least int64) bool {
	length := int64(1)
	for i := int64(1); i < size; i++ {
		if sent>>i&1 == sent>>(i-1)&1 {
			length++
			continue
		}
		if length < least {
			return false
		}
		length = 1
	}
	return true
}

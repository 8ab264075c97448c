package stage

import (
	"cmp"
	"slices"
)

func (r Range) end() int64 { return r.Off + r.Len }

// sorted returns the ranges in order and apart.
func sorted(ranges []Range) []Range {
	ranges = slices.Clone(ranges)
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Compare(a.Off, b.Off) })
	var out []Range
	for _, r := range ranges {
		if r.Len <= 0 {
			continue
		}
		if n := len(out); n > 0 && r.Off <= out[n-1].end() {
			out[n-1].Len = max(out[n-1].end(), r.end()) - out[n-1].Off
		} else {
			out = append(out, r)
		}
	}
	return out
}

// without returns what of the ranges is in none of the others. Both are in order and apart.
func without(ranges, others []Range) []Range {
	var out []Range
	for _, r := range ranges {
		for _, o := range others {
			if o.Off >= r.end() {
				break
			}
			if o.end() <= r.Off {
				continue
			}
			if o.Off > r.Off {
				out = append(out, Range{r.Off, o.Off - r.Off})
			}
			r = Range{o.end(), max(0, r.end()-o.end())}
		}
		if r.Len > 0 {
			out = append(out, r)
		}
	}
	return out
}

func total(ranges []Range) (n int64) {
	for _, r := range ranges {
		n += r.Len
	}
	return n
}

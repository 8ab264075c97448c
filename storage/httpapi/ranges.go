package httpapi

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
)

// span is a range of bytes: begin is part of it, end is not.
type span struct{ begin, end int64 }

func (s span) size() int64 { return s.end - s.begin }

// unsatisfiable is the answer to a range that cannot be read or written, and to what is no range at all.
func unsatisfiable(format string, args ...any) error {
	return problem(http.StatusRequestedRangeNotSatisfiable, format, args...)
}

// parseRange reads the Range header of a read. The protocol has exactly one range with both of its ends; several, open ones and
// suffixes are not supported, and 416. given is false when there is no header: then all is asked for.
func parseRange(h http.Header) (s span, given bool, err error) {
	values := h.Values("Range")
	if len(values) == 0 {
		return span{}, false, nil
	}
	if len(values) > 1 {
		return span{}, true, unsatisfiable("several Range headers")
	}
	text, ok := strings.CutPrefix(strings.TrimSpace(values[0]), "bytes=")
	if !ok {
		return span{}, true, unsatisfiable("Range is not in bytes")
	}
	if s, ok = parseSpan(strings.TrimSpace(text)); !ok {
		return span{}, true, unsatisfiable("Range is not one range with a first and a last byte")
	}
	return s, true, nil
}

// parseContentRange reads the Content-Range header of a chunk: bytes FIRST-LAST/LENGTH, with * for a length that is not told.
func parseContentRange(h http.Header) (span, error) {
	values := h.Values("Content-Range")
	if len(values) != 1 {
		return span{}, unsatisfiable("%d Content-Range headers, want one", len(values))
	}
	unit, text, _ := strings.Cut(strings.TrimSpace(values[0]), " ")
	ends, length, ok := strings.Cut(strings.TrimSpace(text), "/")
	if unit != "bytes" || !ok {
		return span{}, unsatisfiable("Content-Range is not of the form: bytes FIRST-LAST/LENGTH")
	}
	s, ok := parseSpan(ends)
	if !ok {
		return span{}, unsatisfiable("Content-Range has no first and last byte")
	}
	if length != "*" {
		n, err := parseNumber(length)
		if err != nil || s.end > n {
			return span{}, unsatisfiable("Content-Range reaches over its own length")
		}
	}
	return s, nil
}

// parseSpan reads FIRST-LAST, both of which are part of the range.
func parseSpan(text string) (span, bool) {
	first, last, ok := strings.Cut(text, "-")
	if !ok {
		return span{}, false
	}
	begin, err := parseNumber(first)
	if err != nil {
		return span{}, false
	}
	end, err := parseNumber(last)
	if err != nil || end < begin {
		return span{}, false
	}
	return span{begin, end + 1}, true
}

// parseNumber reads a decimal number of digits alone, below 2^63-1, so that it is an offset in a file and one more as well.
func parseNumber(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err == nil && n == math.MaxInt64 {
		err = strconv.ErrRange
	}
	return int64(n), err
}

// header is the Content-Range of an answer. Tahoe-LAFS does not tell the length of the whole share there, and its tests want it so.
func (s span) header() string { return fmt.Sprintf("bytes %d-%d/*", s.begin, s.end-1) }

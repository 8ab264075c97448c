package overhttp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sharefs/provider"
)

// Range returns the header of that name for what is to be read; empty for the whole object.
func Range(opts provider.OpenOptions) string {
	switch {
	case opts.Length > 0:
		return fmt.Sprintf("bytes=%d-%d", opts.Offset, opts.Offset+opts.Length-1)
	case opts.Offset > 0:
		return fmt.Sprintf("bytes=%d-", opts.Offset)
	}
	return ""
}

// Extent returns the size of the whole object and the length of the body of an answer, and sees that it is the range that
// was asked for. length is what the answer announces, negative when it does not; contentRange is its header of that name.
func Extent(length int64, contentRange string, opts provider.OpenOptions) (size, body int64, err error) {
	if length < 0 {
		return 0, 0, errors.New("the store did not tell the length of the body")
	}
	start := int64(0)
	size = length
	if contentRange != "" {
		if start, size, err = parseContentRange(contentRange); err != nil {
			return 0, 0, err
		}
	}
	want := max(size-opts.Offset, 0)
	if opts.Length > 0 {
		want = min(want, opts.Length)
	}
	if start != opts.Offset || length != want {
		return 0, 0, fmt.Errorf("asked for %d bytes from %d of %d, the store sent %d from %d", want, opts.Offset, size, length, start)
	}
	return size, length, nil
}

// parseContentRange reads "bytes 0-9/100".
func parseContentRange(value string) (start, size int64, err error) {
	span, whole, ok := strings.Cut(strings.TrimPrefix(value, "bytes "), "/")
	first, _, ok2 := strings.Cut(span, "-")
	start, err1 := strconv.ParseInt(first, 10, 64)
	size, err2 := strconv.ParseInt(whole, 10, 64)
	if !ok || !ok2 || err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("the Content-Range %q cannot be read", value)
	}
	return start, size, nil
}

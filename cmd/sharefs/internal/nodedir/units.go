package nodedir

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var sizePattern = regexp.MustCompile(`^(\d+)\s*([KMGTPE]?)(I?)B?$`)

// parseSize reads a size as docs/configuration.rst has it: 100MB, 100 M, 1MiB, 1048576. Nothing is 0.
func parseSize(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	m := sizePattern.FindStringSubmatch(strings.ToUpper(text))
	if m == nil {
		return 0, fmt.Errorf("%q is no size as 1G, 100MB or 1 MiB", text)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is too large", text)
	}
	unit := int64(1000)
	if m[3] != "" {
		unit = 1024
	}
	for range strings.Index("KMGTPE", m[2]) + 1 {
		if m[2] == "" {
			break
		}
		if n > math.MaxInt64/unit {
			return 0, fmt.Errorf("%q is too large", text)
		}
		n *= unit
	}
	return n, nil
}

const day = 24 * time.Hour

// durations are the units of src/allmydata/util/time_format.py: a month has 31 days, a year 365.
var durations = map[string]time.Duration{
	"s": time.Second, "second": time.Second, "seconds": time.Second,
	"day": day, "days": day,
	"mo": 31 * day, "month": 31 * day, "months": 31 * day,
	"year": 365 * day, "years": 365 * day,
}

var durationPattern = regexp.MustCompile(`^\s*(\d{1,9})\s*([a-z]+)\s*$`)

// parseDuration reads a duration as docs/garbage-collection.rst has it: 7days, 31day, 60 days, 2mo, 3 month, 2years.
func parseDuration(text string) (time.Duration, error) {
	m := durationPattern.FindStringSubmatch(strings.ToLower(text))
	if m == nil || durations[m[2]] == 0 {
		return 0, fmt.Errorf("%q is no duration as 60 days, 2mo or 1 year", text)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || n > math.MaxInt64/int64(durations[m[2]]) {
		return 0, fmt.Errorf("%q is too long", text)
	}
	return time.Duration(n) * durations[m[2]], nil
}

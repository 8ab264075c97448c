package swift

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sharefs/provider"
)

// versionOf returns the Version of an ETag: as it is, with the quotes that Swift puts around that of a large object, which is
// no hash of its bytes but one of its segments' hashes.
func versionOf(etag string) provider.Version { return provider.Version(etag) }

// isLarge reports whether a version is that of a large object, static or dynamic.
func isLarge(v provider.Version) bool { return strings.HasPrefix(string(v), `"`) }

// ifMatch returns the condition that an object has a version.
func ifMatch(v provider.Version) string { return `"` + strings.Trim(string(v), `"`) + `"` }

// object makes an Object of what every kind of answer tells. at is Swift's timestamp of the last change of bytes or metadata.
func object(key string, size int64, version provider.Version, at time.Time) provider.Object {
	o := provider.Object{Key: key, Size: size, Version: version, ModTime: at}
	if !at.IsZero() {
		o.Revision = provider.Revision(fmt.Sprintf("%s@%d.%05d", version, at.Unix(), at.Nanosecond()/int(timeGrain)))
	}
	return o
}

// objectOf makes the Object of the answer to a HEAD or a GET, with the size of the whole.
func objectOf(key string, size int64, h http.Header) provider.Object {
	o := object(key, size, versionOf(h.Get("ETag")), timestamp(h))
	o.Metadata, o.ContentType = metadataOf(h), h.Get("Content-Type")
	return o
}

// timestamp reads X-Timestamp: seconds with five digits behind the point. A gateway that has none has Last-Modified.
func timestamp(h http.Header) time.Time {
	whole, frac, _ := strings.Cut(h.Get("X-Timestamp"), ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	units, err2 := strconv.ParseInt((frac + "00000")[:5], 10, 64)
	if err == nil && err2 == nil {
		return time.Unix(sec, units*int64(timeGrain))
	}
	at, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil {
		return time.Time{}
	}
	return at
}

// listedTime reads the time of a listing, which has six digits and no zone.
func listedTime(text string) time.Time {
	at, err := time.Parse("2006-01-02T15:04:05.999999", strings.TrimSuffix(text, "Z"))
	if err != nil {
		return time.Time{}
	}
	return at.Truncate(timeGrain)
}

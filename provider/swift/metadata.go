package swift

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"sharefs/provider"
)

// metaPrefix begins the headers that carry metadata.
const metaPrefix = "X-Object-Meta-"

// A value that is longer than Swift's limit for one (256 bytes) goes on in further headers, NAME-part-2 and so on. An underscore
// in a name, which Swift's web server takes for a hyphen, is written %5f.
const partName = "-part-"

var (
	escapeName   = strings.NewReplacer("%", "%25", "_", "%5f")
	unescapeName = strings.NewReplacer("%25", "%", "%5f", "_")
)

const (
	// reservedMeta is room for the names of values in parts.
	reservedMeta = 512
	// mostMeta is what a server can keep that has its objects on ext4, whatever the cluster says.
	mostMeta = 2560
)

// maxMetadata is what surely fits, if its names are short and without rare characters.
func (l limits) maxMetadata() int { return max(min(l.Swift.MaxMeta, mostMeta)-reservedMeta, 1) }

// setMetadata adds the headers of metadata. What Swift would refuse is KindTooLarge.
func (l limits) setMetadata(op, key string, h http.Header, md provider.Metadata) error {
	count, total := 0, 0
	for name, value := range md {
		name = escapeName.Replace(name)
		for n := 1; value != ""; n++ {
			header, part := name, value[:min(len(value), l.Swift.MaxMetaValue)]
			// A header's ends are cut of spaces: a part that begins or ends with one takes less.
			if part = part[:len(part)-trailing(part, value)]; part == "" {
				return tooMuch(op, key, "the value of %s has too many spaces in a row", name)
			}
			if n > 1 {
				header += partName + strconv.Itoa(n)
			}
			if len(header) > l.Swift.MaxMetaName {
				return tooMuch(op, key, "the name %s is longer than %d bytes", header, l.Swift.MaxMetaName)
			}
			h.Set(metaPrefix+header, part)
			value = value[len(part):]
			count, total = count+1, total+len(header)+len(part)
		}
	}
	if count > l.Swift.MaxMetaCount || total > l.Swift.MaxMeta {
		return tooMuch(op, key, "%d names and values of %d bytes, the cluster takes %d of %d bytes", count, total, l.Swift.MaxMetaCount, l.Swift.MaxMeta)
	}
	return nil
}

// trailing returns by how much a part is to be shorter so that neither it nor the next one has a space at the cut.
func trailing(part, value string) int {
	end := len(part)
	for end > 0 && end < len(value) && (value[end-1] == ' ' || value[end] == ' ') {
		end--
	}
	return len(part) - end
}

func tooMuch(op, key, format string, args ...any) error {
	return &provider.Error{Op: op, Key: key, Kind: provider.KindTooLarge, Err: fmt.Errorf("metadata: "+format, args...)}
}

// metadataOf returns the metadata of an answer, which may be empty and is not nil.
func metadataOf(h http.Header) provider.Metadata {
	md := provider.Metadata{}
	for header, values := range h {
		if name, ok := cutPrefixFold(header, metaPrefix); ok && len(values) > 0 {
			md[unescapeName.Replace(strings.ToLower(name))] = values[0]
		}
	}
	for name, value := range md {
		for n := 2; ; n++ {
			further := name + partName + strconv.Itoa(n)
			part, ok := md[further]
			if !ok {
				break
			}
			value += part
			md[name] = value
			delete(md, further)
		}
	}
	if _, has := md[provider.MetaMode]; !has && isLink(h.Get("Content-Type")) {
		md[provider.MetaMode] = strconv.Itoa(provider.ModeSymlink | 0o777)
	}
	return md
}

// typeLink is the content type that other file systems over Swift give to symlinks, whose body is the target.
const typeLink = "application/link"

// typeDefault is what an object is when nothing is known of it. Swift would guess from the name.
const typeDefault = "application/octet-stream"

func isLink(contentType string) bool { return contentType == typeLink }

// typeOf returns the content type to store: of a symlink the one by which others know it.
func typeOf(contentType string, md provider.Metadata) string {
	if contentType != "" {
		return contentType
	}
	if a := provider.ParseAttrs(md); a.Has&provider.HasMode != 0 && a.Mode&provider.ModeType == provider.ModeSymlink {
		return typeLink
	}
	return typeDefault
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

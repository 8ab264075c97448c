package replicate

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"sharefs/provider"
)

// markPrefix begins the provider.MetaPut of a copy: "copied-REVISION-METADATA", two hashes. Every other change of the object,
// by a mount or by another program, takes it away or does not fit it any more.
const markPrefix = "copied-"

// mark returns what a copy carries of a revision of the source, with the metadata that it is given.
func (c *Copier) mark(o provider.Object, given provider.Metadata) string {
	return markPrefix + c.revision(o) + "-" + hashMetadata(o.IsDir(), given)
}

// marked reports whether a copy is of this revision of the source, and as it was made.
func (c *Copier) marked(copied, o provider.Object) bool {
	return copied.Metadata[provider.MetaPut] == c.mark(o, copied.Metadata)
}

// revision names what an object is of the source. A real directory has another Revision whenever anything in it changes;
// what counts of it is its metadata.
func (c *Copier) revision(o provider.Object) string {
	if o.IsDir() && c.src.Capabilities().ListMetadata {
		return hashMetadata(true, o.Metadata)
	}
	return hash(string(o.Revision))
}

// given returns the metadata of a copy, but for its mark. A file without a modification time has that of its object, which
// is what a mount shows.
func given(o provider.Object) provider.Metadata {
	md := provider.Metadata{}
	maps.Copy(md, o.Metadata)
	delete(md, provider.MetaPut)
	if md[provider.MetaMtime] == "" && !o.IsDir() && !o.ModTime.IsZero() {
		maps.Copy(md, provider.Attrs{Mtime: o.ModTime, Has: provider.HasMtime}.Metadata())
	}
	return md
}

// hashMetadata tells one metadata from another, but for the mark, and the times of directories, which change by themselves.
func hashMetadata(dir bool, md provider.Metadata) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(md)) {
		switch name {
		case provider.MetaPut:
			continue
		case provider.MetaMtime, provider.MetaCtime, provider.MetaAtime:
			if dir {
				continue
			}
		}
		b.WriteString(name + "\x00" + md[name] + "\x00")
	}
	return hash(b.String())
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

package swift

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"sharefs/provider"
)

// paramManifest is the parameter by which a request is for a manifest.
const paramManifest = "multipart-manifest"

// entry is one segment in a manifest (https://docs.openstack.org/swift/latest/overview_large_objects.html), as it is got.
type entry struct {
	Name  string `json:"name"` // /CONTAINER/OBJECT
	Hash  string `json:"hash"`
	Bytes int64  `json:"bytes"`
	Range string `json:"range,omitempty"`   // FIRST-LAST: not the whole segment
	Sub   bool   `json:"sub_slo,omitempty"` // a large object itself
	Data  string `json:"data,omitempty"`    // bytes that stand in the manifest, base64
}

// whole reports whether the entry is a segment and all of it.
func (e entry) whole() bool { return e.Range == "" && !e.Sub && e.Data == "" }

// manifest is what a large object consists of.
type manifest []entry

// version returns the Version of the object, when the manifest has whole segments only, which those of ours do.
func (m manifest) version() provider.Version {
	sum := md5.New()
	for _, e := range m {
		_, _ = io.WriteString(sum, e.Hash) // never fails
	}
	return provider.Version(`"` + hex.EncodeToString(sum.Sum(nil)) + `"`)
}

// ours returns the names of the segments that were uploaded for a key.
func (m manifest) ours(container, dir string) []string {
	var names []string
	for _, e := range m {
		name, ok := strings.CutPrefix(e.Name, "/"+container+"/")
		if n, parsed := parseSegment(name); ok && parsed && n.dir == dir {
			names = append(names, name)
		}
	}
	return names
}

// set returns ours to look names up in.
func (m manifest) set(container, dir string) map[string]bool {
	names := map[string]bool{}
	for _, name := range m.ours(container, dir) {
		names[name] = true
	}
	return names
}

// manifest returns what an object consists of; nil when it is no static large object. The newest counts, not that of the
// replica that answers first: what it does not name may be deleted.
func (s *store) manifest(ctx context.Context, op, key string) (manifest, error) {
	res, err := s.do(ctx, request{op: op, key: key, method: http.MethodGet, container: s.cfg.Container, object: key,
		query: url.Values{paramManifest: {"get"}}, header: http.Header{"X-Newest": {"true"}}})
	if err != nil {
		return nil, s.missing(ctx, op, key, err)
	}
	if res.Header.Get("X-Static-Large-Object") == "" {
		_ = res.Body.Close() // and all of the object's bytes with it
		return nil, nil
	}
	defer res.close()
	var m manifest
	if err := json.NewDecoder(res.Body).Decode(&m); err != nil {
		return nil, provider.E(ctx, op, key, provider.KindUnavailable, fmt.Errorf("the manifest breaks off: %w", err))
	}
	return m, nil
}

// putManifest makes an object of its segments, which the cluster looks at one by one.
func (s *store) putManifest(ctx context.Context, op, key string, m manifest, header http.Header) error {
	type segment struct {
		Path string `json:"path"`
		ETag string `json:"etag"`
		Size int64  `json:"size_bytes"`
	}
	segments := make([]segment, len(m))
	for i, e := range m {
		segments[i] = segment{e.Name, e.Hash, e.Bytes}
	}
	text, err := json.Marshal(segments)
	if err != nil {
		return err
	}
	header = header.Clone()
	header.Set("ETag", strings.Trim(string(m.version()), `"`))
	res, err := s.do(ctx, request{op: op, key: key, method: http.MethodPut, container: s.cfg.Container, object: key,
		query: url.Values{paramManifest: {"put"}}, header: header, body: bytes.NewReader(text), size: int64(len(text)), slow: true})
	if err != nil {
		return err
	}
	res.close()
	return nil
}

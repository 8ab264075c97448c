package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"sharefs/test/servers"
)

// Uploads counts the uploads in parts that are under way, or were left, for the keys with a prefix. MinIO lists those of one
// key only. Of a Swift they are those whose segments nothing uses.
func (s *Store) Uploads(tb testing.TB, prefix string) int {
	tb.Helper()
	if s.Swift != nil {
		return s.unused(tb, prefix)
	}
	out, err := s.Server.Client().ListMultipartUploads(tb.Context(), &s3.ListMultipartUploadsInput{Bucket: &s.Bucket, Prefix: &prefix})
	if err != nil {
		tb.Fatalf("listing the uploads of %s: %v", s.Bucket, err)
	}
	return len(out.Uploads)
}

// unused counts the uploads that have segments, named KEY/ID/NUMBER, of which the key's manifest names none.
func (s *Store) unused(tb testing.TB, prefix string) int {
	tb.Helper()
	container := s.Bucket + "_segments"
	listed, err := s.Swift.List(tb.Context(), container, prefix, "")
	if missing(err) {
		return 0
	}
	if err != nil {
		tb.Fatalf("listing %s: %v", container, err)
	}
	uses := map[string]map[string]bool{} // by key: what its manifest names
	left := map[string]bool{}
	for _, l := range listed {
		upload := path.Dir(l.Name)
		key := path.Dir(upload)
		if uses[key] == nil {
			uses[key] = s.segmentsOf(tb, key)
		}
		if !uses[key]["/"+container+"/"+l.Name] {
			left[upload] = true
		}
	}
	return len(left)
}

// segmentsOf returns what an object's manifest names: nothing when it is no large object, or none at all.
func (s *Store) segmentsOf(tb testing.TB, key string) map[string]bool {
	tb.Helper()
	used := map[string]bool{}
	res, err := s.Swift.Do(tb.Context(), servers.SwiftRequest{Method: http.MethodGet, Container: s.Bucket, Key: key,
		Query: url.Values{"multipart-manifest": {"get"}}})
	if missing(err) {
		return used
	}
	if err != nil {
		tb.Fatalf("the manifest of %s: %v", key, err)
	}
	defer res.Body.Close()
	if !strings.EqualFold(res.Header.Get("X-Static-Large-Object"), "true") {
		return used
	}
	var entries []struct{ Name string }
	if err := json.NewDecoder(res.Body).Decode(&entries); err != nil {
		tb.Fatalf("the manifest of %s: %v", key, err)
	}
	for _, e := range entries {
		used[e.Name] = true
	}
	return used
}

// putSegments stores what is too large for one object as Swift's own client does: in segments, in a container of their own.
func (s *Store) putSegments(tb testing.TB, key string, body []byte) {
	tb.Helper()
	container := s.Bucket + "_others"
	put := func(r servers.SwiftRequest) {
		tb.Helper()
		r.Method = http.MethodPut
		res, err := s.Swift.Do(tb.Context(), r)
		if err != nil {
			tb.Fatalf("storing %s in segments: %v", key, err)
		}
		if err := res.Body.Close(); err != nil {
			tb.Fatal(err)
		}
	}
	put(servers.SwiftRequest{Container: container})
	type segment struct {
		Path string `json:"path"`
	}
	var manifest []segment
	for part := range slices.Chunk(body, SmallObject) {
		name := fmt.Sprintf("%s/%08d", key, len(manifest))
		put(servers.SwiftRequest{Container: container, Key: name, Body: part})
		manifest = append(manifest, segment{"/" + container + "/" + name})
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		tb.Fatal(err)
	}
	put(servers.SwiftRequest{Container: s.Bucket, Key: key, Query: url.Values{"multipart-manifest": {"put"}}, Body: text})
}

func missing(err error) bool {
	var status *servers.SwiftStatus
	return errors.As(err, &status) && status.Status == http.StatusNotFound
}

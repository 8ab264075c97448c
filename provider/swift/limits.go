package swift

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"sharefs/provider"
)

// limits are what a cluster tells of itself under /info
// (https://docs.openstack.org/api-ref/object-store/, "List activated capabilities"). The zero value of a field means that it
// does not say; then Swift's own default holds.
type limits struct {
	Swift struct {
		MaxFileSize  int64 `json:"max_file_size"`
		MaxName      int   `json:"max_object_name_length"`
		MaxMeta      int   `json:"max_meta_overall_size"`
		MaxMetaValue int   `json:"max_meta_value_length"`
		MaxMetaName  int   `json:"max_meta_name_length"`
		MaxMetaCount int   `json:"max_meta_count"`
		ListingLimit int   `json:"container_listing_limit"`
	} `json:"swift"`
	SLO *struct {
		MaxSegments int   `json:"max_manifest_segments"`
		MinSegment  int64 `json:"min_segment_size"`
	} `json:"slo"`
	BulkDelete *struct {
		Max int `json:"max_deletes_per_request"`
	} `json:"bulk_delete"`
}

// maxBatch is how many names are deleted by one request, where the cluster takes more: it deletes two at a time, says nothing for ten
// seconds, and goes on with the rest when nobody waits any more. So a request must be over in the time that any other may take:
// what is stored anew under one of the names waits no longer than that for a delete that may come late.
const maxBatch = 25

// askLimits asks the cluster. One that does not tell has Swift's own limits.
func (s *store) askLimits(ctx context.Context) (limits, error) {
	var l limits
	res, err := s.do(ctx, request{op: "open", method: http.MethodGet, info: true})
	switch provider.KindOf(err) {
	case provider.KindNotFound, provider.KindNoStore, provider.KindDenied, provider.KindUnsupported, provider.KindInvalid:
		return l.withDefaults(), nil
	}
	if err != nil {
		return l, err
	}
	defer res.close()
	if err := json.NewDecoder(res.Body).Decode(&l); err != nil {
		return l, provider.E(ctx, "open", "", provider.KindUnavailable, fmt.Errorf("what the cluster tells of its limits cannot be read: %w", err))
	}
	return l.withDefaults(), nil
}

// infoURL returns where a cluster tells its limits.
func infoURL(storage string) (string, error) {
	u, err := url.Parse(storage)
	if err != nil {
		return "", err
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/info"}).String(), nil
}

func (l limits) withDefaults() limits {
	orElse(&l.Swift.MaxFileSize, 5368709122)
	orElse(&l.Swift.MaxName, maxKey)
	orElse(&l.Swift.MaxMeta, 4096)
	orElse(&l.Swift.MaxMetaValue, 256)
	orElse(&l.Swift.MaxMetaName, 128)
	orElse(&l.Swift.MaxMetaCount, 90)
	orElse(&l.Swift.ListingLimit, 10000)
	if l.SLO != nil {
		orElse(&l.SLO.MaxSegments, 1000)
	}
	return l
}

func orElse[T int | int64](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// capabilities returns what follows from the limits. Half of the segments that an object may have are for the parts of an
// upload: a part that is copied from a large object may be several (see reuse).
func (l limits) capabilities() provider.Capabilities {
	caps := provider.Capabilities{
		Copy:           true,
		MaxObjectSize:  l.Swift.MaxFileSize,
		MaxPutSize:     l.Swift.MaxFileSize,
		MaxCopySize:    l.Swift.MaxFileSize,
		MaxPartSize:    l.Swift.MaxFileSize,
		MaxParts:       1,
		MaxKey:         l.Swift.MaxName,
		MaxComponent:   maxFileName,
		MaxMetadata:    l.maxMetadata(),
		MaxListPage:    l.Swift.ListingLimit,
		MaxDeleteBatch: 1,
		TimeGrain:      timeGrain,
	}
	if l.SLO != nil {
		caps.MaxParts = max(l.SLO.MaxSegments/2, 1)
		caps.MaxObjectSize *= int64(caps.MaxParts)
		if l.SLO.MinSegment > 1 {
			caps.MinPartSize = l.SLO.MinSegment
		}
	}
	if l.BulkDelete != nil {
		caps.MaxDeleteBatch = max(min(l.BulkDelete.Max, maxBatch), 1)
	}
	return caps
}

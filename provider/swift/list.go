package swift

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"sharefs/provider"
)

// lastRune sorts after all others: what is after "dir/" and it is after all that is below the directory.
const lastRune = "\U0010FFFF"

// listed is an object, or a directory, in a listing. It comes as JSON: in the plain form a name may not have a newline.
type listed struct {
	Name        string `json:"name"`
	Subdir      string `json:"subdir"`
	Bytes       int64  `json:"bytes"`
	Hash        string `json:"hash"`
	Modified    string `json:"last_modified"`
	ContentType string `json:"content_type"`
	SLO         string `json:"slo_etag"` // of a static large object, whose Hash is that of its manifest
}

// List returns one page with one request, and one more for each empty object in it: such may be a large object of the dynamic
// kind, of which a listing tells nothing.
func (s *store) List(ctx context.Context, opts provider.ListOptions) (provider.Page, error) {
	const op = "list"
	limit := opts.Limit
	if limit <= 0 || limit > s.caps.MaxListPage {
		limit = s.caps.MaxListPage
	}
	after := opts.After
	if opts.Token != "" {
		after = opts.Token
	}
	marker, delimiter := after, ""
	if !opts.Flat {
		delimiter = "/"
		if rest, below := strings.CutPrefix(after, opts.Prefix); below {
			if dir, _, ok := strings.Cut(rest, "/"); ok {
				marker = opts.Prefix + dir + "/" + lastRune // not from within a directory, which would come again
			}
		}
	}
	page, err := s.listContainer(ctx, op, s.cfg.Container, opts.Prefix, delimiter, marker, limit)
	if err != nil {
		return provider.Page{}, err
	}
	s.seen.Store(true)
	objects := make([]provider.Object, 0, len(page))
	for _, l := range page {
		objects = append(objects, l.object())
	}
	var next string
	if len(page) == limit { // the cluster does not say whether there is more
		next = objects[len(objects)-1].Key
	}
	objects = slices.DeleteFunc(objects, func(o provider.Object) bool { return o.Key <= after })
	objects, err = s.lookAtEmpty(ctx, objects)
	return provider.Page{Objects: objects, Next: next}, err
}

// listContainer asks for one page of a container.
func (s *store) listContainer(ctx context.Context, op, container, prefix, delimiter, marker string, limit int) ([]listed, error) {
	query := url.Values{"format": {"json"}, "limit": {strconv.Itoa(limit)}}
	for name, value := range map[string]string{"prefix": prefix, "delimiter": delimiter, "marker": marker} {
		if value != "" {
			query.Set(name, value)
		}
	}
	res, err := s.do(ctx, request{op: op, key: prefix, method: http.MethodGet, container: container, query: query})
	if err != nil {
		return nil, err
	}
	defer res.close()
	var page []listed
	if res.StatusCode == http.StatusNoContent {
		return nil, nil
	}
	if err := json.NewDecoder(res.Body).Decode(&page); err != nil {
		return nil, provider.E(ctx, op, prefix, provider.KindUnavailable, fmt.Errorf("the listing breaks off: %w", err))
	}
	return page, nil
}

func (l listed) object() provider.Object {
	if l.Subdir != "" {
		return provider.Object{Key: l.Subdir}
	}
	version := l.Hash
	if l.SLO != "" {
		version = ifMatch(provider.Version(l.SLO))
	}
	o := object(l.Name, l.Bytes, versionOf(version), listedTime(l.Modified))
	o.ContentType = l.ContentType
	return o
}

// emptyHash is the hash of no bytes.
var emptyHash = provider.Version(hex.EncodeToString(md5.New().Sum(nil)))

// parallelHeads is how many requests lookAtEmpty has under way.
const parallelHeads = 8

// lookAtEmpty asks for the objects that seem to be empty. One that is gone meanwhile is left out.
func (s *store) lookAtEmpty(ctx context.Context, objects []provider.Object) ([]provider.Object, error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelHeads)
	for i, o := range objects {
		if o.Size != 0 || o.IsDir() || o.Version != emptyHash {
			continue
		}
		g.Go(func() error {
			found, _, err := s.head(gctx, "list", o.Key, "")
			switch {
			case provider.Is(err, provider.KindNotFound):
				objects[i] = provider.Object{}
				return nil
			case err != nil:
				return err
			}
			found.Metadata = nil // as of the others
			objects[i] = found
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(objects, func(o provider.Object) bool { return o.Key == "" }), nil
}

package swift

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"sharefs/provider"
)

// Delete deletes one key with a DELETE, several with one request for as many as the cluster takes at once, and the segments of
// large objects with them.
func (s *store) Delete(ctx context.Context, opts provider.DeleteOptions, keys ...string) error {
	const op = "delete"
	if len(keys) == 0 {
		return ctx.Err()
	}
	if opts.IfVersion != "" {
		return provider.Unsupported(op, keys[0], "Swift does not check the version of what it deletes")
	}
	var old []*remains
	for _, key := range keys {
		r, err := s.replaced(ctx, op, key)
		if err != nil {
			return err
		}
		old = append(old, r)
	}
	err := s.deleteFrom(ctx, s.cfg.Container, keys)
	failed := map[string]bool{}
	for _, e := range provider.Failed(err) {
		failed[e.Key] = true
	}
	if err == nil || len(failed) > 0 {
		for i, key := range keys {
			if !failed[key] {
				s.tidy(ctx, old[i], nil)
			}
		}
	}
	return err
}

// deleteFrom deletes names of a container.
func (s *store) deleteFrom(ctx context.Context, container string, names []string) error {
	if len(names) == 1 {
		return s.deleteOne(ctx, container, names[0])
	}
	var failed provider.DeleteErrors
	if s.limits.BulkDelete == nil {
		for _, name := range unique(names) {
			if err := s.deleteOne(ctx, container, name); err != nil {
				var pe *provider.Error
				if !errors.As(err, &pe) {
					return err
				}
				failed = append(failed, pe)
			}
		}
		return provider.NewDeleteError(failed)
	}
	for chunk := range slices.Chunk(unique(names), s.caps.MaxDeleteBatch) {
		bad, token, err := s.deleteBatch(ctx, container, chunk)
		if err == nil && token != "" && len(bad) > 0 && bad[0].Kind == provider.KindAuth {
			// The token is looked at for each name, not for the request: what do does for others is done here.
			if _, err := s.session.token(ctx, token); err != nil {
				return loginFailed(ctx, "delete", err)
			}
			bad, _, err = s.deleteBatch(ctx, container, chunk)
		}
		if err != nil {
			return err
		}
		failed = append(failed, bad...)
	}
	return provider.NewDeleteError(failed)
}

func unique(names []string) []string {
	seen := make(map[string]bool, len(names))
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		again := seen[name]
		seen[name] = true
		return again
	})
}

func (s *store) deleteOne(ctx context.Context, container, name string) error {
	res, err := s.do(ctx, request{op: "delete", key: name, method: http.MethodDelete, container: container, object: name})
	switch {
	case err == nil:
		res.close()
		return nil
	case container == s.cfg.Container:
		err = s.missing(ctx, "delete", name, err)
	}
	if provider.Is(err, provider.KindNotFound) {
		return nil
	}
	return err
}

// deleteBatch returns the names that failed; all of them when the request did; and the token that it was sent with. The error
// is the context's. The answer's status is always 200; what became of it stands in the body.
func (s *store) deleteBatch(ctx context.Context, container string, names []string) (provider.DeleteErrors, string, error) {
	const op = "delete"
	var body strings.Builder
	for _, name := range names {
		body.WriteString("/" + escape(container) + "/" + escape(name) + "\n")
	}
	res, err := s.do(ctx, request{
		op: op, method: http.MethodPost, query: url.Values{"bulk-delete": {"true"}}, slow: true,
		header: http.Header{"Content-Type": {"text/plain"}, "Accept": {"application/json"}},
		body:   strings.NewReader(body.String()), size: int64(body.Len()),
	})
	if err != nil {
		failed, err := allFailed(ctx, names, err)
		return failed, "", err
	}
	defer res.close()
	var said bulkAnswer
	if err := json.NewDecoder(res.Body).Decode(&said); err != nil {
		failed, err := allFailed(ctx, names, &provider.Error{Op: op, Kind: provider.KindUnavailable, Unanswered: true, // the cluster goes on
			Err: fmt.Errorf("the cluster's answer breaks off: %w", err)})
		return failed, "", err
	}
	failed := failedOf(container, said.Errors)
	if len(failed) == 0 {
		if why := said.problem(len(names)); why != nil {
			failed, err = allFailed(ctx, names, why)
		}
	}
	return failed, res.token, err
}

// bulkAnswer says what became of a bulk delete.
type bulkAnswer struct {
	Status  string     `json:"Response Status"`
	Text    string     `json:"Response Body"`
	Deleted int        `json:"Number Deleted"`
	Missing int        `json:"Number Not Found"`
	Errors  [][]string `json:"Errors"`
}

// problem returns why not all of so many names are gone, when no name of them is in the answer.
func (b bulkAnswer) problem(names int) *provider.Error {
	status := statusNumber(b.Status)
	if status/100 == 2 && b.Deleted+b.Missing == names {
		return nil
	}
	kind := kindOf(status)
	if status/100 == 2 {
		kind = provider.KindUnavailable
	}
	return &provider.Error{Op: "delete", Kind: kind,
		Err: fmt.Errorf("%d of %d deleted, %d not found: %s: %s", b.Deleted, names, b.Missing, b.Status, b.Text)}
}

// failedOf reads the pairs of a path and a status.
func failedOf(container string, pairs [][]string) provider.DeleteErrors {
	var failed provider.DeleteErrors
	for _, pair := range pairs {
		if len(pair) != 2 {
			continue
		}
		path, err := url.PathUnescape(pair[0])
		if err != nil {
			path = pair[0]
		}
		status := statusNumber(pair[1])
		if status == http.StatusNotFound {
			continue
		}
		name := strings.TrimPrefix(strings.TrimPrefix(path, "/"), container+"/")
		failed = append(failed, &provider.Error{Op: "delete", Key: name, Kind: kindOf(status), Err: errors.New(pair[1])})
	}
	return failed
}

// statusNumber reads "404 Not Found".
func statusNumber(text string) int {
	digits, _, _ := strings.Cut(text, " ")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return http.StatusInternalServerError
	}
	return n
}

func allFailed(ctx context.Context, names []string, err error) (provider.DeleteErrors, error) {
	var pe *provider.Error
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if !errors.As(err, &pe) {
		return nil, err
	}
	failed := make(provider.DeleteErrors, len(names))
	for i, name := range names {
		one := *pe
		one.Key = name
		failed[i] = &one
	}
	return failed, nil
}

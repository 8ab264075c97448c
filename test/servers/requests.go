package servers

import (
	"net/http"
	"strings"
)

// Request is a kind of request, named as S3 has it, as the bill and a design's floor count them.
type Request string

// The kinds of requests.
const (
	Put            Request = "PUT"
	Copy           Request = "COPY"
	Get            Request = "GET"
	Head           Request = "HEAD"
	Delete         Request = "DELETE"
	DeleteBatch    Request = "DELETE batch"
	List           Request = "LIST"
	CreateUpload   Request = "UPLOAD create"
	PutPart        Request = "UPLOAD part"
	CopyPart       Request = "UPLOAD part copy"
	CompleteUpload Request = "UPLOAD complete"
	AbortUpload    Request = "UPLOAD abort"
	ListParts      Request = "UPLOAD list parts"
	ListUploads    Request = "UPLOAD list"
	CreateBucket   Request = "BUCKET create"
	HeadBucket     Request = "BUCKET head"
	Other          Request = "other"
)

// classify tells the kind of a request: of Swift, or of S3 with a path-style address.
func classify(r *http.Request) Request {
	if kind, ok := classifySwift(r); ok {
		return kind
	}
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	if key == "" {
		return classifyBucket(r)
	}
	copied := r.Header.Get("X-Amz-Copy-Source") != ""
	part := query.Has("uploadId")
	switch r.Method {
	case http.MethodGet:
		if part {
			return ListParts
		}
		return Get
	case http.MethodHead:
		return Head
	case http.MethodPut:
		switch {
		case part && copied:
			return CopyPart
		case part:
			return PutPart
		case copied:
			return Copy
		}
		return Put
	case http.MethodPost:
		switch {
		case query.Has("uploads"):
			return CreateUpload
		case part:
			return CompleteUpload
		}
	case http.MethodDelete:
		if part {
			return AbortUpload
		}
		return Delete
	}
	return Other
}

// own reports whether a request is for the claim or the checkpoint that sharefs keeps in each store, or lists them.
func own(r *http.Request) bool {
	for _, name := range []string{r.URL.Path, r.URL.Query().Get("prefix")} {
		if strings.Contains(name, ".sharefs/claim-") || strings.Contains(name, ".sharefs/catalog-") {
			return true
		}
	}
	return false
}

func classifyBucket(r *http.Request) Request {
	query := r.URL.Query()
	switch r.Method {
	case http.MethodGet:
		if query.Has("uploads") {
			return ListUploads
		}
		for _, sub := range []string{"location", "versioning", "policy", "acl", "versions"} {
			if query.Has(sub) {
				return Other
			}
		}
		if strings.Trim(r.URL.Path, "/") == "" {
			return Other // of all buckets
		}
		return List
	case http.MethodHead:
		return HeadBucket
	case http.MethodPut:
		if r.URL.RawQuery == "" || query.Has("x-id") {
			return CreateBucket
		}
	case http.MethodPost:
		if query.Has("delete") {
			return DeleteBatch
		}
	}
	return Other
}

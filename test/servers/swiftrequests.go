package servers

import (
	"net/http"
	"strings"
)

// The kinds of requests that only Swift has.
const (
	Authenticate Request = "AUTH"
	Post         Request = "POST"         // other metadata for an object
	GetManifest  Request = "MANIFEST get" // of a large object
)

// segmentsSuffix ends the names of the containers that hold the segments of large objects.
const segmentsSuffix = "_segments"

// classifySwift tells the kind of a request in Swift's own protocol; ok is false when it is none.
func classifySwift(r *http.Request) (kind Request, ok bool) {
	if strings.HasPrefix(r.URL.Path, "/auth/") {
		return Authenticate, true
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	if !ok {
		return Other, r.URL.Path == "/info"
	}
	_, path, _ = strings.Cut(path, "/") // the account
	container, key, _ := strings.Cut(path, "/")
	switch {
	case r.Method == http.MethodPost && r.URL.Query().Has("bulk-delete"):
		return DeleteBatch, true
	case container == "":
		return Other, true
	case key == "":
		return classifyContainer(r), true
	}
	return classifyObject(r, strings.HasSuffix(container, segmentsSuffix)), true
}

func classifyContainer(r *http.Request) Request {
	switch r.Method {
	case http.MethodGet:
		return List
	case http.MethodHead:
		return HeadBucket
	case http.MethodPut:
		return CreateBucket
	}
	return Other
}

func classifyObject(r *http.Request, segment bool) Request {
	query := r.URL.Query()
	switch r.Method {
	case http.MethodGet:
		if query.Get("multipart-manifest") == "get" {
			return GetManifest
		}
		return Get
	case http.MethodHead:
		return Head
	case http.MethodPost:
		return Post
	case http.MethodDelete:
		return Delete
	case "COPY":
		return Copy
	case http.MethodPut:
		copied := r.Header.Get("X-Copy-From") != ""
		switch {
		case query.Get("multipart-manifest") == "put":
			return CompleteUpload
		case segment && copied:
			return CopyPart
		case segment && r.ContentLength == 0:
			return CreateUpload
		case segment:
			return PutPart
		case copied:
			return Copy
		}
		return Put
	}
	return Other
}

package httpapi

import (
	"encoding/json"
	"net/http"

	"github.com/fxamacker/cbor/v2"
)

// protocolV1 names the version of the protocol in the answer to GET version.
const protocolV1 = "http://allmydata.org/tahoe/protocols/storage/v1"

// version is
//
//	{ 'http://allmydata.org/tahoe/protocols/storage/v1' => {
//	    'maximum-immutable-share-size' => uint
//	    'maximum-mutable-share-size' => uint
//	    'available-space' => uint
//	  }
//	  'application-version' => bstr
//	}
//
// Its keys are byte strings, which in JSON, where the specification gives no rule for keys, are text; application-version is base64
// there, as all bytes are.
type version struct {
	maxImmutable, maxMutable, available int64
	application                         string
}

func (v version) fields() map[string]int64 {
	return map[string]int64{
		"maximum-immutable-share-size": v.maxImmutable,
		"maximum-mutable-share-size":   v.maxMutable,
		"available-space":              v.available,
	}
}

func (v version) MarshalCBOR() ([]byte, error) {
	limits := map[cbor.ByteString]int64{}
	for name, n := range v.fields() {
		limits[cbor.ByteString(name)] = n
	}
	return sorted.Marshal(map[cbor.ByteString]any{protocolV1: limits, "application-version": []byte(v.application)})
}

func (v version) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{protocolV1: v.fields(), "application-version": []byte(v.application)})
}

// version tells what the server is and takes: GET version.
func (s *Server) version(c *call) error {
	limits := s.store.Limits()
	return s.send(c, http.StatusOK, version{limits.MaxImmutable, limits.MaxMutable, limits.Available, s.options.Version})
}

package httpapi

import (
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// format is how the body of a message is encoded ("Message Encoding" of the specification).
type format string

const (
	formatCBOR format = "application/cbor"
	formatJSON format = "application/json"
)

// bodyFormat returns how the body of a request is encoded: in CBOR, unless its Content-Type says otherwise.
func bodyFormat(h http.Header) (format, error) {
	text := h.Get("Content-Type")
	if text == "" {
		return formatCBOR, nil
	}
	media, _, err := mime.ParseMediaType(text)
	if f := format(media); err == nil && (f == formatCBOR || f == formatJSON) {
		return f, nil
	}
	return "", problem(http.StatusUnsupportedMediaType, "the body is neither %s nor %s", formatCBOR, formatJSON)
}

// answerFormat returns the format that a request prefers for the answer. CBOR wins when the client has no preference.
func answerFormat(h http.Header) (format, error) {
	accept := strings.Join(h.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return formatCBOR, nil
	}
	// How much each is wanted, and how exactly that was said: a type, application/*, or */* (RFC 9110 section 12.5.1).
	type wish struct {
		weight float64
		exact  int
	}
	wishes := map[format]wish{formatCBOR: {exact: -1}, formatJSON: {exact: -1}}
	for part := range strings.SplitSeq(accept, ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		weight := 1.0
		if q, ok := params["q"]; ok {
			if weight, err = strconv.ParseFloat(q, 64); err != nil || !(weight >= 0 && weight <= 1) {
				continue
			}
		}
		for f, known := range wishes {
			exact := map[string]int{string(f): 2, "application/*": 1, "*/*": 0}
			if e, ok := exact[media]; ok && e > known.exact {
				wishes[f] = wish{weight, e}
			}
		}
	}
	inCBOR, inJSON := wishes[formatCBOR].weight, wishes[formatJSON].weight
	switch {
	case inCBOR > 0 && inCBOR >= inJSON:
		return formatCBOR, nil
	case inJSON > 0:
		return formatJSON, nil
	}
	return "", problem(http.StatusNotAcceptable, "answers are in %s or %s", formatCBOR, formatJSON)
}

// encode writes the body of an answer. In CBOR map keys are in the order of their bytes, so that equal answers have equal bytes.
func encode(f format, v any) ([]byte, error) {
	if f == formatJSON {
		b, err := json.Marshal(v)
		return append(b, '\n'), err
	}
	return sorted.Marshal(v)
}

var sorted = must(cbor.EncOptions{Sort: cbor.SortBytewiseLexical}.EncMode())

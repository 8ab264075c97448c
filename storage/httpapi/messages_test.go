package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"sharefs/storage"
)

// times is a list of so many equal elements.
func times(n int, v any) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = v
	}
	return list
}

func without(m fields, name string) fields {
	copied := fields{}
	for k, v := range m {
		if k != name {
			copied[k] = v
		}
	}
	return copied
}

func with(m fields, name string, v any) fields {
	copied := without(m, name)
	copied[name] = v
	return copied
}

// TestMessagesAreOfTheirSchemas has for each rule of the schemas a message that is just within, or just not.
func TestMessagesAreOfTheirSchemas(t *testing.T) {
	allocate := fields{"share-numbers": set(1, 7), "allocated-size": 48}
	numbers := make([]uint64, maxSet+1)
	for i := range numbers {
		numbers[i] = uint64(i)
	}
	read := fields{"offset": 3, "size": 12}
	test := fields{"offset": 3, "size": 5, "specimen": []byte("hello")}
	write := fields{"offset": 9, "data": []byte("world")}
	share := fields{"test": []fields{test}, "write": []fields{write}, "new-length": 5}
	slot := fields{"test-write-vectors": map[uint64]any{0: share}, "read-vector": []fields{read}}
	shares := func(v any) fields { return with(slot, "test-write-vectors", v) }
	of := func(share fields) fields { return shares(map[uint64]any{0: share}) }
	many := map[uint64]any{}
	for i := range uint64(maxSet + 1) {
		many[i] = share
	}
	most := map[uint64]any{}
	for i := range uint64(maxSet) {
		most[i] = share
	}
	for _, tc := range []struct {
		name    string
		message message
		body    any
		good    bool
	}{
		{"allocation", &allocateMessage{}, allocate, true},
		{"of no share", &allocateMessage{}, with(allocate, "share-numbers", set()), true},
		{"of 256 shares", &allocateMessage{}, with(allocate, "share-numbers", set(numbers[:maxSet]...)), true},
		{"of 257 shares", &allocateMessage{}, with(allocate, "share-numbers", set(numbers...)), false},
		{"of a share twice", &allocateMessage{}, with(allocate, "share-numbers", set(1, 1)), false},
		{"of an array", &allocateMessage{}, with(allocate, "share-numbers", []uint64{1}), false},
		{"of another tag", &allocateMessage{}, with(allocate, "share-numbers", cbor.Tag{Number: 259, Content: []uint64{1}}), false},
		{"of a set of text", &allocateMessage{}, with(allocate, "share-numbers", cbor.Tag{Number: setTag, Content: []string{"1"}}), false},
		{"of a set that is a map", &allocateMessage{}, with(allocate, "share-numbers", cbor.Tag{Number: setTag, Content: fields{}}), false},
		{"of null", &allocateMessage{}, with(allocate, "share-numbers", nil), false},
		{"of a share -1", &allocateMessage{}, with(allocate, "share-numbers", cbor.Tag{Number: setTag, Content: []int{-1}}), false},
		{"without shares", &allocateMessage{}, without(allocate, "share-numbers"), false},
		{"without a size", &allocateMessage{}, without(allocate, "allocated-size"), false},
		{"of size null", &allocateMessage{}, with(allocate, "allocated-size", nil), false},
		{"of size -1", &allocateMessage{}, with(allocate, "allocated-size", -1), false},
		{"of size 1.0", &allocateMessage{}, with(allocate, "allocated-size", 1.0), false},
		{"of size text", &allocateMessage{}, with(allocate, "allocated-size", "48"), false},
		{"of a tagged size", &allocateMessage{}, with(allocate, "allocated-size", cbor.Tag{Number: 1, Content: 48}), false},
		{"of a size beyond 64 bits", &allocateMessage{}, with(allocate, "allocated-size", cbor.Tag{Number: 2, Content: make([]byte, 9)}), false},
		{"with something more", &allocateMessage{}, with(allocate, "more", 1), false},
		{"that is an array", &allocateMessage{}, []any{1, 2}, false},
		{"that is null", &allocateMessage{}, nil, false},

		{"report", &corruptMessage{}, fields{"reason": "x"}, true},
		{"of the longest reason", &corruptMessage{}, fields{"reason": strings.Repeat("x", maxReason)}, true},
		{"of too long a reason", &corruptMessage{}, fields{"reason": strings.Repeat("x", maxReason+1)}, false},
		{"of an empty reason", &corruptMessage{}, fields{"reason": ""}, false},
		{"of bytes", &corruptMessage{}, fields{"reason": []byte("x")}, false},
		{"of null", &corruptMessage{}, fields{"reason": nil}, false},
		{"of nothing", &corruptMessage{}, fields{}, false},

		{"slot", &slotMessage{}, slot, true},
		{"of no share", &slotMessage{}, shares(map[uint64]any{}), true},
		{"of 256 shares", &slotMessage{}, shares(most), true},
		{"of 257 shares", &slotMessage{}, shares(many), false},
		{"of share one", &slotMessage{}, shares(map[string]any{"one": share}), false},
		{"of share -1", &slotMessage{}, shares(map[int]any{-1: share}), false},
		{"of a list of shares", &slotMessage{}, shares([]any{share}), false},
		{"of null", &slotMessage{}, shares(nil), false},
		{"of share null", &slotMessage{}, shares(map[uint64]any{0: nil}), false},
		{"without shares", &slotMessage{}, without(slot, "test-write-vectors"), false},
		{"without reads", &slotMessage{}, without(slot, "read-vector"), false},
		{"with something more", &slotMessage{}, with(slot, "more", 1), false},
		{"with no reads", &slotMessage{}, with(slot, "read-vector", []any{}), true},
		{"with 30 reads", &slotMessage{}, with(slot, "read-vector", times(30, read)), true},
		{"with 31 reads", &slotMessage{}, with(slot, "read-vector", times(31, read)), false},
		{"with reads null", &slotMessage{}, with(slot, "read-vector", nil), false},
		{"with a read null", &slotMessage{}, with(slot, "read-vector", []any{nil}), false},
		{"with a read without an offset", &slotMessage{}, with(slot, "read-vector", []any{without(read, "offset")}), false},
		{"with a read without a size", &slotMessage{}, with(slot, "read-vector", []any{without(read, "size")}), false},
		{"with a read of something more", &slotMessage{}, with(slot, "read-vector", []any{with(read, "more", 1)}), false},
		{"without tests", &slotMessage{}, of(without(share, "test")), false},
		{"with no tests", &slotMessage{}, of(with(share, "test", []any{})), true},
		{"with 30 tests", &slotMessage{}, of(with(share, "test", times(30, test))), true},
		{"with 31 tests", &slotMessage{}, of(with(share, "test", times(31, test))), false},
		{"with a test without an offset", &slotMessage{}, of(with(share, "test", []any{without(test, "offset")})), false},
		{"with a test without a size", &slotMessage{}, of(with(share, "test", []any{without(test, "size")})), false},
		{"with a test without a specimen", &slotMessage{}, of(with(share, "test", []any{without(test, "specimen")})), false},
		{"with a test of text", &slotMessage{}, of(with(share, "test", []any{with(test, "specimen", "hello")})), false},
		{"without writes", &slotMessage{}, of(without(share, "write")), false},
		{"with writes null", &slotMessage{}, of(with(share, "write", nil)), false},
		{"with many writes", &slotMessage{}, of(with(share, "write", times(1000, write))), true},
		{"with too many writes in all", &slotMessage{}, shares(map[uint64]any{
			0: with(share, "write", times(maxWrites/2, write)), 1: with(share, "write", times(maxWrites/2+1, write))}), false},
		{"with a write without an offset", &slotMessage{}, of(with(share, "write", []any{without(write, "offset")})), false},
		{"with a write without data", &slotMessage{}, of(with(share, "write", []any{without(write, "data")})), false},
		{"with a write of null", &slotMessage{}, of(with(share, "write", []any{with(write, "data", nil)})), false},
		{"without a new length", &slotMessage{}, of(without(share, "new-length")), false},
		{"with a new length null", &slotMessage{}, of(with(share, "new-length", nil)), true},
		{"with a new length -1", &slotMessage{}, of(with(share, "new-length", -1)), false},
		{"with a share of something more", &slotMessage{}, of(with(share, "more", 1)), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := decode(inCBOR(t, tc.body), formatCBOR, tc.message); (err == nil) != tc.good {
				t.Errorf("error %v, good %v", err, tc.good)
			}
		})
	}
}

// TestCBORThatIsWrittenOtherwise: what a message says may be written in several ways, and some are not allowed.
func TestCBORThatIsWrittenOtherwise(t *testing.T) {
	for name, tc := range map[string]struct {
		body string // {"reason": "x"}
		good bool
	}{
		"plain":                       {"\xa1\x66reason\x61x", true},
		"a map of an indefinite size": {"\xbf\x66reason\x61x\xff", true},
		"text of an indefinite size":  {"\xa1\x66reason\x7f\x61x\xff", true},
		"a long head":                 {"\xa1\x66reason\x78\x01x", true},
		"a key twice":                 {"\xa2\x66reason\x61x\x66reason\x61x", false},
		"text that is not UTF-8":      {"\xa1\x66reason\x61\xff", false},
		"a key of bytes":              {"\xa1\x46reason\x61x", false},
		"a key in capitals":           {"\xa1\x66REASON\x61x", false},
		"no end":                      {"\xa1\x66reason", false},
		"deep":                        {strings.Repeat("\x81", 100) + "\x01", false},
		"a huge array":                {"\x9a\xff\xff\xff\xff", false},
	} {
		if err := decode([]byte(tc.body), formatCBOR, &corruptMessage{}); (err == nil) != tc.good {
			t.Errorf("%s: error %v, good %v", name, err, tc.good)
		}
	}
	var o octets
	if err := strict.Unmarshal([]byte("\x5f\x42ab\x41c\xff"), &o); err != nil || string(o.value) != "abc" {
		t.Errorf("bytes in pieces are %q, %v", o.value, err)
	}
	for _, size := range []int{0, 23, 24, 255, 256, 65535, 65536} {
		data := bytes.Repeat([]byte("x"), size)
		if err := strict.Unmarshal(inCBOR(t, data), &o); err != nil || !bytes.Equal(o.value, data) {
			t.Errorf("%d bytes are %d, %v", size, len(o.value), err)
		}
	}
}

// TestJSON sends and gets what the other tests do in CBOR: sets are arrays, bytes are base64, numbers of shares are keys.
func TestJSON(t *testing.T) {
	w := newWorld(t, storage.Options{}, Options{Version: "sharefs/1"})
	inJSON := func(a ask, body string) ask {
		a.body = []byte(body)
		a.header = map[string]string{"Content-Type": "application/json; charset=utf-8", "Accept": "application/json"}
		return a
	}
	got := w.want(http.StatusOK, inJSON(w.allocation(0), `{"share-numbers": [7, 1], "allocated-size": 3}`))
	if string(got.body) != `{"already-have":[],"allocated":[1,7]}`+"\n" || got.Get("Content-Type") != "application/json" {
		t.Errorf("the answer is %s", got.body)
	}
	slot := w.slot(nil)
	slot.path = "mutable/" + other + "/read-test-write"
	for _, want := range []string{`{"success":true,"data":{}}`, `{"success":false,"data":{"3":["aGVsbG8="]}}`} {
		got := w.want(http.StatusOK, inJSON(slot, `{"test-write-vectors": {"3": {"test": [{"offset": 0, "size": 1, "specimen": ""}],
			"write": [{"offset": 0, "data": "aGVsbG8="}], "new-length": null}}, "read-vector": [{"offset": 0, "size": 10}]}`))
		if string(got.body) != want+"\n" {
			t.Errorf("the answer is %s", got.body)
		}
	}
	var version map[string]any
	if err := json.Unmarshal(w.want(http.StatusOK, inJSON(ask{method: "GET", path: "version"}, "")).body, &version); err != nil {
		t.Fatal(err)
	}
	if version["application-version"] != "c2hhcmVmcy8x" || version[protocolV1].(fields)["available-space"].(float64) <= 0 {
		t.Errorf("the version is %v", version)
	}
	for _, body := range []string{
		``, `null`, `[]`, `{"share-numbers": [1]}`, `{"share-numbers": null, "allocated-size": 3}`, `{"share-numbers": [1,1], "allocated-size": 3}`,
		`{"share-numbers": [-1], "allocated-size": 3}`, `{"share-numbers": [1], "allocated-size": null}`, `{"share-numbers": [null], "allocated-size": 3}`,
		`{"share-numbers": [1], "allocated-size": 3, "more": 1}`, `{"share-numbers": [1], "allocated-size": 3} x`, `{"share-numbers": {}, "allocated-size": 3}`,
	} {
		w.want(http.StatusBadRequest, inJSON(w.allocation(0), body))
	}
	for _, body := range []string{
		`{"test-write-vectors": {}, "read-vector": null}`, `{"test-write-vectors": null, "read-vector": []}`, `{"test-write-vectors": {"x": {}}, "read-vector": []}`,
		`{"test-write-vectors": {"0": {"test": [], "write": [{"offset": 0, "data": "?"}], "new-length": 1}}, "read-vector": []}`,
		`{"test-write-vectors": {"0": {"test": [], "write": [{"offset": 0, "data": null}], "new-length": 1}}, "read-vector": []}`,
		`{"test-write-vectors": {"0": {"test": [], "write": []}}, "read-vector": []}`,
	} {
		w.want(http.StatusBadRequest, inJSON(slot, body))
	}
}

func TestVersion(t *testing.T) {
	w := newWorld(t, storage.Options{}, Options{Version: "sharefs/1"})
	got := decoded[map[any]any](t, w.want(http.StatusOK, ask{method: "GET", path: "version"}))
	limits := got[cbor.ByteString(protocolV1)].(map[any]any)
	if len(got) != 2 || !bytes.Equal(got[cbor.ByteString("application-version")].([]byte), []byte("sharefs/1")) || len(limits) != 3 {
		t.Errorf("the version is %v", got)
	}
	for _, name := range []string{"maximum-immutable-share-size", "maximum-mutable-share-size", "available-space"} {
		if n, ok := limits[cbor.ByteString(name)].(uint64); !ok || n == 0 {
			t.Errorf("%s is %v", name, limits[cbor.ByteString(name)])
		}
	}
}

func TestTheClientChoosesTheFormat(t *testing.T) {
	for _, tc := range []struct {
		accept []string
		want   format
	}{
		{nil, formatCBOR},
		{[]string{""}, formatCBOR},
		{[]string{"application/cbor"}, formatCBOR},
		{[]string{"application/json"}, formatJSON},
		{[]string{"application/json, application/cbor"}, formatCBOR},
		{[]string{"application/json", "application/cbor;q=0.9"}, formatJSON},
		{[]string{"*/*"}, formatCBOR},
		{[]string{"application/*;q=0.5, application/json"}, formatJSON},
		{[]string{"text/html, */*;q=0.1"}, formatCBOR},
		{[]string{"application/cbor;q=0, */*"}, formatJSON},
		{[]string{"image/gif"}, ""},
		{[]string{"application/cbor;q=0"}, ""},
		{[]string{"application/cbor;q=2"}, ""},
		{[]string{"application/cbor;q=NaN"}, ""},
		{[]string{";;;"}, ""},
	} {
		got, err := answerFormat(http.Header{"Accept": tc.accept})
		if got != tc.want || (err != nil) != (tc.want == "") {
			t.Errorf("%q: %q, %v", tc.accept, got, err)
		}
	}
}

func TestRanges(t *testing.T) {
	for text, want := range map[string]span{
		"bytes=0-0": {0, 1}, "bytes=3-17": {3, 18}, " bytes= 3-17 ": {3, 18}, "bytes=007-8": {7, 9},
		"bytes=9223372036854775806-9223372036854775806": {1<<63 - 2, 1<<63 - 1},
	} {
		got, given, err := parseRange(http.Header{"Range": {text}})
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(span{})); diff != "" || !given || err != nil {
			t.Errorf("%q: %v, %v, %s", text, given, err, diff)
		}
	}
	if _, _, err := parseRange(http.Header{"Range": {"bytes=0-1", "bytes=0-1"}}); err == nil {
		t.Error("two headers are one range")
	}
	if _, err := parseContentRange(http.Header{"Content-Range": {"bytes 0-1/2", "bytes 0-1/2"}}); err == nil {
		t.Error("two headers are one range of content")
	}
}

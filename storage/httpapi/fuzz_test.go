package httpapi

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// FuzzMessages reads any bytes as each message, in CBOR and in JSON. What is taken for good is within the limits of the schemas, and
// means the same when it is written again.
func FuzzMessages(f *testing.F) {
	for _, m := range []any{
		fields{"share-numbers": set(1, 7), "allocated-size": 48},
		fields{"reason": "rotten"},
		change(3, written(9, "world"), fields{"offset": 3, "size": 12}),
		change(3, fields{"test": []fields{{"offset": 3, "size": 5, "specimen": []byte("hello")}}, "new-length": 5}),
	} {
		f.Add(inCBOR(f, m))
	}
	f.Add([]byte(`{"share-numbers": [7, 1], "allocated-size": 3}`))
	f.Add([]byte(`{"test-write-vectors": {"3": {"test": [], "write": [{"offset": 0, "data": "aGVsbG8="}], "new-length": null}}, "read-vector": []}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, format := range []format{formatCBOR, formatJSON} {
			var a allocateMessage
			if decode(body, format, &a) == nil && len(a.Numbers.numbers) > maxSet {
				t.Errorf("%d shares", len(a.Numbers.numbers))
			}
			var c corruptMessage
			if decode(body, format, &c) == nil && (len(*c.Reason) < 1 || len(*c.Reason) > maxReason) {
				t.Errorf("a reason of %d bytes", len(*c.Reason))
			}
			var m slotMessage
			if decode(body, format, &m) == nil {
				sameSlot(t, &m)
			}
		}
	})
}

// sameSlot writes a message again, plainly, and compares what it means.
func sameSlot(t *testing.T, m *slotMessage) {
	t.Helper()
	shares := map[uint64]fields{}
	for _, share := range m.shares {
		tests, writes := []fields{}, []fields{}
		for _, v := range share.tests {
			tests = append(tests, fields{"offset": v.Offset.value, "size": v.Size.value, "specimen": append([]byte{}, v.Specimen.value...)})
		}
		for _, v := range share.writes {
			writes = append(writes, fields{"offset": v.Offset.value, "data": append([]byte{}, v.Data.value...)})
		}
		if len(tests) > maxVectors || len(writes) > maxWrites {
			t.Errorf("%d tests and %d writes", len(tests), len(writes))
		}
		var length any
		if share.NewLength.given {
			length = share.NewLength.value
		}
		shares[share.number] = fields{"test": tests, "write": writes, "new-length": length}
	}
	reads := []fields{}
	for _, v := range m.reads {
		reads = append(reads, fields{"offset": v.Offset.value, "size": v.Size.value})
	}
	again := inCBOR(t, fields{"test-write-vectors": shares, "read-vector": reads})
	var copied slotMessage
	if err := decode(again, formatCBOR, &copied); err != nil {
		t.Fatalf("%x is a message, and the same written plainly, %x, is not: %v", m.Shares.item, again, err)
	}
	_, err := m.update()
	if _, other := copied.update(); (err == nil) != (other == nil) {
		t.Errorf("%v and %v", err, other)
	}
}

// FuzzHeaders reads any text as each header that this package reads itself.
func FuzzHeaders(f *testing.F) {
	for _, text := range []string{leases[0], slots[0], "bytes=0-9", "bytes 0-9/10", "bytes 0-9/*", "application/json;q=0.5, */*", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		for _, r := range routes {
			found, err := parseSecrets(lines, r.needs)
			if err == nil && len(found) != len(r.needs) {
				t.Errorf("%d secrets of %d", len(found), len(r.needs))
			}
			if code, _ := answerOf(err); err != nil && code != http.StatusBadRequest {
				t.Errorf("%v is %d", err, code)
			}
		}
		h := http.Header{"Range": lines, "Content-Range": lines, "Accept": lines, "Content-Type": lines}
		if s, given, err := parseRange(h); err == nil && given {
			goodSpan(t, s)
		}
		if s, err := parseContentRange(h); err == nil {
			goodSpan(t, s)
			if again, err := parseContentRange(http.Header{"Content-Range": {s.header()}}); err != nil || again != s {
				t.Errorf("%v is %v, %v", s, again, err)
			}
		}
		if format, err := answerFormat(h); err == nil && format != formatCBOR && format != formatJSON {
			t.Errorf("the format %q", format)
		}
		if format, err := bodyFormat(h); err == nil && format != formatCBOR && format != formatJSON {
			t.Errorf("the format %q", format)
		}
	})
}

func goodSpan(t *testing.T, s span) {
	t.Helper()
	if s.begin < 0 || s.size() <= 0 {
		t.Errorf("the range %v", s)
	}
}

// FuzzValues decodes any item as each type of the schemas: none refers to bytes outside the message.
func FuzzValues(f *testing.F) {
	for _, v := range []any{1, []byte("x"), "x", nil, []any{1}, set(1), cbor.Tag{Number: 2, Content: []byte("x")}} {
		f.Add(inCBOR(f, v))
	}
	f.Fuzz(func(t *testing.T, item []byte) {
		var o octets
		var plain []byte
		if err := strict.Unmarshal(item, &o); err == nil {
			if err := cbor.Unmarshal(item, &plain); err != nil || !bytes.Equal(plain, o.value) {
				t.Errorf("%x is %x, and %x, %v", item, o.value, plain, err)
			}
		}
		var n natural
		var number uint64
		if err := strict.Unmarshal(item, &n); err == nil {
			if err := cbor.Unmarshal(item, &number); err != nil || number != n.value {
				t.Errorf("%x is %d, and %d, %v", item, n.value, number, err)
			}
		}
		var s shareSet
		if err := strict.Unmarshal(item, &s); err == nil && len(s.numbers) > maxSet {
			t.Errorf("%x is a set of %d", item, len(s.numbers))
		}
		var l list
		if err := strict.Unmarshal(item, &l); err == nil {
			_, _ = elements[testVector](l, maxVectors)
		}
	})
}

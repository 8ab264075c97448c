package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// The types of the specification's schemas (CDDL, RFC 8610), as they are read from CBOR and JSON. Each notes that it was there,
// since a field that is missing, or null, is not the same as zero.

// What a major type of CBOR is, in the first three bits of an item (RFC 8949 section 3).
const (
	majorUint  = 0
	majorBytes = 2
	majorArray = 4
	majorMap   = 5
	majorTag   = 6
)

const (
	cborNull     = 0xf6
	indefinite   = 31  // in the other five bits: the length follows at the end
	setTag       = 258 // www.iana.org/assignments/cbor-tags
	maxSet       = 256 // share numbers in a set, and shares in a request
	maxVectors   = 30  // reads, and tests of a share
	maxWrites    = 1 << 16
	maxItemPairs = 1 << 16
)

func major(item []byte) byte { return item[0] >> 5 }

// strict decodes what conforms to the schemas and nothing else: no key twice, no key that is not in the schema, no text that is not
// UTF-8, no big numbers.
var strict = must(cbor.DecOptions{
	DupMapKey:         cbor.DupMapKeyEnforcedAPF,
	ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	BignumTag:         cbor.BignumTagForbidden,
	MaxArrayElements:  maxWrites,
	MaxMapPairs:       maxItemPairs,
	MaxNestedLevels:   8,
}.DecMode())

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // options that contradict each other
	}
	return v
}

// natural is uint.
type natural struct {
	value uint64
	given bool
}

func (n *natural) UnmarshalCBOR(item []byte) error {
	if major(item) != majorUint {
		return errors.New("not an unsigned integer")
	}
	n.given = true
	return strict.Unmarshal(item, &n.value)
}

func (n *natural) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return errors.New("not an unsigned integer")
	}
	n.given = true
	return json.Unmarshal(text, &n.value)
}

// optional is uint / null.
type optional struct {
	natural
	null bool
}

func (o *optional) UnmarshalCBOR(item []byte) error {
	if len(item) == 1 && item[0] == cborNull {
		o.null = true
		return nil
	}
	return o.natural.UnmarshalCBOR(item)
}

func (o *optional) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		o.null = true
		return nil
	}
	return o.natural.UnmarshalJSON(text)
}

// octets is bstr. From CBOR it refers to the message, which must stay as it is meanwhile: a share's data is not copied.
type octets struct {
	value []byte
	given bool
}

func (o *octets) UnmarshalCBOR(item []byte) error {
	if major(item) != majorBytes {
		return errors.New("not a byte string")
	}
	o.given = true
	if item[0]&0x1f == indefinite {
		return strict.Unmarshal(item, &o.value)
	}
	o.value = item[headSize(item):]
	return nil
}

func (o *octets) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return errors.New("not bytes in base64")
	}
	o.given = true
	return json.Unmarshal(text, &o.value)
}

// headSize is how many bytes an item's type and length take.
func headSize(item []byte) int {
	switch item[0] & 0x1f {
	case 24:
		return 2
	case 25:
		return 3
	case 26:
		return 5
	case 27:
		return 9
	}
	return 1
}

// raw is an item that is read later, so that of a hostile message nothing is made before its first mistake. It refers to the message.
type raw struct {
	item  []byte
	json  bool
	given bool
}

func (r *raw) UnmarshalCBOR(item []byte) error {
	*r = raw{item: item, given: true}
	return nil
}

func (r *raw) UnmarshalJSON(text []byte) error {
	*r = raw{item: text, json: true, given: true}
	return nil
}

func (r *raw) decode(v any) error {
	if r.json {
		return decodeJSON(r.item, v)
	}
	return strict.Unmarshal(r.item, v)
}

// list is an array that is read later.
type list struct{ raw }

func (l *list) UnmarshalCBOR(item []byte) error {
	if major(item) != majorArray {
		return errors.New("not an array")
	}
	return l.raw.UnmarshalCBOR(item)
}

func (l *list) UnmarshalJSON(text []byte) error {
	if text[0] != '[' {
		return errors.New("not an array")
	}
	return l.raw.UnmarshalJSON(text)
}

// elements reads a list of at most limit elements.
func elements[T any](l list, limit int) ([]T, error) {
	var items []raw
	if err := l.decode(&items); err != nil {
		return nil, err
	}
	if len(items) > limit {
		return nil, fmt.Errorf("%d elements, the most are %d", len(items), limit)
	}
	found := make([]T, len(items))
	for i, item := range items {
		if err := item.decode(&found[i]); err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
	}
	return found, nil
}

// shareSet is #6.258([0*256 uint]): a tagged array in CBOR, an array in JSON.
type shareSet struct {
	numbers []uint64
	given   bool
}

func (s *shareSet) UnmarshalCBOR(item []byte) error {
	var tag cbor.RawTag
	if major(item) != majorTag {
		return errors.New("not a set")
	}
	if err := strict.Unmarshal(item, &tag); err != nil {
		return err
	}
	if tag.Number != setTag {
		return fmt.Errorf("tag %d is not a set", tag.Number)
	}
	var content list
	if err := content.UnmarshalCBOR(tag.Content); err != nil {
		return err
	}
	return s.hold(content)
}

func (s *shareSet) UnmarshalJSON(text []byte) error {
	var content list
	if err := content.UnmarshalJSON(text); err != nil {
		return err
	}
	return s.hold(content)
}

// hold takes the numbers of a set, if each is there once.
func (s *shareSet) hold(content list) error {
	numbers, err := elements[natural](content, maxSet)
	if err != nil {
		return err
	}
	seen := make(map[uint64]bool, len(numbers))
	s.numbers, s.given = make([]uint64, len(numbers)), true
	for i, n := range numbers {
		if seen[n.value] {
			return fmt.Errorf("the share number %d is there twice", n.value)
		}
		seen[n.value] = true
		s.numbers[i] = n.value
	}
	return nil
}

// MarshalCBOR writes a set, which has its tag also when it is empty.
func (s shareSet) MarshalCBOR() ([]byte, error) {
	numbers := s.numbers
	if numbers == nil {
		numbers = []uint64{}
	}
	return cbor.Marshal(cbor.Tag{Number: setTag, Content: numbers})
}

func (s shareSet) MarshalJSON() ([]byte, error) {
	if s.numbers == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(s.numbers)
}

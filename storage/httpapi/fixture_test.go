package httpapi

import (
	"bytes"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"sharefs/storage"
)

const (
	swissnum = "ovqzgtzhgtcmtoihgjvstj7n3bxxhlxh"
	index    = "aaaaaaaaaaaaaaaaaaaaaaaaaa"
	other    = "baaaaaaaaaaaaaaaaaaaaaaaaa"
)

// world is a server with an empty store.
type world struct {
	t      *testing.T
	store  *storage.Store
	server *Server
	log    *bytes.Buffer
}

func newWorld(t *testing.T, store storage.Options, o Options) *world {
	t.Helper()
	w := &world{t: t, log: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	store.Log = log
	o.Logger, o.TempDir = log, t.TempDir()
	var err error
	if w.store, err = storage.Open(t.TempDir(), store); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	w.server = New(w.store, swissnum, o)
	return w
}

// secretOf returns a secret that a test knows by a letter.
func secretOf(letter string) []byte { return bytes.Repeat([]byte(letter), secretSize) }

// has makes a header of a secret.
func has(k kind, value []byte) string {
	return string(k) + " " + base64.StdEncoding.EncodeToString(value)
}

// The secrets that requests of each kind have.
var (
	leases   = []string{has(leaseRenew, secretOf("r")), has(leaseCancel, secretOf("c"))}
	uploads  = append([]string{has(upload, []byte("u"))}, leases...)
	chunk    = []string{has(upload, []byte("u"))}
	slots    = append([]string{has(writeEnabler, secretOf("w"))}, leases...)
	intruder = []string{has(upload, []byte("x"))}
)

// ask is a request as a test writes it.
type ask struct {
	method, path string // below /storage/v1/
	secrets      []string
	body         []byte
	header       map[string]string
	stranger     bool // does not know the swissnum
}

func (a ask) request() *http.Request {
	r := httptest.NewRequest(a.method, "/storage/v1/"+a.path, bytes.NewReader(a.body))
	if !a.stranger {
		r.Header.Set("Authorization", credentials(swissnum))
	}
	for _, s := range a.secrets {
		r.Header.Add(authorizationHeader, s)
	}
	for name, value := range a.header {
		r.Header.Set(name, value)
	}
	return r
}

// reply is an answer.
type reply struct {
	code int
	body []byte
	http.Header
}

func (w *world) ask(a ask) reply {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, a.request())
	body, err := io.ReadAll(rec.Result().Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return reply{rec.Code, body, rec.Header()}
}

// want asks and compares the code of the answer.
func (w *world) want(code int, a ask) reply {
	w.t.Helper()
	got := w.ask(a)
	if got.code != code {
		w.t.Fatalf("%s %s: %d %s, want %d", a.method, a.path, got.code, got.body, code)
	}
	return got
}

// inCBOR encodes a message.
func inCBOR(t testing.TB, v any) []byte {
	t.Helper()
	b, err := cbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fields are a map of CBOR or JSON.
type fields = map[string]any

func set(numbers ...uint64) cbor.Tag {
	if numbers == nil {
		numbers = []uint64{}
	}
	return cbor.Tag{Number: setTag, Content: numbers}
}

// allocation asks for uploads of shares.
func (w *world) allocation(size int, numbers ...uint64) ask {
	return ask{method: "POST", path: "immutable/" + index, secrets: uploads,
		body: inCBOR(w.t, fields{"share-numbers": set(numbers...), "allocated-size": size})}
}

// patch writes a chunk of share 1.
func patch(contentRange, data string) ask {
	return ask{method: "PATCH", path: "immutable/" + index + "/1", secrets: chunk, body: []byte(data),
		header: map[string]string{"Content-Range": contentRange}}
}

// stored makes the immutable share 1.
func (w *world) stored(data string) {
	w.t.Helper()
	w.want(http.StatusOK, w.allocation(len(data), 1))
	w.want(http.StatusCreated, ask{method: "PATCH", path: "immutable/" + index + "/1", secrets: chunk, body: []byte(data),
		header: map[string]string{"Content-Range": span{0, int64(len(data))}.header()}})
}

// change is the message of an update of one share of a slot.
func change(number uint64, share fields, read ...fields) fields {
	if read == nil {
		read = []fields{}
	}
	for _, name := range []string{"test", "write"} {
		if share[name] == nil {
			share[name] = []fields{}
		}
	}
	if _, ok := share["new-length"]; !ok {
		share["new-length"] = nil
	}
	return fields{"test-write-vectors": map[uint64]fields{number: share}, "read-vector": read}
}

func written(offset uint64, data string) fields {
	return fields{"write": []fields{{"offset": offset, "data": []byte(data)}}}
}

func (w *world) slot(message any) ask {
	return ask{method: "POST", path: "mutable/" + index + "/read-test-write", secrets: slots, body: inCBOR(w.t, message)}
}

// decoded reads an answer.
func decoded[T any](t *testing.T, r reply) T {
	t.Helper()
	var v T
	if r.Get("Content-Type") != string(formatCBOR) {
		t.Fatalf("the answer is %s", r.Get("Content-Type"))
	}
	if err := cbor.Unmarshal(r.body, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// allocatedReply is the answer to an allocation, with its sets as they are sent.
type allocatedReply struct {
	Have      cbor.Tag `cbor:"already-have"`
	Allocated cbor.Tag `cbor:"allocated"`
}

// sets compares tags with what they hold as numbers.
var sets = cmp.Transformer("set", func(tag cbor.Tag) []uint64 {
	numbers := []uint64{tag.Number}
	switch content := tag.Content.(type) {
	case []uint64:
		numbers = append(numbers, content...)
	case []any:
		for _, n := range content {
			numbers = append(numbers, n.(uint64))
		}
	}
	return numbers
})

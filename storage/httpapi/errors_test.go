package httpapi

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sharefs/storage"
)

// data are the paths of shares.
var data = regexp.MustCompile(`^(im)?mutable/[a-z2-7]{26}/[0-9]{1,9}$`)

// TestEachErrorHasItsCode goes through what a client can do wrong. The world has the complete share 1 of index (10 bytes), an upload
// of share 2 (10 bytes), and the slot other with share 0.
func TestEachErrorHasItsCode(t *testing.T) {
	w := newWorld(t, storage.Options{}, Options{})
	w.stored("0123456789")
	w.want(http.StatusOK, w.allocation(10, 2))
	slot := w.slot(change(0, written(0, "abcdef")))
	slot.path = "mutable/" + other + "/read-test-write"
	w.want(http.StatusOK, slot)
	allocation := w.allocation(10, 3)
	version := ask{method: "GET", path: "version"}
	second := patch("bytes 0-9/10", "0123456789")
	second.path = "immutable/" + index + "/2"
	lease := ask{method: "PUT", path: "lease/" + index, secrets: leases}
	read := ask{method: "GET", path: "immutable/" + index + "/1"}
	advice := ask{method: "POST", path: "immutable/" + index + "/1/corrupt", body: inCBOR(t, fields{"reason": "rotten"})}
	abort := ask{method: "PUT", path: "immutable/" + index + "/2/abort", secrets: chunk}

	with := func(a ask, change func(*ask)) ask {
		a.header = map[string]string{"Content-Range": a.header["Content-Range"]}
		if a.header["Content-Range"] == "" {
			a.header = map[string]string{}
		}
		change(&a)
		return a
	}
	secrets := func(a ask, s ...string) ask { return with(a, func(a *ask) { a.secrets = s }) }
	header := func(a ask, name, value string) ask { return with(a, func(a *ask) { a.header[name] = value }) }
	path := func(a ask, p string) ask { return with(a, func(a *ask) { a.path = p }) }
	body := func(a ask, b []byte) ask { return with(a, func(a *ask) { a.body = b }) }
	stranger := func(a ask) ask { return with(a, func(a *ask) { a.stranger = true }) }

	for _, tc := range []struct {
		name string
		ask  ask
		want int
	}{
		{"no Authorization", stranger(version), 401},
		{"no Authorization, on a path that is not there", stranger(path(version, "x")), 401},
		{"another swissnum", header(stranger(version), "Authorization", credentials("x")), 401},
		{"another scheme", header(stranger(version), "Authorization", "Basic "+strings.TrimPrefix(credentials(swissnum), "Tahoe-LAFS ")), 401},
		{"an Authorization of any bytes", header(stranger(version), "Authorization", "\x01\xff\xfe"), 401},
		{"a path that is not there", path(version, "nothing"), 404},
		{"a version that is not there", path(version, "../v2/version"), 404},
		{"a method that is not there", with(version, func(a *ask) { a.method = "DELETE" }), 405},

		{"a secret where there is none", secrets(version, chunk...), 400},
		{"no secrets", secrets(lease), 400},
		{"a secret is missing", secrets(lease, leases[:1]...), 400},
		{"a secret too much", secrets(lease, uploads...), 400},
		{"a secret twice", secrets(lease, leases[0], leases[0]), 400},
		{"another secret instead", secrets(lease, leases[0], chunk[0]), 400},
		{"an unknown secret", secrets(lease, leases[0], "FOO eA=="), 400},
		{"a secret without a value", secrets(lease, leases[0], "lease-cancel-secret"), 400},
		{"a secret of nothing", secrets(lease, leases[0], "lease-cancel-secret "), 400},
		{"a secret that is not base64", secrets(lease, leases[0], "lease-cancel-secret x"), 400},
		{"a secret of another alphabet", secrets(second, "upload-secret []<>"), 400},
		{"a lease secret that is short", secrets(lease, leases[0], has(leaseCancel, []byte("x"))), 400},
		{"a lease secret that is long", secrets(lease, leases[0], has(leaseCancel, append(secretOf("c"), 'c'))), 400},
		{"a write enabler that is short", secrets(slot, append(slices.Clone(leases), has(writeEnabler, []byte("w")))...), 400},

		{"a storage index that is short", path(lease, "lease/"+index[1:]), 404},
		{"a storage index that is long", path(lease, "lease/"+index+"a"), 404},
		{"a storage index with other letters", path(lease, "lease/"+strings.Repeat("A", 26)), 404},
		{"a storage index with bits too many", path(lease, "lease/"+strings.Repeat("b", 26)), 404},
		{"a share number that is none", path(read, "immutable/"+index+"/one"), 404},
		{"a share number that is negative", path(read, "immutable/"+index+"/-1"), 404},
		{"a share number that is huge", path(read, "immutable/"+index+"/99999999999999999999"), 404},

		{"a lease on nothing", path(lease, "lease/"+"caaaaaaaaaaaaaaaaaaaaaaaaa"), 404},
		{"reading of an unknown index", path(read, "immutable/caaaaaaaaaaaaaaaaaaaaaaaaa/1"), 404},
		{"reading of an unknown share", path(read, "immutable/"+index+"/7"), 404},
		{"reading of an upload", path(read, "immutable/"+index+"/2"), 404},
		{"reading of a slot as immutable", path(read, "immutable/"+other+"/0"), 404},
		{"reading of an immutable share as a slot", path(read, "mutable/"+index+"/1"), 404},

		{"a range in other units", header(read, "Range", "molluscs=0-9"), 416},
		{"a range without an end", header(read, "Range", "bytes=0-"), 416},
		{"a range without a start", header(read, "Range", "bytes=-5"), 416},
		{"a negative range", header(read, "Range", "bytes=-2-9"), 416},
		{"a range to a negative end", header(read, "Range", "bytes=0--10"), 416},
		{"a negative range without an end", header(read, "Range", "bytes=-300-"), 416},
		{"a range that ends before it begins", header(read, "Range", "bytes=5-4"), 416},
		{"no range", header(read, "Range", "bytes="), 416},
		{"several ranges", header(read, "Range", "bytes=0-5, 6-7"), 416},
		{"a range of more than there can be", header(read, "Range", "bytes=0-9223372036854775807"), 416},
		{"a range after the end", header(read, "Range", "bytes=10-20"), 204},

		{"an allocation that is no CBOR", body(allocation, []byte("nonsense")), 400},
		{"an allocation of nothing", body(allocation, nil), 400},
		{"an allocation with something behind it", body(allocation, append(slices.Clone(allocation.body), 0)), 400},
		{"an allocation that is too large", body(allocation, make([]byte, maxAllocate+1)), 413},
		{"an allocation of an unknown type", header(allocation, "Content-Type", "some/value"), 415},
		{"an allocation with an answer of an unknown type", header(allocation, "Accept", "image/gif"), 406},
		{"an allocation of a share number that is huge", body(allocation, inCBOR(t, fields{"share-numbers": set(1 << 40), "allocated-size": 1})), 400},

		{"a chunk without Content-Range", with(second, func(a *ask) { delete(a.header, "Content-Range") }), 416},
		{"a chunk with a Content-Range that is none", header(second, "Content-Range", "not a valid content-range header at all"), 416},
		{"a chunk from a negative byte", header(second, "Content-Range", "bytes -1-9/10"), 416},
		{"a chunk to a negative byte", header(second, "Content-Range", "bytes 0--9/10"), 416},
		{"a chunk in other units", header(second, "Content-Range", "teapots 0-9/10"), 416},
		{"a chunk beyond its own length", header(second, "Content-Range", "bytes 0-9/9"), 416},
		{"a chunk of no range", header(second, "Content-Range", "bytes */10"), 416},
		{"a chunk beyond the share", header(body(second, []byte("0123456789x")), "Content-Range", "bytes 0-10/11"), 416},
		{"a chunk that is shorter than it says", body(second, []byte("0123")), 400},
		{"a chunk that is longer than it says", body(second, []byte("0123456789x")), 400},
		{"a chunk of an unknown share", path(second, "immutable/"+index+"/7"), 404},
		{"a chunk of an unknown index", path(second, "immutable/"+other+"/2"), 404},
		{"a chunk with another upload secret", secrets(second, intruder...), 401},
		{"a chunk of a complete share with another upload secret", secrets(path(second, "immutable/"+index+"/1"), intruder...), 404},

		{"an abort with another upload secret", secrets(abort, intruder...), 401},
		{"an abort of an unknown share", path(abort, "immutable/"+index+"/7/abort"), 404},
		{"an abort of an unknown index", path(abort, "immutable/"+other+"/2/abort"), 404},
		{"an abort of a complete share", path(abort, "immutable/"+index+"/1/abort"), 405},

		{"a report on an unknown share", path(advice, "immutable/"+index+"/7/corrupt"), 404},
		{"a report on an unknown slot", path(advice, "mutable/caaaaaaaaaaaaaaaaaaaaaaaaa/0/corrupt"), 404},
		{"a report without a reason", body(advice, inCBOR(t, fields{"reason": ""})), 400},
		{"a report with too long a reason", body(advice, inCBOR(t, fields{"reason": strings.Repeat("x", maxReason+1)})), 413},
		{"a report of too many bytes", body(advice, make([]byte, maxAdvice+1)), 413},

		{"a change with another write enabler", secrets(slot, append(slices.Clone(leases), has(writeEnabler, secretOf("x")))...), 401},
		{"a change that is no CBOR", body(slot, []byte("nonsense")), 400},
		{"a change beyond the largest slot", body(slot, inCBOR(t, change(0, written(1<<62, "x")))), 413},
		{"a change of a share number that is huge", body(slot, inCBOR(t, change(1<<40, written(0, "x")))), 400},
		{"a change of an immutable share", path(slot, "mutable/"+index+"/read-test-write"), 500},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w.t = t
			got := w.want(tc.want, tc.ask)
			if strings.Contains(string(got.body), w.store.Dir()) || got.Get("Content-Type") == "text/html" {
				t.Errorf("the answer tells %q", got.body)
			}
			media := "text/plain; charset=utf-8"
			if data.MatchString(tc.ask.path) && tc.ask.method == "GET" {
				media = "application/octet-stream" // which a client looks at first
			}
			if got.Get("Content-Type") != media {
				t.Errorf("the answer is %s, want %s", got.Get("Content-Type"), media)
			}
		})
	}
	w.t = t
	if got := w.want(http.StatusOK, read); string(got.body) != "0123456789" {
		t.Errorf("the share is %q afterwards", got.body)
	}
	w.want(http.StatusCreated, second)
}

func TestNoSecretIsLogged(t *testing.T) {
	w := newWorld(t, storage.Options{}, Options{})
	w.stored("0123456789")
	w.want(http.StatusBadRequest, ask{method: "PUT", path: "lease/" + index, secrets: []string{"lease-renew-secret " + swissnum}})
	w.want(http.StatusNotFound, ask{method: "GET", path: swissnum})
	slot := w.slot(change(0, written(0, "abcdef")))
	slot.path = "mutable/" + other + "/read-test-write"
	w.want(http.StatusOK, slot)
	for _, secret := range append(slices.Clone(slots), uploads...) {
		_, value, _ := strings.Cut(secret, " ")
		if strings.Contains(w.log.String(), value) {
			t.Errorf("the log has %s", secret)
		}
	}
	if strings.Contains(w.log.String(), swissnum) || strings.Contains(w.log.String(), "r\x00") {
		t.Errorf("the log has the swissnum:\n%s", w.log)
	}
	if !strings.Contains(w.log.String(), "PATCH /storage/v1/immutable/{index}/{share}") {
		t.Errorf("the log tells of no request:\n%s", w.log)
	}
}

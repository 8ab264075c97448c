package httpapi

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sharefs/storage"
)

func TestAnUploadInPiecesCanBeRead(t *testing.T) {
	w := newWorld(t, storage.Options{}, Options{})
	data := strings.Repeat("0123456789", 10)
	got := decoded[allocatedReply](t, w.want(http.StatusOK, w.allocation(100, 1)))
	if diff := cmp.Diff(allocatedReply{Have: set(), Allocated: set(1)}, got, sets); diff != "" {
		t.Fatal(diff)
	}
	for _, step := range []struct {
		begin, end int64
		want       []missing // nothing: complete
	}{
		{10, 20, []missing{{0, 10}, {20, 100}}},
		{30, 40, []missing{{0, 10}, {20, 30}, {40, 100}}},
		{15, 35, []missing{{0, 10}, {40, 100}}}, // over what is there, with the same bytes
		{0, 10, []missing{{40, 100}}},
		{40, 99, []missing{{99, 100}}},
		{99, 100, []missing{}},
	} {
		code := http.StatusOK
		if len(step.want) == 0 {
			code = http.StatusCreated
			w.want(http.StatusNotFound, ask{method: "GET", path: "immutable/" + index + "/1"})
		}
		reply := w.want(code, patch(span{step.begin, step.end}.header(), data[step.begin:step.end]))
		if diff := cmp.Diff(progress{step.want}, decoded[progress](t, reply)); diff != "" {
			t.Errorf("bytes %d to %d: %s", step.begin, step.end, diff)
		}
	}
	for _, tc := range []struct {
		asked, answered, want string
		code                  int
	}{
		{"", "", data, http.StatusOK},
		{"bytes=0-99", "bytes 0-99/*", data, http.StatusPartialContent},
		{"bytes=10-28", "bytes 10-28/*", data[10:29], http.StatusPartialContent},
		{"bytes=99-99", "bytes 99-99/*", data[99:], http.StatusPartialContent},
		{"bytes=49-248", "bytes 49-99/*", data[49:], http.StatusPartialContent},
		{"bytes=100-100", "", "", http.StatusNoContent},
	} {
		a := ask{method: "GET", path: "immutable/" + index + "/1"}
		if tc.asked != "" {
			a.header = map[string]string{"Range": tc.asked}
		}
		got := w.want(tc.code, a)
		if string(got.body) != tc.want || got.Get("Content-Range") != tc.answered {
			t.Errorf("%s: %q of %q, want %q of %q", tc.asked, got.Get("Content-Range"), got.body, tc.answered, tc.want)
		}
		if media := got.Get("Content-Type"); media != "application/octet-stream" && tc.code != http.StatusNoContent {
			t.Errorf("%s: the type is %s", tc.asked, media)
		}
	}
}

func TestLostAnswersCanBeAskedForAgain(t *testing.T) {
	w := newWorld(t, storage.Options{}, Options{})
	allocation := w.allocation(10, 1, 2)
	first := w.want(http.StatusOK, allocation)
	w.want(http.StatusOK, patch("bytes 0-4/10", "01234"))
	if again := w.want(http.StatusOK, allocation); string(again.body) != string(first.body) {
		t.Errorf("a repeated allocation gets %x, and the first %x", again.body, first.body)
	}
	w.want(http.StatusOK, patch("bytes 0-4/10", "01234"))
	w.want(http.StatusConflict, patch("bytes 0-4/10", "0123x"))
	last := patch("bytes 5-9/10", "56789")
	w.want(http.StatusCreated, last)
	w.want(http.StatusCreated, last)
	w.want(http.StatusCreated, patch("bytes 0-9/10", "0123456789"))
	w.want(http.StatusConflict, patch("bytes 5-9/10", "5678x"))
	w.want(http.StatusRequestedRangeNotSatisfiable, patch("bytes 5-10/11", "56789x"))
	got := decoded[allocatedReply](t, w.want(http.StatusOK, allocation))
	if diff := cmp.Diff(allocatedReply{Have: set(1), Allocated: set(2)}, got, sets); diff != "" {
		t.Error(diff)
	}
}

func TestACompletedUploadIsForgottenInTime(t *testing.T) {
	now := time.Now()
	w := newWorld(t, storage.Options{}, Options{Now: func() time.Time { return now }})
	w.stored("0123456789")
	now = now.Add(remembered + time.Second)
	w.want(http.StatusNotFound, patch("bytes 0-9/10", "0123456789"))
}

func TestFinishedIsBounded(t *testing.T) {
	f := newFinished(time.Now)
	call := func(n int) *call { return &call{share: n, secrets: secrets{upload: []byte("u")}} }
	for n := range maxFinished + 10 {
		f.note(call(n))
	}
	if len(f.by) != maxFinished || len(f.order) != maxFinished {
		t.Errorf("%d and %d are remembered", len(f.by), len(f.order))
	}
	if f.has(call(9)) || !f.has(call(10)) {
		t.Error("not the oldest were forgotten")
	}
	f.note(call(10)) // again: the older note must not take the newer away
	f.forget(call(10))
	if f.has(call(10)) {
		t.Error("what is to be forgotten is remembered")
	}
}

func TestAnotherClientGetsTheSharesThatNobodyUploads(t *testing.T) {
	w := newWorld(t, storage.Options{}, Options{})
	w.want(http.StatusOK, w.allocation(100, 1, 2, 3))
	w.want(http.StatusOK, patch("bytes 0-49/100", strings.Repeat("a", 50)))
	second := w.allocation(100, 1, 4, 6)
	second.secrets = append([]string{has(upload, []byte("xx"))}, leases...)
	got := decoded[allocatedReply](t, w.want(http.StatusOK, second))
	if diff := cmp.Diff(allocatedReply{Have: set(), Allocated: set(4, 6)}, got, sets); diff != "" {
		t.Error(diff)
	}
	w.want(http.StatusCreated, patch("bytes 50-99/100", strings.Repeat("b", 50)))
}

func TestAnAbortedUploadCanBeStartedAgain(t *testing.T) {
	w := newWorld(t, storage.Options{}, Options{})
	w.want(http.StatusOK, w.allocation(10, 1))
	w.want(http.StatusOK, patch("bytes 0-4/10", "01234"))
	w.want(http.StatusOK, ask{method: "PUT", path: "immutable/" + index + "/1/abort", secrets: chunk})
	w.want(http.StatusNotFound, patch("bytes 5-9/10", "56789"))
	w.stored("abcdefghij")
}

func TestSharesAreListedWhenTheyAreComplete(t *testing.T) {
	w := newWorld(t, storage.Options{}, Options{})
	list := ask{method: "GET", path: "immutable/" + index + "/shares"}
	for _, want := range [][]byte{{0xd9, 1, 2, 0x80}, {0xd9, 1, 2, 0x81, 1}} { // a set of nothing, and of 1
		if got := w.want(http.StatusOK, list); string(got.body) != string(want) {
			t.Errorf("the list is %x, want %x", got.body, want)
		}
		w.stored("0123456789")
	}
}

// TestNoRoomIsNoError: a client goes to another server then.
func TestNoRoomIsNoError(t *testing.T) {
	for name, store := range map[string]storage.Options{
		"read-only": {ReadOnly: true},
		"reserved":  {ReservedSpace: 1 << 62},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, store, Options{})
			got := decoded[allocatedReply](t, w.want(http.StatusOK, w.allocation(10, 1)))
			if diff := cmp.Diff(allocatedReply{Have: set(), Allocated: set()}, got, sets); diff != "" {
				t.Error(diff)
			}
		})
	}
	w := newWorld(t, storage.Options{}, Options{})
	huge := w.allocation(0, 1)
	huge.body = inCBOR(t, fields{"share-numbers": set(1), "allocated-size": uint64(1<<64 - 1)})
	got := decoded[allocatedReply](t, w.want(http.StatusOK, huge))
	if diff := cmp.Diff(allocatedReply{Have: set(), Allocated: set()}, got, sets); diff != "" {
		t.Error(diff)
	}
}

func TestALeaseIsRenewedOrAdded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	w := newWorld(t, storage.Options{Now: func() time.Time { return now }}, Options{})
	w.stored("0123456789")
	i, err := storage.ParseIndex(index)
	if err != nil {
		t.Fatal(err)
	}
	lease := ask{method: "PUT", path: "lease/" + index, secrets: leases}
	now = now.Add(time.Hour)
	w.want(http.StatusNoContent, lease)
	renewed := now
	now = now.Add(time.Hour)
	lease.secrets = []string{has(leaseRenew, secretOf("R")), has(leaseCancel, secretOf("C"))}
	w.want(http.StatusNoContent, lease)
	got, err := w.store.Leases(i, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || !got[0].Renewed().Equal(renewed) || !got[1].Renewed().Equal(now) {
		t.Errorf("the leases are %v", got)
	}
}

func TestAReportOfACorruptShareIsKept(t *testing.T) {
	w := newWorld(t, storage.Options{}, Options{})
	w.stored("0123456789")
	w.want(http.StatusOK, ask{method: "POST", path: "immutable/" + index + "/1/corrupt", body: inCBOR(t, fields{"reason": "OHNO ስ"})})
	if !strings.Contains(w.log.String(), "OHNO ስ") {
		t.Errorf("the log has %s", w.log)
	}
}

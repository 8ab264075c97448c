package s3

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sharefs/provider"
)

func TestBatchAccountsForEveryKey(t *testing.T) {
	p := fake(t, Options{ReadOnly: true}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Md5") == "" {
			t.Error("a batch without Content-MD5, which some servers insist on")
		}
		fmt.Fprint(w, `<DeleteResult>
			<Deleted><Key>gone</Key></Deleted>
			<Error><Key>denied</Key><Code>AccessDenied</Code><Message>no</Message></Error>
			<Error><Key>busy</Key><Code>SlowDown</Code></Error>
			<Error><Key>missing</Key><Code>NoSuchKey</Code></Error>
			<Deleted><Key>&lt;&amp;&gt;</Key></Deleted>
		</DeleteResult>`)
	})
	err := p.Delete(t.Context(), provider.DeleteOptions{}, "gone", "denied", "busy", "missing", "<&>", "forgotten", "gone")
	got := map[string]provider.Kind{}
	for _, e := range provider.Failed(err) {
		got[e.Key] = e.Kind
	}
	want := map[string]provider.Kind{"denied": provider.KindDenied, "busy": provider.KindThrottled, "forgotten": provider.KindUnavailable}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("failed: %v, want %v", got, want)
	}
}

func TestLargeDeletesTravelInBatches(t *testing.T) {
	var batches []int
	var single []string
	p := fake(t, Options{ReadOnly: true}, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.Method == http.MethodDelete {
			single = append(single, strings.TrimPrefix(r.URL.Path, "/bucket/"))
			w.WriteHeader(http.StatusNoContent)
			return
		}
		batches = append(batches, strings.Count(string(body), "<Key>"))
		if len(batches) == 2 {
			refusal(500, "InternalError")(w, r)
			return
		}
		fmt.Fprint(w, strings.NewReplacer("<Object>", "<Deleted>", "</Object>", "</Deleted>", "Delete ", "DeleteResult ", "/Delete>", "/DeleteResult>").Replace(string(body)))
	})
	var keys []string
	for i := range 2500 {
		keys = append(keys, fmt.Sprintf("k%04d", i))
	}
	keys = append(keys, "control\x01")
	failed := provider.Failed(p.Delete(t.Context(), provider.DeleteOptions{}, keys...))
	if !slices.Equal(batches, []int{1000, 1000, 500}) {
		t.Errorf("batches of %v keys", batches)
	}
	if !slices.Equal(single, []string{"control\x01"}) {
		t.Errorf("single deletes of %q, want the key that XML cannot hold", single)
	}
	if len(failed) != 1000 || failed[0].Key != "k1000" || failed[999].Key != "k1999" || failed[0].Kind != provider.KindUnavailable {
		t.Errorf("%d keys failed, want those of the second batch; the last: %v", len(failed), failed[len(failed)-1])
	}
}

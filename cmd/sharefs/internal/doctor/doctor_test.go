package doctor_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sharefs/cmd/sharefs/internal/doctor"
	"sharefs/fusefs/claim"
	"sharefs/provider"
	"sharefs/provider/faulty"
	"sharefs/provider/mem"
)

func put(t *testing.T, p provider.Provider, keys ...string) {
	t.Helper()
	for _, key := range keys {
		body := "x"
		if strings.HasSuffix(key, "/") {
			body = ""
		}
		if _, err := p.Put(t.Context(), key, strings.NewReader(body), int64(len(body)), provider.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func putClaim(t *testing.T, p provider.Provider, n int, r claim.Record) {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Put(t.Context(), fmt.Sprint(claim.Prefix, n), bytes.NewReader(text), int64(len(text)), provider.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

func upload(t *testing.T, p provider.Provider, key string) {
	t.Helper()
	if _, err := p.NewUpload(t.Context(), key, provider.UploadOptions{}); err != nil {
		t.Fatal(err)
	}
}

func examine(t *testing.T, p provider.Provider, older time.Duration) *doctor.Report {
	t.Helper()
	r, err := doctor.Examine(t.Context(), p, doctor.Options{Older: older, Now: time.Now().Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// found returns kinds and keys, sorted.
func found(list []doctor.Finding) []string {
	var all []string
	for _, f := range list {
		all = append(all, string(f.Kind)+" "+f.Key)
	}
	slices.Sort(all)
	return all
}

func sick(t *testing.T) provider.Provider {
	t.Helper()
	p := mem.New(mem.Options{})
	put(t, p, "good", "dir/file", "dir/", "a//b", "../up", "both", "both.txt", "both/below", "both/below/it", "deep/x", "deep/x/y/z",
		".sharefs/open/1", ".sharefs/probe-abc", ".sharefs/what", ".sharefs/catalog-00000000000000000009", ".sharefs/catalog-00000000000000000010", ".sharefs/catalog-x")
	putClaim(t, p, 9, claim.Record{Token: "old", Host: "h", Released: true})
	putClaim(t, p, 10, claim.Record{Token: "new", Host: "h", Released: true})
	putClaim(t, p, 8, claim.Record{Token: "older", Host: "h"})
	upload(t, p, "big")
	return p
}

func TestDoctorFindsWhatDoesNotBelongThere(t *testing.T) {
	r := examine(t, sick(t), 0)
	want := []string{"checkpoints .sharefs/catalog-00000000000000000009", "claims .sharefs/claim-8", "claims .sharefs/claim-9",
		"leftovers .sharefs/open/1", "no-path ../up", "no-path a//b", "probes .sharefs/probe-abc", "shadowed both", "shadowed both/below",
		"shadowed deep/x", "strange .sharefs/catalog-x", "strange .sharefs/what", "uploads big"}
	if got := found(r.Findings); !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if r.Objects != 11 || r.Bytes != 10 || r.Claim == nil || r.Claim.Token != "new" || r.Held() {
		t.Errorf("%+v", r)
	}
}

func TestAHealthyStoreHasNoFindings(t *testing.T) {
	p := mem.New(mem.Options{})
	put(t, p, "a", "b/", "c/d", "c.d", ".sharefs/catalog-00000000000000000001")
	putClaim(t, p, 1, claim.Record{Token: "t", Host: "h"})
	if r := examine(t, p, 0); len(r.Findings) != 0 || !r.Held() {
		t.Errorf("%+v", r)
	}
	if r := examine(t, mem.New(mem.Options{}), 0); len(r.Findings) != 0 || r.Held() || r.Claim != nil {
		t.Errorf("%+v", r)
	}
}

func TestWhoMayNotListUploadsSeesTheRest(t *testing.T) {
	p := faulty.New(sick(t), faulty.Options{Rules: []faulty.Rule{{Ops: []string{"listuploads"}, Kind: provider.KindDenied}}})
	r := examine(t, p, 0)
	if !provider.Is(r.Unlisted, provider.KindDenied) || len(r.Findings) != 12 {
		t.Errorf("%v, %q", r.Unlisted, found(r.Findings))
	}
}

func TestOnlyWhatWasAskedForIsMended(t *testing.T) {
	for _, kind := range doctor.Mendable {
		t.Run(string(kind), func(t *testing.T) {
			p := sick(t)
			before := found(examine(t, p, 0).Findings)
			r := examine(t, p, 0)
			if err := doctor.Mend(t.Context(), p, r, []doctor.Kind{kind}, false); err != nil {
				t.Fatal(err)
			}
			want := slices.DeleteFunc(slices.Clone(before), func(s string) bool { return strings.HasPrefix(s, string(kind)+" ") })
			if len(want) == len(before) {
				t.Fatal("there was nothing to mend")
			}
			if got := found(r.Open()); !slices.Equal(got, want) {
				t.Errorf("it says %q is left", got)
			}
			if got := found(examine(t, p, 0).Findings); !slices.Equal(got, want) {
				t.Errorf("left is %q, want %q", got, want)
			}
			if again := examine(t, p, 0); again.Objects != 11 || again.Claim.Token != "new" {
				t.Errorf("%+v", again)
			}
		})
	}
}

func TestNothingIsMendedThatIsYoungOrWhileTheStoreIsHeld(t *testing.T) {
	p := sick(t)
	all := found(examine(t, p, 0).Findings)
	r := examine(t, p, time.Hour)
	if err := doctor.Mend(t.Context(), p, r, doctor.Mendable, false); err != nil {
		t.Fatal(err)
	}
	if got := found(examine(t, p, 0).Findings); !slices.Equal(got, all) {
		t.Errorf("young ones were mended: left is %q", got)
	}
	if open := found(r.Open()); len(open) != 7 {
		t.Errorf("open: %q", open)
	}

	putClaim(t, p, 11, claim.Record{Token: "alive", Host: "here", PID: 42, Renewed: time.Now()})
	r = examine(t, p, 0)
	err := doctor.Mend(t.Context(), p, r, []doctor.Kind{doctor.Uploads}, false)
	if !errors.Is(err, doctor.ErrHeld) || !strings.Contains(err.Error(), "here (process 42) holds it") {
		t.Errorf("%v", err)
	}
	if uploads, err := p.ListUploads(t.Context(), ""); err != nil || len(uploads) != 1 {
		t.Errorf("%v, %v", uploads, err)
	}
	if err := doctor.Mend(t.Context(), p, r, []doctor.Kind{doctor.Uploads}, true); err != nil {
		t.Fatal(err)
	}
	if uploads, err := p.ListUploads(t.Context(), ""); err != nil || len(uploads) != 0 {
		t.Errorf("%v, %v", uploads, err)
	}
	if err := doctor.Mend(t.Context(), p, r, []doctor.Kind{doctor.NoPath}, true); err == nil {
		t.Error("no-path was mended")
	}
}

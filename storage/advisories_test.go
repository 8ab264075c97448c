package storage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sharefs/storage/container"
)

func TestAdvisoriesAreTheLastOnes(t *testing.T) {
	now := time.Unix(1_800_000_000, 123_000)
	s, err := Open(t.TempDir(), Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := s.Allocate(Index{}, Allocation{Shares: []int{3}, Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := got.Uploads[3].Write(0, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := got.Uploads[3].Close(); err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{"first", "second\n\nwith lines", strings.Repeat("ሴ", 2000)} {
		now = now.Add(time.Minute)
		if err := s.AdviseCorrupt(container.Immutable, Index{}, 3, reason); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.advisoriesDir(), "zzz"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	last, err := s.Advisories(2)
	if err != nil || len(last) != 2 {
		t.Fatalf("%v, %v", last, err)
	}
	want := Advisory{Time: now.Add(-time.Minute).UTC(), Index: Index{}.String(), Number: 3, Reason: "second\n\nwith lines"}
	if last[1] != want || !last[0].Time.Equal(now) || len(last[0].Reason) > maxReason+1 || !strings.HasPrefix(last[0].Reason, "ሴ") {
		t.Errorf("%+v", last)
	}
}

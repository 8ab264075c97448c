package swift

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"sharefs/provider"
	"sharefs/test/soak"
)

// TestWhatAnotherWriterStoredMeanwhileStays replaces a large object, by each way, and before what it had is tidied another process
// replaces it too.
func TestWhatAnotherWriterStoredMeanwhileStays(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	slow, other := b.Provider.(*store), open(t, b.cfg, Options{})
	defer other.Close()
	b.Provider = other
	b.large("k", bytesOf('a', 1000))
	slow.large.add("k")
	old, err := slow.replaced(ctx, "put", "k")
	if err != nil || len(old.segments) != 1 {
		t.Fatalf("%+v, %v", old, err)
	}
	b.large("k", bytesOf('b', 2000), bytesOf('c', 300))
	want := slices.Concat(bytesOf('b', 2000), bytesOf('c', 300))
	for name, now := range map[string]manifest{
		"by a small one, or by none": nil,
		"by a large one":             {{Name: "/" + slow.segments() + "/" + segmentName{"k", newID(), partNumber(1)}.String()}},
	} {
		slow.tidy(ctx, old, now)
		b.wantContent("k", want)
		b.wantSegments(2, name)
	}
	if err := slow.Delete(ctx, provider.DeleteOptions{}, "k"); err != nil {
		t.Fatal(err)
	}
	b.wantSegments(0, "deleted by the one that was late")
}

// TestWhatAChangeUsesStays replaces a large object while another process changes it in the middle, and uses what it had.
func TestWhatAChangeUsesStays(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	const segment = 10_000
	first := b.large("k", bytesOf('a', segment), bytesOf('b', segment))
	replacer := b.Provider
	b.reopen()
	up, err := b.NewUpload(ctx, "k", provider.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sent, err := up.PutPart(ctx, 1, bytes.NewReader(bytesOf('x', segment)), segment)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := up.CopyPart(ctx, 2, "k", provider.CopyPartOptions{Offset: segment, Length: segment, IfVersion: first.Version})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replacer.Put(ctx, "k", strings.NewReader("small"), 5, provider.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	b.wantSegments(4, "the two of before, the new one, and what stands for the upload")
	if _, err := up.Complete(ctx, []provider.Part{sent, copied}, provider.CompleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.wantContent("k", slices.Concat(bytesOf('x', segment), bytesOf('b', segment)))
	b.wantSegments(2, "what the object uses")
}

// TestSoakTwoWritersOfALargeObjectLeaveAWholeOne has two processes replace a large object at the same time.
func TestSoakTwoWritersOfALargeObjectLeaveAWholeOne(t *testing.T) {
	b := newBed(t)
	writers := []provider.Provider{b.Provider, open(t, b.cfg, Options{})}
	defer writers[1].Close()
	rounds := soak.Count(3, 100)
	b.large("k", bytesOf('-', 1000))
	for _, w := range writers {
		w.(*store).large.add("k")
	}
	for round := range rounds {
		var wg sync.WaitGroup
		for i, w := range writers {
			wg.Go(func() {
				if err := storeLarge(t.Context(), w, "k", bytesOf(byte('a'+i), 1000+round)); err != nil {
					t.Errorf("round %d: writer %d: %v", round, i, err)
				}
			})
		}
		wg.Wait()
		got, err := b.read("k", provider.OpenOptions{})
		if err != nil || !bytes.Equal(got, bytesOf('a', 1000+round)) && !bytes.Equal(got, bytesOf('b', 1000+round)) {
			t.Fatalf("round %d: %.20q… of %d bytes, %v", round, got, len(got), err)
		}
	}
	soak.Record(t, "times that two writers stored one large object, and it was whole", rounds)
}

// storeLarge stores data by an upload of one part.
func storeLarge(ctx context.Context, p provider.Provider, key string, data []byte) error {
	up, err := p.NewUpload(ctx, key, provider.UploadOptions{})
	if err != nil {
		return err
	}
	part, err := up.PutPart(ctx, 1, bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return fmt.Errorf("the part: %w", err)
	}
	_, err = up.Complete(ctx, []provider.Part{part}, provider.CompleteOptions{})
	return err
}

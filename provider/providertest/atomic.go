package providertest

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"sharefs/provider"
)

var atomicCases = []testCase{
	{"readers beside a writer see whole objects", func(t *tester) {
		sizes := map[byte]int{'a': 200_000, 'b': 50_000}
		t.put(t.key("k"), fill(sizes['a'], 'a'), nil)
		stop := make(chan struct{})
		var readers sync.WaitGroup
		defer func() {
			close(stop)
			readers.Wait()
		}()
		for range 2 {
			readers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if problem := t.oneRead(t.key("k"), sizes); problem != "" {
						t.Error(problem)
						return
					}
				}
			})
		}
		for i := range 20 {
			letter := "ab"[i%2]
			t.put(t.key("k"), fill(sizes[letter], letter), nil)
		}
	}},
	{"a new object appears whole", func(t *tester) {
		data := fill(300_000, 'n')
		for i := range 5 {
			key := t.key(fmt.Sprintf("k%d", i))
			done := make(chan struct{})
			go func() {
				defer close(done)
				if _, err := t.p.Put(t.ctx, key, bytes.NewReader(data), int64(len(data)), provider.PutOptions{}); err != nil {
					t.Error(err)
				}
			}()
			for seen := false; !seen; {
				got, o, err := t.open(key, provider.OpenOptions{})
				if err != nil {
					if !provider.Is(err, provider.KindNotFound) {
						t.Fatal(err)
					}
					select {
					case <-t.ctx.Done():
						t.Fatal(t.ctx.Err())
					default:
					}
					continue
				}
				seen = true
				if !bytes.Equal(got, data) || o.Size != int64(len(data)) {
					t.Errorf("it appeared as %s, size %d", shown(got), o.Size)
				}
			}
			<-done
		}
	}},
	{"writers of one key leave one of their objects", func(t *tester) {
		var writers sync.WaitGroup
		var wants [][]byte
		for i := range 4 {
			data := fill(20_000+i*1000, byte('a'+i))
			wants = append(wants, data)
			writers.Go(func() {
				if _, err := t.p.Put(t.ctx, t.key("k"), bytes.NewReader(data), int64(len(data)), provider.PutOptions{}); err != nil {
					t.Error(err)
				}
			})
		}
		writers.Wait()
		t.wantOneOf(t.key("k"), wants...)
	}},
}

// oneRead reads an object that is filled with one letter, and returns what is wrong with it.
func (t *tester) oneRead(key string, sizes map[byte]int) string {
	r, o, err := t.p.Open(t.ctx, key, provider.OpenOptions{})
	if err != nil {
		return fmt.Sprintf("open: %v", err)
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(r)
	if err != nil {
		if provider.Is(err, provider.KindPrecondition) || provider.Is(err, provider.KindUnavailable) {
			return "" // the object was replaced under the reader, and it said so
		}
		return fmt.Sprintf("read: %v", err)
	}
	if len(data) == 0 || len(data) != sizes[data[0]] || bytes.Count(data, data[:1]) != len(data) {
		return fmt.Sprintf("a torn object: %s", shown(data))
	}
	if o.Size != int64(len(data)) {
		return fmt.Sprintf("%d bytes, and the object says %d", len(data), o.Size)
	}
	return ""
}

package storagetest

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"sharefs/storage"
	"sharefs/storage/container"
)

var slotTests = map[string]func(b *bed){
	"ASlotIsMadeByItsFirstUpdate":            slotMade,
	"AnUpdateIsDoneIfAllTestsHold":           updateIfTestsHold,
	"AWrongWriteEnablerReadsAndChangesNone":  wrongEnabler,
	"WhatIsSkippedIsZeros":                   skippedIsZeros,
	"ANewLengthCutsOffAndZeroRemoves":        newLength,
	"ASlotHasMoreLeasesThanPlaces":           manyLeases,
	"RangesOfASlotAreReadUpToItsEnd":         slotRanges,
	"ALargeSlotIsChangedInPlace":             largeSlot,
	"AShareOfTheOtherKindIsAnErrorThatNames": otherKind,
	"AnUpdateBeyondTheDiskIsNoSpace":         slotNoSpace,
}

// write is an update of one share by writes.
func write(number int, writes ...storage.Write) map[int]storage.ShareUpdate {
	return map[int]storage.ShareUpdate{number: {Writes: writes}}
}

// update updates a slot with the secrets of client 0.
func (b *bed) update(i storage.Index, shares map[int]storage.ShareUpdate, read ...storage.Range) storage.SlotResult {
	b.Helper()
	got, err := b.store.ReadTestWrite(i, storage.SlotUpdate{Secrets: Slot(0), Shares: shares, Read: read})
	b.check(err)
	return got
}

func slotMade(b *bed) {
	i := Index(1)
	got := b.update(i, map[int]storage.ShareUpdate{
		0: {Writes: []storage.Write{{Data: []byte("first")}}},
		7: {},
	}, storage.Range{Length: 100})
	if !got.Written || len(got.Data) != 0 {
		b.Errorf("the first update: %+v", got)
	}
	b.shares(i, 0, 7)
	b.holds(i, 0, []byte("first"))
	b.holds(i, 7, nil)
	b.leases(i, 0, 0)
	b.treeIs(incoming, rel(i, 0), rel(i, 7))
	got = b.update(i, nil, storage.Range{Offset: 1, Length: 3}, storage.Range{Offset: 2, Length: 99}, storage.Range{Offset: 5, Length: 1})
	if want := [][]byte{[]byte("irs"), []byte("rst"), {}}; !got.Written || !slices.EqualFunc(got.Data[0], want, bytes.Equal) {
		b.Errorf("read %q, want %q", got.Data[0], want)
	}
}

func updateIfTestsHold(b *bed) {
	i := Index(1)
	b.update(i, write(0, storage.Write{Data: []byte("first")}))
	test := func(at, length int64, specimen string) storage.Test {
		return storage.Test{Range: storage.Range{Offset: at, Length: length}, Specimen: []byte(specimen)}
	}
	for _, c := range []struct {
		number int
		tests  []storage.Test
		want   bool
	}{
		{0, []storage.Test{test(0, 5, "first")}, true},
		{0, []storage.Test{test(0, 5, "other")}, false},
		{0, []storage.Test{test(0, 5, "first"), test(1, 1, "x")}, false},
		{0, []storage.Test{test(0, 50, "first")}, true},
		{0, []storage.Test{test(0, 4, "first")}, false},
		{0, []storage.Test{test(5, 1, "")}, true},
		{0, []storage.Test{test(1<<60, 1<<60, "")}, true},
		{1, []storage.Test{test(0, 1, "")}, true},
		{1, []storage.Test{test(0, 1, "x")}, false},
	} {
		update := map[int]storage.ShareUpdate{
			c.number: {Tests: c.tests, Writes: []storage.Write{{Data: []byte("again")}}},
			2:        {Writes: []storage.Write{{Data: []byte("also")}}},
		}
		got := b.update(i, update, storage.Range{Length: 10})
		if got.Written != c.want || string(got.Data[0][0]) != "first" {
			b.Errorf("share %d, %v: written is %v, want %v; read %q", c.number, c.tests, got.Written, c.want, got.Data[0])
		}
		if _, there := got.Data[2]; there {
			b.Errorf("share %d, %v: the update before has written in part", c.number, c.tests)
		}
		gone := storage.ShareUpdate{NewLength: new(int64)}
		b.update(i, map[int]storage.ShareUpdate{0: {Writes: []storage.Write{{Data: []byte("first")}}}, 1: gone, 2: gone})
	}
}

func wrongEnabler(b *bed) {
	i := Index(1)
	b.update(i, write(0, storage.Write{Data: []byte("first")}))
	got, err := b.store.ReadTestWrite(i, storage.SlotUpdate{
		Secrets: Slot(1), Shares: write(1, storage.Write{Data: []byte("second")}), Read: []storage.Range{{Length: 5}},
	})
	if !errors.Is(err, storage.ErrWriteEnabler) || got.Written || got.Data != nil {
		b.Errorf("with another write enabler: %+v, %v", got, err)
	}
	b.shares(i, 0)
	b.holds(i, 0, []byte("first"))
}

func skippedIsZeros(b *bed) {
	i := Index(1)
	b.update(i, write(0, storage.Write{Offset: 5, Data: []byte("x")}))
	b.holds(i, 0, []byte("\x00\x00\x00\x00\x00x"))
	two := int64(2)
	b.update(i, map[int]storage.ShareUpdate{0: {Writes: []storage.Write{{Data: []byte("abcdef")}}, NewLength: &two}})
	b.update(i, write(0, storage.Write{Offset: 4, Data: []byte("y")}))
	b.holds(i, 0, []byte("ab\x00\x00y"))
	b.update(i, write(0, storage.Write{Offset: 8}))
	b.holds(i, 0, []byte("ab\x00\x00y\x00\x00\x00"))
}

func newLength(b *bed) {
	i := Index(1)
	b.update(i, map[int]storage.ShareUpdate{0: {Writes: []storage.Write{{Data: []byte("abcdef")}}}, 1: {}})
	length := func(n int64) map[int]storage.ShareUpdate { return map[int]storage.ShareUpdate{0: {NewLength: &n}} }
	b.update(i, length(10))
	b.holds(i, 0, []byte("abcdef"))
	b.update(i, length(3))
	b.holds(i, 0, []byte("abc"))
	b.update(i, length(0))
	b.shares(i, 1)
	b.update(i, map[int]storage.ShareUpdate{1: {NewLength: new(int64), Writes: []storage.Write{{Data: []byte("x")}}}, 2: {NewLength: new(int64)}})
	b.shares(i)
	b.treeIs(incoming)
}

func manyLeases(b *bed) {
	i, data := Index(1), body(1, 1000)
	b.update(i, write(0, storage.Write{Data: data}))
	const clients = 7
	for n := 1; n < clients; n++ {
		b.check(b.store.AddLease(i, Lease(n)))
	}
	b.leases(i, 0, make([]time.Duration, clients)...)
	b.update(i, write(0, storage.Write{Offset: 1000, Data: data}))
	b.now = b.now.Add(time.Hour)
	b.check(b.store.RenewLease(i, Lease(clients-1).Renew))
	b.leases(i, 0, -time.Hour, -time.Hour, -time.Hour, -time.Hour, -time.Hour, -time.Hour, 0)
	b.holds(i, 0, append(bytes.Clone(data), data...))
}

func slotRanges(b *bed) {
	i := Index(1)
	b.update(i, map[int]storage.ShareUpdate{0: {Writes: []storage.Write{{Data: []byte("zero")}}}, 1: {Writes: []storage.Write{{Data: []byte("one")}}}})
	for _, c := range []struct {
		numbers []int
		want    map[int]string
	}{{nil, map[int]string{0: "ro", 1: "e"}}, {[]int{1, 2}, map[int]string{1: "e"}}, {[]int{2}, nil}} {
		got, err := b.store.ReadSlot(i, c.numbers, []storage.Range{{Offset: 2, Length: 1 << 40}})
		b.check(err)
		if len(got) != len(c.want) {
			b.Errorf("shares %v: %v, want %v", c.numbers, got, c.want)
		}
		for n, want := range c.want {
			if len(got[n]) != 1 || string(got[n][0]) != want {
				b.Errorf("share %d: %q, want %q", n, got[n], want)
			}
		}
	}
}

func largeSlot(b *bed) {
	i, data := Index(1), body(1, 9<<20)
	b.update(i, write(0, storage.Write{Data: data}))
	b.holds(i, 0, data)
	b.update(i, write(0, storage.Write{Offset: 100, Data: []byte("changed")}, storage.Write{Offset: 9 << 20, Data: []byte("longer")}))
	copy(data[100:], "changed")
	b.holds(i, 0, append(data, "longer"...))
	b.check(b.store.AddLease(i, Lease(1)))
	b.leases(i, 0, 0, 0)
	b.treeIs(incoming, rel(i, 0))
}

func otherKind(b *bed) {
	immutable, mutable := Index(1), Index(2)
	b.put(immutable, 0, body(1, 100))
	b.update(mutable, write(0, storage.Write{Data: body(1, 100)}))
	_, err := b.store.ReadTestWrite(immutable, storage.SlotUpdate{Secrets: Slot(0), Shares: write(0, storage.Write{Data: []byte("x")})})
	if wrong := new(container.Error); !errors.As(err, &wrong) || wrong.Name != b.file(immutable, 0) {
		b.Errorf("an immutable share as a slot: %v", err)
	}
	if _, err := b.store.ReadSlot(immutable, nil, []storage.Range{{Length: 10}}); !errors.Is(err, container.ErrUnknown) {
		b.Errorf("an immutable share read as a slot: %v", err)
	}
	b.holds(immutable, 0, body(1, 100))
}

func slotNoSpace(b *bed) {
	i := Index(1)
	b.room(1 << 40)
	b.update(i, write(0, storage.Write{Data: []byte("first")}))
	for at, want := range map[int64]error{
		1 << 41: storage.ErrNoSpace, container.MaxMutableSize - 1: storage.ErrNoSpace, container.MaxMutableSize: storage.ErrTooBig,
	} {
		byteAt := write(0, storage.Write{Offset: at, Data: []byte("x")})
		_, err := b.store.ReadTestWrite(i, storage.SlotUpdate{Secrets: Slot(0), Shares: byteAt})
		if !errors.Is(err, want) {
			b.Errorf("a byte at %d: %v, want %v", at, err, want)
		}
	}
	b.holds(i, 0, []byte("first"))
}

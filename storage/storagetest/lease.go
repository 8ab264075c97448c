package storagetest

import (
	"errors"
	"time"

	"sharefs/storage"
)

var leaseTests = map[string]func(b *bed){
	"ALeaseIsAddedOrRenewed":                addOrRenew,
	"ALeaseIsRenewedByItsSecretAlone":       renewBySecret,
	"ALeaseNeverEndsEarlier":                neverEarlier,
	"NoSpaceForALeaseIsAnErrorAndNoHalfOne": noSpaceForLease,
}

func addOrRenew(b *bed) {
	i, data := Index(1), body(1, 1000)
	b.put(i, 0, data)
	b.put(i, 1, data)
	b.now = b.now.Add(time.Hour)
	b.check(b.store.AddLease(i, Lease(1)))
	b.now = b.now.Add(time.Hour)
	b.check(b.store.AddLease(i, Lease(0)))
	for n := range 2 {
		b.leases(i, n, 0, -time.Hour)
		b.holds(i, n, data)
		if got, want := b.size(i, n), immutableSize(1000, 2); got != want {
			b.Errorf("the file has %d bytes, want %d", got, want)
		}
	}
	b.check(b.store.AddLease(Index(2), Lease(0)))
	b.shares(Index(2))
}

func renewBySecret(b *bed) {
	i := Index(1)
	b.put(i, 0, body(1, 1000))
	b.now = b.now.Add(time.Hour)
	if err := b.store.RenewLease(i, Lease(1).Renew); !errors.Is(err, storage.ErrNoLease) {
		b.Errorf("renewing a lease that is not there: %v", err)
	}
	if err := b.store.RenewLease(i, Lease(0).Cancel); !errors.Is(err, storage.ErrNoLease) {
		b.Errorf("renewing by the cancel secret: %v", err)
	}
	b.leases(i, 0, -time.Hour)
	b.check(b.store.RenewLease(i, Lease(0).Renew))
	b.leases(i, 0, 0)
	if err := b.store.RenewLease(Index(2), Lease(0).Renew); !errors.Is(err, storage.ErrNoLease) {
		b.Errorf("renewing the lease of no share: %v", err)
	}
}

func neverEarlier(b *bed) {
	i := Index(1)
	b.put(i, 0, body(1, 1000))
	b.now = b.now.Add(-time.Hour)
	b.check(b.store.AddLease(i, Lease(0)))
	b.check(b.store.RenewLease(i, Lease(0).Renew))
	b.leases(i, 0, time.Hour)
}

func noSpaceForLease(b *bed) {
	i := Index(1)
	b.put(i, 0, body(1, 1000))
	b.o.ReadOnly = true
	b.open()
	b.check(b.store.AddLease(i, Lease(0)))
	if err := b.store.AddLease(i, Lease(1)); !errors.Is(err, storage.ErrNoSpace) {
		b.Errorf("a new lease in a store that takes nothing: %v", err)
	}
	b.leases(i, 0, 0)
}

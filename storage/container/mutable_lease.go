package container

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// placeAt is where a place for a lease is in the file: the first four, then the further ones.
func (c *MutableFile) placeAt(i int64) int64 {
	if i < mutablePlaces {
		return mutableLeasesAt + i*mutableLease
	}
	return c.extra + 4 + (i-mutablePlaces)*mutableLease
}

// places returns what is in all places for leases. Those of owner 0 are empty.
func (c *MutableFile) places() ([]Lease, error) {
	records := make([]byte, (mutablePlaces+c.count)*mutableLease)
	first := mutablePlaces * mutableLease
	if err := readFull(c.file, records[:first], mutableLeasesAt); err != nil {
		return nil, fmt.Errorf("%s: its leases: %w", c.name, err)
	}
	if err := readFull(c.file, records[first:], c.placeAt(mutablePlaces)); err != nil {
		return nil, fmt.Errorf("%s: its further leases: %w", c.name, err)
	}
	leases := make([]Lease, 0, mutablePlaces+c.count)
	for ; len(records) > 0; records = records[mutableLease:] {
		leases = append(leases, decodeMutable(records, c.version))
	}
	return leases, nil
}

// Leases returns the leases.
func (c *MutableFile) Leases() ([]Lease, error) {
	places, err := c.places()
	leases := places[:0]
	for _, l := range places {
		if l.Owner != 0 {
			leases = append(leases, l)
		}
	}
	return leases, err
}

func (c *MutableFile) put(i int64, l Lease) error {
	_, err := c.file.WriteAt(l.encodeMutable(), c.placeAt(i))
	return err
}

// RenewLease renews the first lease with the secret.
func (c *MutableFile) RenewLease(renew Secret, expires time.Time) error {
	places, err := c.places()
	if err != nil {
		return err
	}
	for i, l := range places {
		if l.Owner == 0 || !l.RenewedBy(renew) {
			continue
		}
		if stamp(expires) <= l.Expires.Unix() {
			return nil
		}
		l.Expires = expires
		return c.put(int64(i), l)
	}
	return fmt.Errorf("%s: %w", c.name, ErrNoLease)
}

// AddOrRenewLease renews the lease or adds it, in the first empty place.
func (c *MutableFile) AddOrRenewLease(l NewLease, grow int64) error {
	err := c.RenewLease(l.Renew, l.Expires)
	if !errors.Is(err, ErrNoLease) {
		return err
	}
	if l.Owner == 0 {
		return fmt.Errorf("%s: a lease of owner 0, which is no lease", c.name)
	}
	places, err := c.places()
	if err != nil {
		return err
	}
	for i, p := range places {
		if p.Owner == 0 {
			return c.put(int64(i), l.made(c.version))
		}
	}
	if grow < mutableLease {
		return fmt.Errorf("%s: another lease: %w", c.name, ErrNoSpace)
	}
	if err := c.put(int64(len(places)), l.made(c.version)); err != nil {
		return err
	}
	count := binary.BigEndian.AppendUint32(nil, uint32(c.count+1))
	if _, err := c.file.WriteAt(count, c.extra); err != nil {
		return err
	}
	c.count++
	return nil
}

// CancelLease empties places. In version 2 even the secrets of nobody are hashed: so does Tahoe-LAFS.
func (c *MutableFile) CancelLease(l Lease) (int, error) {
	places, err := c.places()
	if err != nil {
		return 0, err
	}
	left := 0
	for _, p := range places {
		if p.Owner != 0 && !p.cancel.Equal(l.cancel) {
			left++
		}
	}
	nobody := NewLease{Expires: time.Unix(0, 0)}.made(c.version)
	for i, p := range places {
		if p.Owner == 0 || !p.cancel.Equal(l.cancel) {
			continue
		}
		if err := c.put(int64(i), nobody); err != nil {
			return left, err
		}
	}
	return left, nil
}

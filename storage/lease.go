package storage

import (
	"errors"
	"fmt"
	"os"

	"sharefs/storage/container"
)

// AddLease puts a lease on all shares of a storage index: the one with the renew secret is renewed, and made where there is
// none. No share is no error. ErrNoSpace: a new lease does not fit.
func (s *Store) AddLease(index Index, secrets LeaseSecrets) error {
	defer s.stats.time("add-lease", s.now)()
	defer s.locks.lock(index)()
	numbers, err := s.numbers(index)
	if err != nil {
		return err
	}
	return s.addLeases(index, numbers, s.newLease(ownerOfLease, secrets))
}

// RenewLease renews the lease with the secret on all shares of a storage index. ErrNoLease: a share has none, or there is no
// share; those before it are renewed.
func (s *Store) RenewLease(index Index, renew Secret) error {
	defer s.stats.time("renew", s.now)()
	defer s.locks.lock(index)()
	numbers, err := s.numbers(index)
	if err != nil {
		return err
	}
	if len(numbers) == 0 {
		return fmt.Errorf("shares of %v: %w", index, ErrNoLease)
	}
	expires := s.now().Add(container.LeaseDuration)
	return s.changeLeases(index, numbers, func(c container.Container) error { return c.RenewLease(renew, expires) })
}

// Leases returns the leases of a share, in the order of its file.
func (s *Store) Leases(index Index, number int) ([]Lease, error) {
	info, err := s.Inspect(index, number)
	return info.Leases, err
}

// addLeases is for who has the lock of the index.
func (s *Store) addLeases(index Index, numbers []int, lease container.NewLease) error {
	if len(numbers) == 0 {
		return nil
	}
	free := s.AvailableSpace()
	return s.changeLeases(index, numbers, func(c container.Container) error { return c.AddOrRenewLease(lease, free) })
}

// changeLeases changes the leases of shares. The caller has the lock of the index.
func (s *Store) changeLeases(index Index, numbers []int, change func(container.Container) error) error {
	for _, n := range numbers {
		name := shareName{index, n}
		f, c, size, err := s.open(name, os.O_RDWR)
		if err != nil {
			return err
		}
		if m, ok := c.(*container.MutableFile); ok {
			err = s.changeSlotLease(name, f, m, size, change)
		} else {
			err = errors.Join(s.changeInPlace(f, c, change), f.Close())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) changeInPlace(f File, c container.Container, change func(container.Container) error) error {
	if err := change(c); err != nil {
		return err
	}
	return s.sync(f, Durable)
}

// changeSlotLease changes a slot's leases as its data are changed.
func (s *Store) changeSlotLease(name shareName, f File, c *container.MutableFile, size int64, change func(container.Container) error) (err error) {
	d, err := s.edit(name, f, c, size, size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.discard()) }()
	if err := change(d.share); err != nil {
		return err
	}
	if err := d.finish(); err != nil {
		return err
	}
	return d.commit()
}

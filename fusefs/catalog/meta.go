package catalog

import "fmt"

// NewIno returns an inode number that was never used.
func (tx *Tx) NewIno() (uint64, error) {
	return tx.number("next_ino", &tx.c.nextIno, &tx.c.inoLimit, &tx.inoUpTo)
}

// NewID returns an id for a content or a staged file that was never used.
func (tx *Tx) NewID() (uint64, error) {
	return tx.number("next_id", &tx.c.nextID, &tx.c.idLimit, &tx.idUpTo)
}

// number takes the next of a reserved run of numbers. A transaction that is rolled back skips what it took, and the
// reservation is then made again: the limit in memory is only raised by what a commit can have written.
func (tx *Tx) number(name string, next, limit, upTo *uint64) (uint64, error) {
	if *next >= max(*limit, *upTo) {
		*upTo = *next + reserve
		if err := tx.exec("UPDATE meta SET value = ? WHERE name = ?", int64(*upTo), name); err != nil {
			return 0, err
		}
		tx.After(func() { *limit = *upTo })
	}
	n := *next
	*next++
	return n, nil
}

// PutTag returns a new value for the metadata sharefs-put: the catalog's id and a number that was never used.
func (tx *Tx) PutTag() (string, error) {
	tx.intend()
	n, err := tx.NewID()
	return fmt.Sprintf("%s-%d", tx.c.id, n), err
}

// Bind gives a new catalog the name of its store, and returns the name that it has.
func (tx *Tx) Bind(store string) (string, error) {
	if err := tx.exec("INSERT OR IGNORE INTO meta (name, value) VALUES ('store', ?)", store); err != nil {
		return "", err
	}
	s, err := tx.c.stmt("SELECT value FROM meta WHERE name = 'store'")
	if err != nil {
		return "", err
	}
	var have string
	err = s.QueryRow().Scan(&have)
	return have, err
}

// Store returns the name of the store that the catalog was bound to; empty when it never was.
func (tx *Tx) Store() (name string, err error) {
	s, err := tx.c.stmt("SELECT coalesce((SELECT value FROM meta WHERE name = 'store'), '')")
	if err != nil {
		return "", err
	}
	err = s.QueryRow().Scan(&name)
	return name, err
}

// Number returns a number that was set under a name; 0 when none was.
func (tx *Tx) Number(name string) (uint64, error) {
	s, err := tx.c.stmt("SELECT coalesce((SELECT value FROM meta WHERE name = ?), 0)")
	if err != nil {
		return 0, err
	}
	var n int64
	err = s.QueryRow("number_" + name).Scan(&n)
	return uint64(n), err
}

// SetNumber sets the number of a name.
func (tx *Tx) SetNumber(name string, n uint64) error {
	return tx.exec("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", "number_"+name, int64(n))
}

// Boot returns the id of the boot that the catalog was last used under; empty: a new catalog.
func (tx *Tx) Boot() (string, error) {
	s, err := tx.c.stmt("SELECT coalesce((SELECT value FROM meta WHERE name = 'boot'), '')")
	if err != nil {
		return "", err
	}
	var boot string
	err = s.QueryRow().Scan(&boot)
	return boot, err
}

// SetBoot notes the boot that the catalog is used under.
func (tx *Tx) SetBoot(boot string) error {
	return tx.exec("INSERT OR REPLACE INTO meta (name, value) VALUES ('boot', ?)", boot)
}

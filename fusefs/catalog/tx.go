package catalog

import (
	"database/sql"
	"errors"
)

type scanner interface{ Scan(...any) error }

// Tx is the catalog inside View or Update.
type Tx struct {
	c     *Catalog
	usage Usage
	named map[uint64]bool // live files that were put or deleted: whether they have a name
	after []func()

	inoUpTo, idUpTo uint64 // reserved by this transaction
	seq             uint64 // see Catalog.Seq
}

// After adds a function that runs when the transaction has been committed, under the catalog's lock: it must be short
// and must not use the catalog.
func (tx *Tx) After(f func()) { tx.after = append(tx.after, f) }

func (tx *Tx) exec(text string, args ...any) error {
	s, err := tx.c.stmt(text)
	if err != nil {
		return err
	}
	_, err = s.Exec(args...)
	return err
}

func (tx *Tx) one(text string, args ...any) (*Inode, error) {
	s, err := tx.c.stmt(text)
	if err != nil {
		return nil, err
	}
	return scanInode(s.QueryRow(args...))
}

func (tx *Tx) many(text string, args ...any) ([]*Inode, error) {
	return collect(tx, scanInode, text, args...)
}

// collect returns the rows of a query.
func collect[T any](tx *Tx, scan func(scanner) (T, error), text string, args ...any) ([]T, error) {
	s, err := tx.c.stmt(text)
	if err != nil {
		return nil, err
	}
	rows, err := s.Query(args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, rows.Err()
}

func (tx *Tx) exists(text string, args ...any) (bool, error) {
	s, err := tx.c.stmt(text)
	if err != nil {
		return false, err
	}
	var one int
	err = s.QueryRow(args...).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

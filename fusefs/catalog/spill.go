package catalog

import "sharefs/provider"

// Spill is a range of a staged file whose bytes are in the store, in an object of their own, to spare the local disk. All that
// is absent of the range in the staged file is in the object. Spills of one staged file do not overlap.
type Spill struct {
	Stage    uint64
	Off, Len int64
	Key      string
	Version  provider.Version
}

// PutSpill notes a spill, in the place of the one that begins at the same offset.
func (tx *Tx) PutSpill(s Spill) error {
	return tx.exec("INSERT OR REPLACE INTO spill (stage, off, len, key, version) VALUES (?, ?, ?, ?, ?)",
		int64(s.Stage), s.Off, s.Len, s.Key, string(s.Version))
}

// DeleteSpills forgets the spills of a staged file.
func (tx *Tx) DeleteSpills(stage uint64) error {
	return tx.exec("DELETE FROM spill WHERE stage = ?", int64(stage))
}

// Spills returns the spills of a staged file, in order.
func (tx *Tx) Spills(stage uint64) ([]Spill, error) {
	return tx.spills("WHERE stage = ? ORDER BY off", int64(stage))
}

// AllSpills returns the spills of all staged files.
func (tx *Tx) AllSpills() ([]Spill, error) { return tx.spills("ORDER BY stage, off") }

func (tx *Tx) spills(text string, args ...any) ([]Spill, error) {
	return collect(tx, func(row scanner) (p Spill, err error) {
		var version string
		err = row.Scan(&p.Stage, &p.Off, &p.Len, &p.Key, &version)
		p.Version = provider.Version(version)
		return p, err
	}, "SELECT stage, off, len, key, version FROM spill "+text, args...)
}

package catalog

import (
	"time"

	"sharefs/provider"
)

// Doomed is an object in the store that no file wants any more.
type Doomed struct {
	Key     string
	Version provider.Version
	Since   time.Time
	Sent    Sent
}

// Sent is what request for a doomed key may be under way, of this process or of one that has ended.
type Sent uint8

// What may be under way.
const (
	SentNothing Sent = iota
	SentDelete
	SentWrite // one that was to make the object, before its file was unlinked
)

// Doom notes that the object at key is to be deleted.
func (tx *Tx) Doom(key string, v provider.Version, since time.Time) error {
	return tx.DoomSent(key, v, since, SentNothing)
}

// DoomSent is Doom for a key for which a request may be under way.
func (tx *Tx) DoomSent(key string, v provider.Version, since time.Time, s Sent) error {
	return tx.exec("INSERT OR REPLACE INTO doomed (key, version, since, sent) VALUES (?, ?, ?, ?)", key, string(v), since.UnixNano(), s)
}

// MarkSent notes that a delete of a doomed object is about to leave.
func (tx *Tx) MarkSent(key string) error {
	tx.intend()
	return tx.exec("UPDATE doomed SET sent = ? WHERE key = ? AND sent = 0", SentDelete, key)
}

// Spare forgets that the object at key was to be deleted: it is gone, or has been replaced by a wanted one.
func (tx *Tx) Spare(key string) error {
	return tx.exec("DELETE FROM doomed WHERE key = ?", key)
}

func (tx *Tx) doomed(text string, args ...any) ([]Doomed, error) {
	return collect(tx, func(row scanner) (d Doomed, err error) {
		var version string
		var since int64
		err = row.Scan(&d.Key, &version, &since, &d.Sent)
		d.Version, d.Since = provider.Version(version), time.Unix(0, since)
		return d, err
	}, "SELECT key, version, since, sent FROM doomed "+text, args...)
}

// AllDoomed returns every object that is to be deleted, by key.
func (tx *Tx) AllDoomed() ([]Doomed, error) { return tx.doomed("ORDER BY key") }

// DoomedAt returns the object at key, if it is to be deleted.
func (tx *Tx) DoomedAt(key string) (Doomed, bool, error) {
	list, err := tx.doomed("WHERE key = ?", key)
	if err != nil || len(list) == 0 {
		return Doomed{}, false, err
	}
	return list[0], true, nil
}

// DoomedBelow returns at most limit objects that are to be deleted with keys that begin with prefix.
func (tx *Tx) DoomedBelow(prefix string, limit int) ([]Doomed, error) {
	if prefix == "" {
		return tx.doomed("ORDER BY key LIMIT ?", limit)
	}
	end := []byte(prefix)
	for len(end) > 0 && end[len(end)-1] == 0xff {
		end = end[:len(end)-1]
	}
	if len(end) == 0 {
		return tx.doomed("WHERE key >= ? ORDER BY key LIMIT ?", prefix, limit)
	}
	end[len(end)-1]++
	return tx.doomed("WHERE key >= ? AND key < ? ORDER BY key LIMIT ?", prefix, string(end), limit)
}

package catalog

// Upload is an upload in parts that was begun and, as far as the catalog knows, neither completed nor aborted.
type Upload struct {
	Key string
	ID  string // empty: it is about to be begun, or was, and the store's answer is not known
}

// NoteUpload notes an upload. With an ID it takes the place of the one without.
func (tx *Tx) NoteUpload(u Upload) error {
	tx.intend()
	if u.ID != "" {
		if err := tx.ForgetUpload(Upload{Key: u.Key}); err != nil {
			return err
		}
	}
	return tx.exec("INSERT OR IGNORE INTO upload (key, id) VALUES (?, ?)", u.Key, u.ID)
}

// ForgetUpload notes that an upload is no more.
func (tx *Tx) ForgetUpload(u Upload) error {
	return tx.exec("DELETE FROM upload WHERE key = ? AND id = ?", u.Key, u.ID)
}

// Uploads returns the uploads that were noted, by key; UploadsAt those of one key.
func (tx *Tx) Uploads() ([]Upload, error) {
	return tx.uploads("SELECT key, id FROM upload ORDER BY key, id")
}

// UploadsAt is described at Uploads.
func (tx *Tx) UploadsAt(key string) ([]Upload, error) {
	return tx.uploads("SELECT key, id FROM upload WHERE key = ? ORDER BY id", key)
}

func (tx *Tx) uploads(text string, args ...any) ([]Upload, error) {
	return collect(tx, func(row scanner) (u Upload, err error) {
		err = row.Scan(&u.Key, &u.ID)
		return u, err
	}, text, args...)
}

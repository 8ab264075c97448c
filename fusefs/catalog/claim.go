package catalog

import "strings"

// Seq returns the catalog's sequence number. It grows with every transaction that notes the intent of a request which is
// going to change the store, and with no other. A catalog whose number is lower than one that was seen outside has
// lost transactions.
func (c *Catalog) Seq() uint64 { return c.seq.Load() }

// DurableSeq returns the sequence number that the last Sync has made durable; 0 before the first.
func (c *Catalog) DurableSeq() uint64 {
	c.syncer.mu.Lock()
	defer c.syncer.mu.Unlock()
	return c.syncer.seq
}

// intend raises the sequence number when the transaction is committed.
func (tx *Tx) intend() { tx.seq = tx.c.seq.Load() + 1 }

// saveSeq writes the sequence number if it is to grow.
func (tx *Tx) saveSeq() error {
	if tx.seq == tx.c.seq.Load() {
		return nil
	}
	return tx.exec("INSERT OR REPLACE INTO meta (name, value) VALUES ('seq', ?)", int64(tx.seq))
}

// Claim is what a catalog remembers of its claim on the store.
type Claim struct {
	Token string   // of the claim that this catalog held last; empty: it never held one
	Tried []string // of those that it was about to take since, and may have taken
	// Superseded: the store was another catalog's since, so that what is pending here must not be stored.
	Superseded bool
}

// Claim returns what SetClaim noted last.
func (tx *Tx) Claim() (c Claim, err error) {
	s, err := tx.c.stmt(`SELECT coalesce((SELECT value FROM meta WHERE name = 'claim'), ''),
		coalesce((SELECT value FROM meta WHERE name = 'claim_tried'), ''),
		coalesce((SELECT value FROM meta WHERE name = 'claim_superseded'), 0)`)
	if err != nil {
		return c, err
	}
	var tried string
	err = s.QueryRow().Scan(&c.Token, &tried, &c.Superseded)
	c.Tried = strings.Fields(tried)
	return c, err
}

// SetClaim notes the claim.
func (tx *Tx) SetClaim(c Claim) error {
	return tx.exec("INSERT OR REPLACE INTO meta (name, value) VALUES ('claim', ?), ('claim_tried', ?), ('claim_superseded', ?)",
		c.Token, strings.Join(c.Tried, " "), c.Superseded)
}

// Forget removes all names but the root's, and what is to be deleted except below the prefix, as if the store had never been
// listed. Uploads that were begun stay noted.
func (tx *Tx) Forget(except string) error {
	tx.usage = Usage{Unlisted: 1} // the root
	for _, text := range []string{
		"DELETE FROM inode WHERE ino <> ?",
		"UPDATE inode SET complete = 0, dirty = 0, meta = 0, put_key = '', put_tag = '' WHERE ino = ?",
	} {
		if err := tx.exec(text, RootIno); err != nil {
			return err
		}
	}
	if err := tx.exec("DELETE FROM doomed WHERE substr(key, 1, length(?1)) <> ?1", except); err != nil {
		return err
	}
	return tx.exec("DELETE FROM spill")
}

package tree

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sharefs/fusefs/catalog"
	"sharefs/provider"
	"sharefs/provider/keycodec"
	"sharefs/provider/transfer"
)

// A checkpoint is what the catalog knows of the store's objects, in the store: a new machine with an empty disk gets names,
// modes, owners and times from it, and asks only for what has another Revision since. It is the object
// .sharefs/catalog-N, N growing, 20 digits: lines of JSON, compressed by gzip. The first is a checkpointHeader, each other one
// a checkpointRow; a directory comes before what is in it. Nothing in it is believed that a listing does not confirm.
//
// What is pending, and what is not known, is not in it.

const (
	checkpointFormat = 1

	// A checkpoint is written at most so often while the mount serves, and only when it is small beside what was stored since
	// the last one; at an unmount also when it is small.
	checkpointEvery   = time.Hour
	checkpointShare   = 100 // of the bytes that were sent
	smallCheckpoint   = 4 << 20
	checkpointRowSize = 64 // bytes, about, compressed

	checkpointBatch = 1000
	// maxCheckpointLine bounds a line, in bytes: of metadata a store takes some KiB.
	maxCheckpointLine = 1 << 20
)

type checkpointHeader struct {
	Format  int       `json:"sharefs_checkpoint"`
	Catalog string    `json:"catalog"` // the id of the one that wrote it
	Seq     uint64    `json:"seq"`     // its sequence number then
	Time    time.Time `json:"time"`
	Files   int64     `json:"files"`
	Dirs    int64     `json:"directories"`
	Bytes   int64     `json:"bytes"`
}

// checkpointRow is an object, or a directory with or without a marker.
type checkpointRow struct {
	Key      string            `json:"k"`
	Stored   bool              `json:"o,omitempty"` // there is an object: always, but for directories without a marker
	Mode     uint32            `json:"m"`
	UID      uint32            `json:"u"`
	GID      uint32            `json:"g"`
	Times    [3]int64          `json:"t"` // atime, mtime, ctime in ns since 1970
	Size     int64             `json:"s,omitempty"`
	Target   []byte            `json:"l,omitempty"` // any bytes
	Xattrs   map[string][]byte `json:"x,omitempty"`
	Foreign  provider.Metadata `json:"f,omitempty"`
	Type     string            `json:"c,omitempty"`
	Version  provider.Version  `json:"v,omitempty"`
	Revision provider.Revision `json:"r,omitempty"`
}

// Checkpoint writes a checkpoint if something was stored since the last one, and if that is worth its bytes: it is small, or
// small beside what was sent. Without force only the latter counts.
func (t *Tree) Checkpoint(ctx context.Context, force bool) error {
	if t.othersChange() || t.o.Attributes != AttributesFull {
		return nil // it would be out of date; or a listing tells all there is
	}
	t.checkpointing.Lock()
	defer t.checkpointing.Unlock()
	var last uint64
	err := t.cat.View(func(tx *catalog.Tx) (err error) {
		last, err = tx.Number(checkpointSeq)
		return err
	})
	seq, sent := t.cat.Seq(), t.sent.Load()
	u := t.cat.Usage()
	size := (u.Files + u.Dirs) * checkpointRowSize
	worth := size <= (sent-t.sentAtCheckpoint)/checkpointShare || force && size <= smallCheckpoint
	if err != nil || seq == last || !worth {
		return err
	}
	if err := t.writeCheckpoint(ctx, seq); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	t.sentAtCheckpoint = sent
	return t.cat.Update(func(tx *catalog.Tx) error { return tx.SetNumber(checkpointSeq, seq) })
}

// checkpointSeq is the name of the number that says what the last checkpoint of this catalog holds.
const checkpointSeq = "checkpoint_seq"

func (t *Tree) writeCheckpoint(ctx context.Context, seq uint64) (err error) {
	old, err := t.checkpoints(ctx)
	if err != nil {
		return err
	}
	next := uint64(1)
	if n := len(old); n > 0 {
		next = checkpointNumber(old[n-1]) + 1
	}
	f, err := os.OpenFile(filepath.Join(t.o.CacheDir, "checkpoint"), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600) // one, if a kill leaves it
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if err := t.exportTo(ctx, f, seq); err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	key := fmt.Sprintf("%s%020d", provider.Checkpoints, next)
	if _, err := transfer.Put(ctx, t.store, key, f, size, transfer.Options{ContentType: "application/gzip"}); err != nil {
		return err
	}
	if len(old) == 0 {
		return nil
	}
	return t.store.Delete(ctx, provider.DeleteOptions{}, old...)
}

// checkpoints returns the keys of the checkpoints, the newest last.
func (t *Tree) checkpoints(ctx context.Context) (keys []string, err error) {
	for token := ""; ; {
		page, err := t.store.List(ctx, provider.ListOptions{Prefix: provider.Checkpoints, Flat: true, Token: token})
		if err != nil {
			return nil, err
		}
		for _, o := range page.Objects {
			if checkpointNumber(o.Key) > 0 {
				keys = append(keys, o.Key)
			}
		}
		if token = page.Next; token == "" {
			return keys, nil
		}
	}
}

// checkpointNumber returns the N of a checkpoint's key; 0 for another key.
func checkpointNumber(key string) uint64 {
	digits := strings.TrimPrefix(key, provider.Checkpoints)
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || len(digits) != 20 {
		return 0
	}
	return n
}

// exportTo writes a checkpoint.
func (t *Tree) exportTo(ctx context.Context, w io.Writer, seq uint64) error {
	z := gzip.NewWriter(w)
	lines := json.NewEncoder(z)
	u := t.cat.Usage()
	if err := lines.Encode(checkpointHeader{checkpointFormat, t.cat.ID(), seq, t.o.Now().UTC(), u.Files, u.Dirs, u.Bytes}); err != nil {
		return err
	}
	type dir struct {
		ino uint64
		key string
	}
	for dirs := []dir{{Root, ""}}; len(dirs) > 0; {
		d := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		for after, n := uint64(0), checkpointBatch; n == checkpointBatch; {
			var rows []*catalog.Inode
			var keys []string
			err := t.cat.View(func(tx *catalog.Tx) (err error) {
				if rows, err = tx.Children(d.ino, after, checkpointBatch); err != nil {
					return err
				}
				keys = make([]string, len(rows))
				for i, row := range rows {
					if keys[i], err = tx.Key(row); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			n = len(rows)
			for i, row := range rows {
				after = row.Ino
				if row.IsDir() {
					dirs = append(dirs, dir{row.Ino, keys[i]})
				}
				if r, ok := toCheckpoint(row, keys[i]); ok {
					if err := lines.Encode(r); err != nil {
						return err
					}
				}
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return z.Close()
}

// toCheckpoint makes a line of a row; not ok: it is not known, or not what is stored.
func toCheckpoint(n *catalog.Inode, key string) (checkpointRow, bool) {
	if !n.Known || pendingRow(n) || n.Key != key && !(n.IsDir() && n.Key == "") {
		return checkpointRow{}, false
	}
	return checkpointRow{Key: key, Stored: n.Key != "", Mode: n.Mode, UID: n.UID, GID: n.GID,
		Times: [3]int64{n.Atime.UnixNano(), n.Mtime.UnixNano(), n.Ctime.UnixNano()}, Size: n.StoredSz, Target: []byte(n.Target),
		Xattrs: n.Xattrs, Foreign: n.Foreign, Type: n.ContentType, Version: n.Version, Revision: n.Revision}, true
}

// restore fills a catalog that knows nothing from the newest checkpoint, if there is one. A catalog that knows that there is
// nothing, or what is to be deleted, does not need it. What a checkpoint cannot give is asked of the store later.
func (t *Tree) restore(ctx context.Context, how trust) error {
	if u := t.cat.Usage(); how != trustNothing || t.o.Shared || u.Files+u.Dirs > 0 || t.o.Attributes != AttributesFull {
		return nil
	}
	pending := 0
	err := t.cat.View(func(tx *catalog.Tx) error {
		sum, err := tx.PendingSummary()
		pending = sum.Items
		return err
	})
	if err != nil || pending > 0 {
		return err
	}
	keys, err := t.checkpoints(ctx)
	if err != nil || len(keys) == 0 {
		return err
	}
	key := keys[len(keys)-1]
	body, _, err := t.store.Open(ctx, key, provider.OpenOptions{})
	if err != nil {
		return fmt.Errorf("checkpoint %s: %w", key, err)
	}
	defer body.Close()
	var rows int
	err = t.cat.Update(func(tx *catalog.Tx) (err error) {
		rows, err = t.importFrom(ctx, tx, body)
		return err
	})
	if err != nil {
		return fmt.Errorf("checkpoint %s: %w", key, err)
	}
	t.o.Logger.Info("what is known of the store comes from a checkpoint", "key", key, "rows", rows)
	return nil
}

// importFrom makes rows of a checkpoint, all or none.
func (t *Tree) importFrom(ctx context.Context, tx *catalog.Tx, r io.Reader) (rows int, err error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, maxCheckpointLine)
	var header checkpointHeader
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &header) != nil || header.Format < 1 {
		return 0, errors.Join(errors.New("it does not begin with a header"), lines.Err())
	}
	if header.Format > checkpointFormat {
		return 0, fmt.Errorf("it has format %d, this sharefs reads up to %d", header.Format, checkpointFormat)
	}
	dirs := map[string]uint64{"": Root}
	for lines.Scan() {
		var row checkpointRow
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return rows, err
		}
		if err := t.importRow(tx, dirs, row); err != nil {
			return rows, err
		}
		if rows++; rows%checkpointBatch == 0 && ctx.Err() != nil {
			return rows, ctx.Err()
		}
	}
	return rows, lines.Err()
}

// importRow makes a row. One whose directory is not known is left out, and so is what is no path.
func (t *Tree) importRow(tx *catalog.Tx, dirs map[string]uint64, r checkpointRow) error {
	isDir := strings.HasSuffix(r.Key, "/")
	path := strings.TrimSuffix(r.Key, "/")
	at := strings.LastIndexByte(path, '/') + 1
	parent, ok := dirs[path[:at]]
	kind := r.Mode & provider.ModeType
	if !ok || !validPath(r.Key) || isDir != (kind == provider.ModeDir) || strings.HasPrefix(r.Key, provider.Reserved) {
		return nil
	}
	row, err := t.newRow(tx, parent, keycodec.Decode(path[at:]))
	if err != nil {
		return err
	}
	row.Mode, row.UID, row.GID, row.Known = r.Mode, r.UID, r.GID, true
	row.Atime, row.Mtime, row.Ctime = time.Unix(0, r.Times[0]), time.Unix(0, r.Times[1]), time.Unix(0, r.Times[2])
	row.Xattrs, row.Foreign, row.ContentType = r.Xattrs, r.Foreign, r.Type
	if r.Stored {
		row.Key, row.Version, row.Revision = r.Key, r.Version, r.Revision
	}
	switch kind {
	case provider.ModeDir:
		dirs[r.Key] = row.Ino
	case provider.ModeSymlink:
		row.Target, row.Size, row.StoredSz = string(r.Target), int64(len(r.Target)), r.Size
	case provider.ModeFile:
		row.Size, row.StoredSz = r.Size, r.Size
		if row.Content, err = tx.NewID(); err != nil {
			return err
		}
	default:
		return nil
	}
	return tx.Put(row)
}

// keepCheckpoints writes a checkpoint now and then, until the tree is closed.
func (t *Tree) keepCheckpoints() {
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-t.ctx.Done():
			return
		}
		if err := t.Checkpoint(t.ctx, false); err != nil && t.ctx.Err() == nil {
			t.o.Logger.Warn("no checkpoint is written now", "err", err)
		}
	}
}

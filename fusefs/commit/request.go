package commit

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strings"

	"sharefs/fusefs/catalog"
	"sharefs/provider"
	"sharefs/provider/limit"
	"sharefs/provider/transfer"
)

// metadata is what is stored with an inode's object.
func (c *Committer) metadata(n *catalog.Inode, tag string) provider.Metadata {
	md := provider.Metadata{}
	maps.Copy(md, n.Foreign)
	switch {
	case c.o.Attributes:
		maps.Copy(md, Attrs(n).Metadata())
	case n.IsSymlink():
		md[provider.MetaMode] = provider.Attrs{Mode: n.Mode, Has: provider.HasMode}.Metadata()[provider.MetaMode]
	}
	md[provider.MetaPut] = tag
	return md
}

// Attrs returns an inode's attributes as they are stored.
func Attrs(n *catalog.Inode) provider.Attrs {
	return provider.Attrs{Mode: n.Mode, UID: n.UID, GID: n.GID, Mtime: n.Mtime, Ctime: n.Ctime, Atime: n.Atime, Xattrs: n.Xattrs,
		Has: provider.HasMode | provider.HasUID | provider.HasGID | provider.HasMtime | provider.HasCtime | provider.HasAtime | provider.HasXattrs}
}

// condition is what the catalog believes of the key that is about to be replaced, where the store can check it. Copies
// have none: stores that check it for a Put may not for a Copy.
func (c *Committer) condition(p plan) provider.Condition {
	if p.kind != putFile && p.kind != putSymlink && (p.kind != putMarker || !c.o.Shared) {
		return provider.Condition{}
	}
	version, known := p.over, p.held
	if !known && p.n.Key == p.key {
		version, known = p.n.Version, true
	}
	switch {
	case !known && c.caps.CreateIfAbsent:
		return provider.Condition{Absent: true}
	case known && version != "" && c.caps.ReplaceIfVersion:
		return provider.Condition{Version: version}
	}
	return provider.Condition{}
}

// found looks at what is really at a key after a condition did not hold. mine: it is what the request has made, whose
// answer was lost. Otherwise it is replaced, as a write to a file replaces it on any shared disk; cond is the condition
// for that. What another program has put there, and no earlier request of this catalog, is reported.
func (c *Committer) found(p plan, tag string, _ provider.Condition) (have provider.Object, cond provider.Condition, mine bool, err error) {
	have, err = c.store.Stat(c.ctx, p.key)
	switch {
	case provider.Is(err, provider.KindNotFound):
		return have, provider.Condition{Absent: c.caps.CreateIfAbsent}, false, nil
	case err != nil:
		return have, cond, false, err
	case have.Metadata[provider.MetaPut] == tag:
		return have, cond, true, nil
	}
	if !c.isOwn(have) {
		c.foundForeign("replacing", p.key, have)
	}
	if c.caps.ReplaceIfVersion {
		cond.Version = have.Version
	}
	return have, cond, false, nil
}

// request sends one request.
func (c *Committer) request(p plan, snap Snapshot, md provider.Metadata, cond provider.Condition) (provider.Object, error) {
	n, ctx := p.n, c.watched(c.sending(p.urgent), p.lateAs(cond), p.from(), p.key)
	switch p.kind {
	case putFile:
		o := c.noted(p.key, transfer.Options{If: cond, Metadata: md, ContentType: n.ContentType})
		if p.pieces != nil {
			return transfer.Patch(ctx, c.store, p.key, snap, p.pieces, n.Key, n.Version, o)
		}
		return transfer.Put(ctx, c.store, p.key, snap, snap.Size(), o)
	case putSymlink:
		return c.store.Put(ctx, p.key, strings.NewReader(n.Target), int64(len(n.Target)), provider.PutOptions{If: cond, Metadata: md})
	case putMarker:
		return c.store.Put(ctx, p.key, bytes.NewReader(nil), 0,
			provider.PutOptions{If: cond, Metadata: md, ContentType: "application/x-directory"})
	case moveFile:
		return c.store.Move(ctx, n.Key, p.key)
	case copyFile:
		if !n.Known || !c.o.Attributes {
			md = nil // kept as it is
		}
		return transfer.Copy(ctx, c.store, n.Key, p.key, n.StoredSz, n.Version,
			c.noted(p.key, transfer.Options{Metadata: md, ContentType: n.ContentType}))
	case copyMeta:
		return transfer.Copy(ctx, c.store, n.Key, n.Key, n.StoredSz, n.Version,
			c.noted(p.key, transfer.Options{Metadata: md, ContentType: n.ContentType}))
	}
	return provider.Object{}, fmt.Errorf("no request for plan %d", p.kind)
}

// sending returns the context of a request. What nobody waits for lets others go first.
func (c *Committer) sending(urgent bool) context.Context {
	if urgent {
		return c.ctx
	}
	return limit.Background(c.ctx)
}

// Package provider is the contract between sharefs and a store of objects: Amazon S3 and its look-alikes,
// OpenStack Swift, a directory on a disk, memory. This file is the whole contract; errors.go, key.go, attrs.go
// hold the vocabulary that it uses.
//
// A driver is a package below this one that implements Provider. It holds no policy: no retries, no caching, no
// emulation of what its store cannot do. Policy is stacked on top by decorators (provider/stack), each of which
// implements Provider too and forwards every method by hand. providertest is the suite that proves a driver and
// every decorator against these comments.
//
// What every driver promises, for all methods:
//
//   - Safe for concurrent use. Close must be the last call.
//   - An error is either the context's own error, unchanged (errors.Is context.Canceled or DeadlineExceeded), or a
//     *Error. Kinds come from status and error codes, never from message texts.
//   - Nothing is emulated by two requests that another client could come between; where the store cannot do a
//     thing in one step the driver says KindUnsupported, and Capabilities says so before.
//
// What every caller promises: keys have passed CheckKey, metadata has passed CheckMetadata, contexts carry a
// deadline where waiting for ever would be wrong.
package provider

import (
	"context"
	"io"
	"time"
)

// Version identifies the bytes of an object: two equal non-empty Versions of one key mean equal bytes. It is
// opaque (an S3 ETag, a Swift hash, an inode's change time). Empty means that the store cannot tell.
type Version string

// Revision identifies the bytes and the metadata of an object: it changes when either does, except that changes of the
// metadata alone within one Capabilities.TimeGrain may share one. It is opaque, and equal whether it came from Stat,
// Open, Put, Copy or List. Empty means not known (a directory that exists only because keys below it do).
type Revision string

// Object is what a store says of one object.
type Object struct {
	Key      string
	Size     int64     // bytes; for a directory marker 0
	ModTime  time.Time // when the store received the object; see Capabilities.TimeGrain
	Version  Version
	Revision Revision
	Metadata Metadata // nil: not known (a List of most stores brings none); known and empty is not nil

	ContentType string // a media type; empty when the store does not keep one, or did not tell
}

// IsDir reports whether the object is a directory: a marker, or a common prefix in a List that is not Flat.
func (o Object) IsDir() bool { return len(o.Key) > 0 && o.Key[len(o.Key)-1] == '/' }

// Condition must hold at the moment the store makes a new object visible; the store checks it, in the same step.
// The zero value is no condition. At most one field is set.
type Condition struct {
	Absent  bool    // no object has the key (Capabilities.CreateIfAbsent)
	Version Version // the key's object has this version (Capabilities.ReplaceIfVersion)
}

// IsZero reports whether there is no condition.
func (c Condition) IsZero() bool { return !c.Absent && c.Version == "" }

// Provider is one store: a bucket, a container, a directory.
type Provider interface {
	// String returns the store's URL without anything secret. It never blocks.
	String() string

	// Capabilities returns what the store can do. Facts that differ between look-alikes were probed when the
	// provider was opened. It never blocks, and the answer never changes.
	Capabilities() Capabilities

	// Stat returns the object with its metadata. KindNotFound when there is none. For a key that ends in "/" it
	// returns the marker, or KindNotFound where only keys below it exist and Capabilities.Directories is false.
	Stat(ctx context.Context, key string) (Object, error)

	// Open returns a reader of the object's bytes, or of a range of them, and the object that they belong to
	// (Size is that of the whole object). The caller closes the reader; the context governs reading too. A body
	// that ends early fails with io.ErrUnexpectedEOF (in an *Error of KindUnavailable), never with io.EOF.
	// A range that starts at or beyond the end is an empty reader, not an error.
	Open(ctx context.Context, key string, opts OpenOptions) (io.ReadCloser, Object, error)

	// Put stores size bytes from body, which is read from its current position and may be rewound to there and
	// read again. It is atomic: readers see the old object or the new one, and a failed or cancelled Put leaves
	// the old one. (After a KindUnavailable or a context error it is not known which.) A checksum of the body
	// travels with it and is verified by the store. A body that is shorter or longer than size is KindInvalid and
	// stores nothing. A condition that does not hold is KindPrecondition, one that the store cannot check
	// KindUnsupported. The object returned carries Key, Size, Version and, as far as the answer told, the rest;
	// Revision is empty when the answer did not tell.
	Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts PutOptions) (Object, error)

	// NewUpload starts an upload in parts. Nothing is visible under key until Complete. An upload that is neither
	// completed nor aborted survives the process and is found by ListUploads.
	NewUpload(ctx context.Context, key string, opts UploadOptions) (Upload, error)

	// ListUploads returns the uploads in parts that are under way for keys that begin with prefix, oldest first; and, where
	// one that has ended can leave parts behind that no object uses, those too, as that upload.
	ListUploads(ctx context.Context, prefix string) ([]UploadInfo, error)

	// AbortUpload ends the upload and frees its parts, never what an object uses. An upload that does not exist is no error.
	AbortUpload(ctx context.Context, key, id string) error

	// Copy makes dst an object with the bytes of src, without sending them. With opts.Metadata nil the metadata and
	// the content type are copied too, else both are replaced: an empty opts.ContentType is then the store's default.
	// src and dst may be equal, with Metadata set: that changes the metadata and the content type alone.
	// KindNotFound when src does not exist, KindPrecondition when src is not IfSourceVersion or If does not hold,
	// KindTooLarge beyond Capabilities.MaxCopySize. The object returned carries Key and, as far as the answer told, the
	// rest; Size is 0 when it did not tell.
	Copy(ctx context.Context, src, dst string, opts CopyOptions) (Object, error)

	// Move renames src to dst, replacing dst, in one step. KindUnsupported unless Capabilities.AtomicMove.
	Move(ctx context.Context, src, dst string) (Object, error)

	// Delete removes the objects. A key that does not exist is no error. With several keys the error names the
	// first that failed and Failed(err) returns all of them; the others are deleted. A key that ends in "/"
	// deletes the marker; where Capabilities.Directories, the directory, which must be empty (KindNotEmpty).
	Delete(ctx context.Context, opts DeleteOptions, keys ...string) error

	// List returns one page of objects in byte order of their keys, without duplicates. Not Flat, the keys
	// directly below Prefix (which is empty or ends in "/"), directories merged in at their place, each once, as
	// keys that end in "/"; a marker whose key equals Prefix comes first, when there is one (where
	// Capabilities.Directories: when the directory exists). Flat, every key that begins with Prefix. A prefix
	// without objects is an empty page, not an error. What cannot be read is an error, never left out.
	List(ctx context.Context, opts ListOptions) (Page, error)

	// Usage returns what the store holds and may hold, as far as it tells without a listing.
	Usage(ctx context.Context) (Usage, error)

	// Create makes the bucket, container or directory. One that is ours already is no error.
	Create(ctx context.Context) error

	// Close frees what the provider holds.
	Close() error
}

// Upload is one upload in parts. Its methods are safe for concurrent use, except that Complete and Abort come last.
type Upload interface {
	// ID names the upload for AbortUpload.
	ID() string

	// PutPart stores one part. Numbers run from 1 to Capabilities.MaxParts and give the order; parts but the last are
	// at least Capabilities.MinPartSize. A number that is sent again replaces the part. Body as in Put.
	PutPart(ctx context.Context, number int, body io.ReadSeeker, size int64) (Part, error)

	// CopyPart makes a part of a range of an object of the same store, without sending it. A range that is not wholly in
	// the object is KindInvalid.
	CopyPart(ctx context.Context, number int, src string, opts CopyPartOptions) (Part, error)

	// Complete makes the object of the parts, in the order of their numbers. Atomic as Put is. A part that is missing
	// or too small is KindInvalid, an upload that does not exist (any more) KindNotFound.
	Complete(ctx context.Context, parts []Part, opts CompleteOptions) (Object, error)

	// Abort ends the upload and frees its parts.
	Abort(ctx context.Context) error
}

// OpenOptions select what Open reads. The zero value is the whole object.
type OpenOptions struct {
	Offset    int64   // bytes, >= 0
	Length    int64   // bytes; 0 means to the end
	IfVersion Version // not empty: KindPrecondition when the object is another version
}

// PutOptions are the options of Put. The zero value replaces whatever is there and stores no metadata.
type PutOptions struct {
	If          Condition
	Metadata    Metadata
	ContentType string // empty: the store's default
}

// UploadOptions are the options of NewUpload.
type UploadOptions struct {
	Metadata    Metadata
	ContentType string // as of PutOptions
}

// UploadInfo describes an upload in parts that is under way, or what is left of one.
type UploadInfo struct {
	Key     string
	ID      string
	Started time.Time // of what is left of one: when the last of that was stored
	Size    int64     // bytes that AbortUpload would free, as far as the store tells; 0 when it does not
}

// Part is a part that the store has.
type Part struct {
	Number int
	Size   int64
	Tag    string // the store's name for the bytes, needed by Complete
}

// CopyPartOptions select the range of the source of CopyPart. Length is at least 1.
type CopyPartOptions struct {
	Offset, Length int64
	IfVersion      Version // not empty: KindPrecondition when the source is another version
}

// CompleteOptions are the options of Complete.
type CompleteOptions struct {
	If Condition // a store may refuse it (KindUnsupported), and keeps the parts then, where its Put takes it
}

// CopyOptions are the options of Copy.
type CopyOptions struct {
	If              Condition // on dst; a store may refuse it (KindUnsupported) where its Put takes it
	IfSourceVersion Version
	Metadata        Metadata // nil: that of the source
	ContentType     string   // with Metadata only; empty: the store's default, not that of the source
}

// DeleteOptions are the options of Delete.
type DeleteOptions struct {
	// IfVersion, for one key only: KindPrecondition unless the object has this version, KindUnsupported without
	// Capabilities.DeleteIfVersion, KindInvalid with several keys. An object that is gone already is no error.
	IfVersion Version
}

// ListOptions select what List returns.
type ListOptions struct {
	Prefix string
	Flat   bool   // every key below Prefix, instead of one level
	After  string // only keys greater than this one; ignored with Token
	Token  string // Page.Next of the page before
	Limit  int    // at most this many, 1 to Capabilities.MaxListPage; 0 is the maximum
}

// Page is one page of a listing. Next is empty on the last one; a page may be empty without being the last.
type Page struct {
	Objects []Object
	Next    string
}

// Usage is what a store holds. A field that the store does not tell is -1.
type Usage struct {
	Bytes   int64 // stored
	Objects int64
	Quota   int64 // bytes that may be stored at most
}

// Capabilities are facts about a store. A flag that is true is exercised by providertest, one that is false must
// refuse with KindUnsupported. Sizes are in bytes; a limit of 0 means that there is none.
type Capabilities struct {
	CreateIfAbsent   bool // Condition.Absent, race-free
	ReplaceIfVersion bool // Condition.Version, race-free
	DeleteIfVersion  bool
	Copy             bool // Copy and CopyPart work on the server
	AtomicMove       bool
	Directories      bool // directories exist by themselves: they are made by Put of their marker or of a key below
	// them, outlive their last key, and are removed by Delete of their marker
	ListMetadata bool // List brings Metadata
	Consistent   bool // a listing shows at once what was stored and deleted before

	MaxObjectSize  int64 // of an object, by any way
	MaxPutSize     int64 // of one Put
	MaxCopySize    int64 // of one Copy
	MinPartSize    int64 // of a part but the last
	MaxPartSize    int64
	MaxParts       int
	MaxKey         int // bytes of a key
	MaxComponent   int // bytes of a key's component between slashes
	MaxMarker      int // bytes of the last component of a directory marker, if that is less than MaxComponent; else 0
	MaxMetadata    int // bytes of all metadata keys and values
	MaxListPage    int // objects in a page
	MaxDeleteBatch int // keys of one Delete that travel in one request; at least 1

	TimeGrain time.Duration // resolution of Object.ModTime
}

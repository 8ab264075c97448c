package tree

import (
	"context"
	"time"
)

// Root is the inode number of the mount's root.
const Root uint64 = 1

// Caller is who asks: the credentials of the process, for what is made in its name.
type Caller struct {
	UID, GID uint32
}

// Attr are the attributes of an inode, as stat(2) shows them.
type Attr struct {
	Ino                 uint64
	Mode                uint32 // type and permission bits
	Nlink               uint32
	UID, GID            uint32
	Size                int64 // bytes
	Blocks              int64 // of 512 bytes
	Atime, Mtime, Ctime time.Time
}

// SetAttr says which attributes change, and to what. A nil field stays.
type SetAttr struct {
	Mode         *uint32 // permission bits only
	UID, GID     *uint32
	Size         *int64
	Atime, Mtime *time.Time
}

// DirEntry is one entry of a directory.
type DirEntry struct {
	Name   string
	Ino    uint64
	Type   uint32 // the type bits of a mode; 0 when they are not known yet
	Attr   *Attr  // nil when they are not known yet
	Offset uint64 // continue after this entry; stays valid while the directory changes
}

// Statfs is what statfs(2) shows.
type Statfs struct {
	BlockSize   uint32 // bytes
	Blocks      uint64
	BlocksFree  uint64
	Files       uint64
	FilesFree   uint64
	MaxNameSize uint32 // bytes
}

// Flags of Rename, as renameat2(2) has them.
const (
	RenameNoReplace uint32 = 1
	RenameExchange  uint32 = 2
)

// Flags of SetXattr, as setxattr(2) has them.
const (
	XattrCreate  uint32 = 1
	XattrReplace uint32 = 2
)

// Namespace is what a Tree offers to the kernel side. Errors are syscall.Errno where POSIX names one, otherwise the
// provider's or the context's own. Names are those of the kernel (any bytes but "/" and NUL). Permissions are the
// kernel's business (default_permissions); a Tree does not check them.
type Namespace interface {
	Lookup(ctx context.Context, parent uint64, name string) (Attr, error)
	GetAttr(ctx context.Context, ino uint64) (Attr, error)
	SetAttr(ctx context.Context, ino uint64, set SetAttr) (Attr, error)
	Readlink(ctx context.Context, ino uint64) (string, error)
	Mkdir(ctx context.Context, c Caller, parent uint64, name string, mode uint32) (Attr, error)
	Mknod(ctx context.Context, c Caller, parent uint64, name string, mode uint32) (Attr, error)
	Symlink(ctx context.Context, c Caller, parent uint64, name, target string) (Attr, error)
	Unlink(ctx context.Context, parent uint64, name string) error
	Rmdir(ctx context.Context, parent uint64, name string) error
	Rename(ctx context.Context, oldParent uint64, oldName string, newParent uint64, newName string, flags uint32) error

	// Create makes a file and opens it; flags are those of open(2). With O_EXCL an existing name is EEXIST, else the
	// existing file is opened.
	Create(ctx context.Context, c Caller, parent uint64, name string, mode, flags uint32) (Attr, Handle, error)
	// Open opens a file; flags are those of open(2), O_TRUNC included.
	Open(ctx context.Context, ino uint64, flags uint32) (Handle, error)

	// Tmpfile makes a file without a name in a directory and opens it, as open(2) does with O_TMPFILE.
	Tmpfile(ctx context.Context, c Caller, parent uint64, mode, flags uint32) (Attr, Handle, error)
	// Link gives a file of Tmpfile its name. There are no other links: EPERM.
	Link(ctx context.Context, ino, parent uint64, name string) (Attr, error)

	// ReadDir calls emit for the entries after offset (0: from the start; "." and ".." are not among them) until it
	// returns false or there are no more.
	ReadDir(ctx context.Context, ino, offset uint64, emit func(DirEntry) bool) error
	// FsyncDir returns when the directory's entries are in the store; for Root, when everything is.
	FsyncDir(ctx context.Context, ino uint64) error

	GetXattr(ctx context.Context, ino uint64, name string) ([]byte, error)
	SetXattr(ctx context.Context, ino uint64, name string, value []byte, flags uint32) error
	ListXattr(ctx context.Context, ino uint64) ([]string, error)
	RemoveXattr(ctx context.Context, ino uint64, name string) error

	Statfs() Statfs

	// Forget says that the kernel no longer knows the inode.
	Forget(ino uint64)
}

// Offsets of Seek, as lseek(2) has them.
const (
	SeekData uint32 = 3
	SeekHole uint32 = 4
)

// Handle is an open file description. All methods are safe for concurrent use.
type Handle interface {
	ReadAt(ctx context.Context, p []byte, off int64) (int, error) // io.EOF only with fewer bytes than asked
	WriteAt(ctx context.Context, p []byte, off int64) (int, error)
	// Append is WriteAt with O_APPEND; off is where the kernel takes the end to be. ESTALE when others have moved it.
	Append(ctx context.Context, p []byte, off int64) (int, error)
	// Allocate is fallocate(2) with its mode bits; EOPNOTSUPP for those that are not supported.
	Allocate(ctx context.Context, off, length int64, mode uint32) error
	// Seek is lseek(2) for SeekData and SeekHole.
	Seek(ctx context.Context, off int64, whence uint32) (int64, error)
	// Flush is close(2): when it returns, name, size and content survive a killed daemon.
	Flush(ctx context.Context) error
	// Fsync returns when the file is in the store, or the error of storing it.
	Fsync(ctx context.Context) error
	// Release ends the handle. It comes after Flush, and nothing waits for it.
	Release()
	Ino() uint64
}

package file

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sharefs/provider"
)

// upload is an upload in parts: a directory below .sharefs/uploads with the file "upload", which says of what, and a
// file for each part, named by its number, whose tag is an extended attribute.
type upload struct {
	store *Store
	id    string
	about uploadFile
}

// uploadFile is the JSON in the file "upload".
type uploadFile struct {
	Key      string            `json:"key"`
	Metadata provider.Metadata `json:"metadata"`
	Started  time.Time         `json:"started"`
}

const (
	aboutName = "upload"
	tagAttr   = ownAttrs + "part"
)

// NewUpload begins an upload in parts.
func (s *Store) NewUpload(ctx context.Context, key string, opts provider.UploadOptions) (provider.Upload, error) {
	const op = "newupload"
	if err := s.mayStore(ctx, op, key, provider.Condition{}); err != nil {
		return nil, err
	}
	if _, _, isDir := split(key); isDir || isSymlink(opts.Metadata) {
		return nil, refuse(op, key, provider.KindInvalid, "only a file is uploaded in parts")
	}
	u := &upload{store: s, id: rand.Text(), about: uploadFile{Key: key, Metadata: opts.Metadata, Started: time.Now()}}
	if err := u.create(ctx); err != nil {
		return nil, s.fail(ctx, op, key, err)
	}
	return u, nil
}

// create makes the directory elsewhere and renames it, so that there is never one without its file.
func (u *upload) create(ctx context.Context) error {
	s := u.store
	about, err := json.Marshal(u.about)
	if err != nil {
		return err
	}
	name := s.scratch.newName()
	if err := unix.Mkdirat(int(s.scratch.dir), name, 0o700); err != nil {
		return err
	}
	defer s.scratch.remove(name)
	if err := writeSynced(filepath.Join(s.scratch.dir.path(), name, aboutName), about, s.sync); err != nil {
		return err
	}
	return s.inParent(ctx, uploadsDir+"/"+u.id, func(parent fd, id string) error {
		if err := unix.Renameat(int(s.scratch.dir), name, int(parent), id); err != nil {
			return err
		}
		return s.syncDir(parent)
	})
}

func writeSynced(path string, data []byte, sync bool) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// ListUploads returns the uploads under way, of all processes.
func (s *Store) ListUploads(ctx context.Context, prefix string) ([]provider.UploadInfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	infos, err := s.listUploads(prefix)
	return infos, s.failUnlessNil(ctx, "listuploads", prefix, err)
}

func (s *Store) listUploads(prefix string) ([]provider.UploadInfo, error) {
	f, err := s.openDir(uploadsDir)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.close()
	entries, err := readDir(f)
	if err != nil {
		return nil, err
	}
	var infos []provider.UploadInfo
	for _, e := range entries {
		about, err := readAbout(filepath.Join(f.path(), e.Name(), aboutName))
		switch {
		case errors.Is(err, os.ErrNotExist): // ended in between
		case err != nil:
			return nil, err
		case strings.HasPrefix(about.Key, prefix):
			infos = append(infos, provider.UploadInfo{Key: about.Key, ID: e.Name(), Started: about.Started})
		}
	}
	slices.SortFunc(infos, func(a, b provider.UploadInfo) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID))
	})
	return infos, nil
}

func readAbout(path string) (about uploadFile, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return about, err
	}
	if err := json.Unmarshal(data, &about); err != nil {
		return about, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return about, nil
}

// AbortUpload ends an upload.
func (s *Store) AbortUpload(ctx context.Context, key, id string) error {
	const op = "abortupload"
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.writable(op, key); err != nil {
		return err
	}
	if id == "" || strings.ContainsAny(id, "/\x00") || id == "." || id == ".." {
		return nil // no upload has this id
	}
	return s.failUnlessNil(ctx, op, key, s.removeUpload(id))
}

// removeUpload moves the directory away, which ends the upload in one step, and removes it then.
func (s *Store) removeUpload(id string) error {
	parent, err := s.openDir(uploadsDir)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.close()
	name := s.scratch.newName()
	switch err := unix.Renameat(int(parent), id, int(s.scratch.dir), name); err {
	case nil:
	case unix.ENOENT:
		return nil
	default:
		return err
	}
	s.scratch.remove(name)
	return s.syncDir(parent)
}

func (u *upload) ID() string { return u.id }

// PutPart stores a part.
func (u *upload) PutPart(ctx context.Context, number int, body io.ReadSeeker, size int64) (provider.Part, error) {
	const op = "upload.putpart"
	return u.addPart(ctx, op, number, size, func(f *os.File) error { return writeBody(ctx, op, u.about.Key, f, body, size) })
}

// CopyPart makes a part of a range of a file, in the kernel.
func (u *upload) CopyPart(ctx context.Context, number int, src string, opts provider.CopyPartOptions) (provider.Part, error) {
	const op = "upload.copypart"
	s := u.store
	if err := ctx.Err(); err != nil {
		return provider.Part{}, err
	}
	in, err := s.lookup(src)
	if err != nil {
		return provider.Part{}, s.failRead(ctx, op, src, err)
	}
	defer in.close()
	o, err := s.describe(src, in)
	if err != nil {
		return provider.Part{}, s.failRead(ctx, op, src, err)
	}
	switch {
	case opts.IfVersion != "" && o.Version != opts.IfVersion:
		return provider.Part{}, refuse(op, src, provider.KindPrecondition, "the object has another version")
	case in.kind != regular:
		return provider.Part{}, refuse(op, src, provider.KindInvalid, "only ranges of files can be copied")
	case opts.Offset < 0, opts.Length < 1, opts.Length > o.Size, opts.Offset > o.Size-opts.Length:
		return provider.Part{}, refuse(op, src, provider.KindInvalid, "the object of %d bytes has no range of %d at %d", o.Size, opts.Length, opts.Offset)
	}
	file, err := in.reopen()
	if err != nil {
		return provider.Part{}, s.fail(ctx, op, src, err)
	}
	defer func() { _ = file.Close() }()
	return u.addPart(ctx, op, number, opts.Length, func(f *os.File) error {
		return unchanged(op, src, file, opts.IfVersion, func(int64) error { return copyRange(ctx, f, file, 0, opts.Offset, opts.Length) })
	})
}

// addPart makes a file that write fills the part with the number.
func (u *upload) addPart(ctx context.Context, op string, number int, size int64, write func(f *os.File) error) (provider.Part, error) {
	s, key := u.store, u.about.Key
	if err := ctx.Err(); err != nil {
		return provider.Part{}, err
	}
	if number < 1 || number > s.caps.MaxParts {
		return provider.Part{}, refuse(op, key, provider.KindInvalid, "no part can have number %d", number)
	}
	f, name, err := s.scratch.create()
	if err != nil {
		return provider.Part{}, s.fail(ctx, op, key, err)
	}
	defer s.scratch.remove(name)
	tag := rand.Text()
	err = write(f)
	if err == nil {
		err = unix.Fsetxattr(int(f.Fd()), tagAttr, []byte(tag), 0)
	}
	if err == nil && s.sync {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = u.publishPart(name, number)
	}
	if err != nil {
		return provider.Part{}, s.fail(ctx, op, key, err)
	}
	return provider.Part{Number: number, Size: size, Tag: tag}, nil
}

func (u *upload) publishPart(name string, number int) error {
	dir, err := u.open()
	if err != nil {
		return err
	}
	defer dir.close()
	if err := unix.Renameat(int(u.store.scratch.dir), name, int(dir), strconv.Itoa(number)); err != nil {
		return err
	}
	return u.store.syncDir(dir)
}

// open opens the upload's directory; ENOENT: it was completed or aborted.
func (u *upload) open() (fd, error) { return u.store.openDir(uploadsDir + "/" + u.id) }

// Complete joins the parts in a new file, in the kernel, and publishes that.
func (u *upload) Complete(ctx context.Context, parts []provider.Part, opts provider.CompleteOptions) (provider.Object, error) {
	const op = "upload.complete"
	s, key := u.store, u.about.Key
	if err := s.mayStore(ctx, op, key, opts.If); err != nil {
		return provider.Object{}, err
	}
	dir, err := u.open()
	if err != nil {
		return provider.Object{}, s.fail(ctx, op, key, err)
	}
	defer dir.close()
	parts = slices.SortedFunc(slices.Values(parts), func(a, b provider.Part) int { return cmp.Compare(a.Number, b.Number) })
	if err := u.checkParts(op, dir, parts); err != nil {
		return provider.Object{}, s.fail(ctx, op, key, err)
	}
	st, err := s.stageFile(u.about.Metadata, func(f *os.File) error { return joinParts(ctx, f, dir, parts) })
	if err != nil {
		return provider.Object{}, s.fail(ctx, op, key, err)
	}
	o, err := s.finish(ctx, op, key, st, opts.If)
	if err != nil {
		return provider.Object{}, err
	}
	if err := s.removeUpload(u.id); err != nil {
		s.log.Warn("the parts of a completed upload cannot be removed", "store", s.String(), "key", key, "upload", u.id, "error", err)
	}
	return o, nil
}

// checkParts demands that every part is there as it was sent.
func (u *upload) checkParts(op string, dir fd, parts []provider.Part) error {
	if len(parts) == 0 {
		return refuse(op, u.about.Key, provider.KindInvalid, "an object needs at least one part")
	}
	for i, p := range parts {
		if i > 0 && parts[i-1].Number == p.Number {
			return refuse(op, u.about.Key, provider.KindInvalid, "part %d is named twice", p.Number)
		}
		path := filepath.Join(dir.path(), strconv.Itoa(p.Number))
		tag, err := readAttr(func(buf []byte) (int, error) { return unix.Lgetxattr(path, tagAttr, buf) })
		if err != nil && err != unix.ENOENT {
			return err
		}
		if string(tag) != p.Tag || p.Tag == "" {
			return refuse(op, u.about.Key, provider.KindInvalid, "part %d is not there", p.Number)
		}
	}
	return nil
}

func joinParts(ctx context.Context, dst *os.File, dir fd, parts []provider.Part) error {
	for _, p := range parts {
		if err := appendPart(ctx, dst, filepath.Join(dir.path(), strconv.Itoa(p.Number))); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func appendPart(ctx context.Context, dst *os.File, path string) error {
	src, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	n, err := copyAll(ctx, dst, src, info.Size())
	if err == nil && n < info.Size() {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Abort ends the upload.
func (u *upload) Abort(ctx context.Context) error {
	err := u.store.AbortUpload(ctx, u.about.Key, u.id)
	var e *provider.Error
	if errors.As(err, &e) {
		return &provider.Error{Op: "upload.abort", Key: e.Key, Kind: e.Kind, Err: e.Err}
	}
	return err
}

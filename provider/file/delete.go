package file

import (
	"context"

	"golang.org/x/sys/unix"

	"sharefs/provider"
)

// Delete removes files, symlinks and, for markers, empty directories. The directory of the last key stays.
func (s *Store) Delete(ctx context.Context, opts provider.DeleteOptions, keys ...string) error {
	const op = "delete"
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case len(keys) == 0:
		return nil
	case opts.IfVersion != "":
		return refuse(op, keys[0], provider.KindUnsupported, "a file system cannot check a version when it removes a file")
	}
	if err := s.writable(op, keys[0]); err != nil {
		return err
	}
	var failed provider.DeleteErrors
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.deleteOne(key); err != nil && !missing(err) {
			failed = append(failed, &provider.Error{Op: op, Key: key, Kind: kindOf(err), Err: err})
		}
	}
	return provider.NewDeleteError(failed)
}

// deleteOne removes what a key names. What is missing, and what is no object, is left.
func (s *Store) deleteOne(key string) error {
	in, err := s.lookup(key)
	if err != nil {
		return err
	}
	defer in.close()
	dir, name, _ := split(key)
	parent, err := s.openDir(dir)
	if err != nil {
		return err
	}
	defer parent.close()
	flags := 0
	if in.kind == directory {
		flags = unix.AT_REMOVEDIR
	}
	if err := unix.Unlinkat(int(parent), name, flags); err != nil {
		return err
	}
	s.forget(replaced{in, true})
	return s.syncDir(parent)
}

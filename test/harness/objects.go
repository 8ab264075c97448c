package harness

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// reserved is the directory of a store that is sharefs's own.
const reserved = ".sharefs/"

// parallelGets is how many objects are fetched at a time.
const parallelGets = 8

// Object is what lies in a store, seen without sharefs.
type Object struct {
	Key      string
	Body     []byte
	Metadata map[string]string // of a server; the kind File has none
	Modified time.Time
}

// Keys returns the keys of all objects of a server's bucket, in order, or the files and symlinks of a directory.
// sharefs's own are left out.
func (s *Store) Keys(tb testing.TB) []string {
	tb.Helper()
	if s.Server == nil {
		return s.files(tb)
	}
	return slices.DeleteFunc(s.KeysBelow(tb, ""), func(key string) bool { return strings.HasPrefix(key, reserved) })
}

// KeysBelow returns the keys of all objects of a server's bucket with a prefix, sharefs's own too.
func (s *Store) KeysBelow(tb testing.TB, prefix string) []string {
	tb.Helper()
	var keys []string
	pages := s3.NewListObjectsV2Paginator(s.Server.Client(), &s3.ListObjectsV2Input{Bucket: &s.Bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(tb.Context())
		if err != nil {
			tb.Fatalf("listing %s: %v", s.Bucket, err)
		}
		for _, o := range page.Contents {
			keys = append(keys, *o.Key)
		}
	}
	return keys
}

func (s *Store) files(tb testing.TB) []string {
	tb.Helper()
	var keys []string
	err := filepath.WalkDir(s.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		key, err := filepath.Rel(s.Dir, path)
		if !strings.HasPrefix(key, reserved) {
			keys = append(keys, key)
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

// Object fetches an object of a server.
func (s *Store) Object(tb testing.TB, key string) Object {
	tb.Helper()
	o, err := s.object(tb, key)
	if err != nil {
		tb.Fatalf("fetching %s: %v", key, err)
	}
	return o
}

func (s *Store) object(tb testing.TB, key string) (Object, error) {
	out, err := s.Server.Client().GetObject(tb.Context(), &s3.GetObjectInput{Bucket: &s.Bucket, Key: &key})
	if err != nil {
		return Object{}, err
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	return Object{Key: key, Body: body, Metadata: out.Metadata, Modified: *out.LastModified}, err
}

// Put stores an object on a server, without sharefs.
func (s *Store) Put(tb testing.TB, key string, body []byte, metadata map[string]string) {
	tb.Helper()
	if s.Kind == SwiftSmall && len(body) > SmallObject {
		s.putSegments(tb, key, body)
		return
	}
	_, err := s.Server.Client().PutObject(tb.Context(),
		&s3.PutObjectInput{Bucket: &s.Bucket, Key: &key, Body: bytes.NewReader(body), Metadata: metadata})
	if err != nil {
		tb.Fatalf("storing %s: %v", key, err)
	}
}

// Delete removes an object of a server, without sharefs.
func (s *Store) Delete(tb testing.TB, key string) {
	tb.Helper()
	if _, err := s.Server.Client().DeleteObject(tb.Context(), &s3.DeleteObjectInput{Bucket: &s.Bucket, Key: &key}); err != nil {
		tb.Fatalf("deleting %s: %v", key, err)
	}
}

// Seed stores a file, or a directory, as another program would have.
func (s *Store) Seed(tb testing.TB, name string, dir bool, body []byte) {
	tb.Helper()
	if s.Server != nil {
		if dir {
			name += "/"
		}
		s.Put(tb, name, body, nil)
		return
	}
	path := filepath.Join(s.Dir, name)
	var err error
	if dir {
		err = os.Mkdir(path, 0o755)
	} else {
		err = os.WriteFile(path, body, 0o644)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// Tree returns what the store holds as a tree of files. A directory of which the store says nothing but that things
// are in it has no mode.
func (s *Store) Tree(tb testing.TB) Tree {
	tb.Helper()
	if s.Server == nil {
		tree := ReadTree(tb, s.Dir)
		for path := range tree {
			if strings.HasPrefix(path+"/", reserved) {
				delete(tree, path)
			}
		}
		return tree
	}
	return treeOf(s.objects(tb))
}

// objects fetches all objects of a server's bucket.
func (s *Store) objects(tb testing.TB) []Object {
	tb.Helper()
	keys := s.Keys(tb)
	objects := make([]Object, len(keys))
	group := errgroup.Group{}
	group.SetLimit(parallelGets)
	for i, key := range keys {
		group.Go(func() (err error) {
			var gone *types.NoSuchKey
			if objects[i], err = s.object(tb, key); errors.As(err, &gone) {
				err = nil // by a request that a killed daemon has sent
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		tb.Fatalf("fetching from %s: %v", s.Bucket, err)
	}
	return slices.DeleteFunc(objects, func(o Object) bool { return o.Key == "" })
}

func treeOf(objects []Object) Tree {
	tree := Tree{}
	for _, o := range objects {
		path := strings.TrimSuffix(o.Key, "/")
		for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
			if _, ok := tree[dir]; !ok {
				tree[dir] = Node{Type: Directory}
			}
		}
		tree[path] = o.node()
	}
	return tree
}

// node reads the metadata that s3fs and sharefs write.
func (o Object) node() Node {
	n := Node{Type: Regular}
	mode, err := strconv.ParseUint(o.Metadata["mode"], 10, 32)
	if err == nil {
		n.Mode = uint32(mode) & permissionBits
	}
	switch {
	case strings.HasSuffix(o.Key, "/"):
		n.Type = Directory
		return n
	case mode&typeBits == symlinkBits:
		return Node{Type: Symlink, Target: string(o.Body)}
	}
	n.Size, n.Sum = int64(len(o.Body)), sum(o.Body)
	if seconds, fraction, _ := strings.Cut(o.Metadata["mtime"], "."); seconds != "" {
		n.Mtime, err = parseTime(seconds, fraction)
		if err != nil {
			n.Mtime = time.Time{}
		}
	}
	return n
}

func parseTime(seconds, fraction string) (time.Time, error) {
	sec, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	nsec, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	return time.Unix(sec, nsec), err
}

// Contents returns the bodies of all files and symlinks (their targets) by key.
func (s *Store) Contents(tb testing.TB) map[string][]byte {
	tb.Helper()
	bodies := map[string][]byte{}
	if s.Server == nil {
		for _, key := range s.files(tb) {
			path := filepath.Join(s.Dir, key)
			body, err := os.ReadFile(path)
			if target, readlink := os.Readlink(path); readlink == nil {
				body, err = []byte(target), nil
			}
			if err != nil {
				tb.Fatal(err)
			}
			bodies[key] = body
		}
		return bodies
	}
	for _, o := range s.objects(tb) {
		if !strings.HasSuffix(o.Key, "/") {
			bodies[o.Key] = o.Body
		}
	}
	return bodies
}

// Phantoms returns the directories that a server lists although no key is below them. MinIO does, for a while, after
// deletes and uploads that were cut off.
func (s *Store) Phantoms(tb testing.TB) []string {
	tb.Helper()
	if s.Server == nil {
		return nil
	}
	keys := s.Keys(tb)
	var found []string
	delimiter := "/"
	for todo := []string{""}; len(todo) > 0; todo = todo[1:] {
		prefix := todo[0]
		pages := s3.NewListObjectsV2Paginator(s.Server.Client(),
			&s3.ListObjectsV2Input{Bucket: &s.Bucket, Prefix: &prefix, Delimiter: &delimiter})
		for pages.HasMorePages() {
			page, err := pages.NextPage(tb.Context())
			if err != nil {
				tb.Fatalf("listing %s: %v", s.Bucket, err)
			}
			for _, common := range page.CommonPrefixes {
				todo = append(todo, *common.Prefix)
				below := func(key string) bool { return strings.HasPrefix(key, *common.Prefix) }
				if *common.Prefix != reserved && !slices.ContainsFunc(keys, below) {
					found = append(found, strings.TrimSuffix(*common.Prefix, "/"))
				}
			}
		}
	}
	return found
}

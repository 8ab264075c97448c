// Package nodedir reads and makes the directories of Tahoe-LAFS storage nodes, so that the Go server can take over from the Python one
// and give back: the same key and swissnum, hence the same NURL, the same storage directory, the same settings.
//
// What is in such a directory is said by Tahoe-LAFS 1.20: docs/configuration.rst, src/allmydata/{node,client}.py. Nothing
// that Tahoe-LAFS would read otherwise is changed in a directory that it has made.
package nodedir

import (
	"crypto/sha1"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/storage"
	"sharefs/storage/httpapi"
)

// Node is what a node directory says.
type Node struct {
	Dir       string
	Nickname  string
	ID        storage.NodeID // Foolscap's tub id
	Identity  httpapi.Identity
	Swissnum  string
	FURL      string   // the same server under Foolscap: clients want it in an announcement also when they do not use it
	Listen    []string // HOST:PORT, or :PORT for all addresses
	Locations []string // HOST:PORT, what clients connect to
	Storage   Storage
	// Missing says what clients of this node may need that only Tahoe-LAFS's own node has.
	Missing []string
}

// Storage is the section [storage].
type Storage struct {
	Dir      string
	ReadOnly bool
	Reserved int64 // bytes
	Expire   Expire
}

// Expire is when shares are deleted: docs/garbage-collection.rst of Tahoe-LAFS.
type Expire struct {
	Enabled   bool
	Cutoff    time.Time     // leases that were renewed before it; zero: by age
	Duration  time.Duration // of each lease, instead of its own; 0: its own
	Immutable bool
	Mutable   bool
}

// The files of a node directory.
const (
	configFile  = "tahoe.cfg"
	privateDir  = "private"
	keyFile     = "private/node.pem"
	furlFile    = "private/storage.furl"
	signingFile = "private/node.privkey"
	verifyFile  = "node.pubkey"
	idFile      = "my_nodeid"
	seedFile    = "permutation-seed"
	portFile    = "client.port"
	typeFile    = "tahoe-client.tac"
	introducers = "private/introducers.yaml"
)

// ErrNone is a directory that holds no node: it is empty or does not exist.
var ErrNone = errors.New("there is no node")

// Open reads a node directory.
func Open(dir string) (*Node, error) {
	c, err := readConfig(filepath.Join(dir, configFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, none(dir)
	}
	if err != nil {
		return nil, err
	}
	n := &Node{Dir: dir, Nickname: c.text("node", "nickname", "")}
	if err := n.readIdentity(); err != nil {
		return nil, err
	}
	if err := n.readPlaces(c); err != nil {
		return nil, err
	}
	if n.Storage, err = readStorage(c, dir); err != nil {
		return nil, err
	}
	n.Missing = append(n.Missing, missing(c, dir)...)
	return n, c.err
}

// none tells a directory in which a node can be made from one that is something else.
func none(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return ErrNone
	}
	if err != nil {
		return err
	}
	return exit.Errorf(exit.Usage, "%s is no node directory: it has no %s, and is not empty", dir, configFile)
}

// readIdentity reads the key and the swissnum.
func (n *Node) readIdentity() error {
	text, err := os.ReadFile(n.path(keyFile))
	if err == nil {
		n.Identity, err = httpapi.ParseIdentity(text)
	}
	if err != nil {
		return fmt.Errorf("the key of the node, %s: %w", n.path(keyFile), err)
	}
	n.ID = sha1.Sum(n.Identity.Certificate())
	furl, err := os.ReadFile(n.path(furlFile))
	if errors.Is(err, fs.ErrNotExist) {
		return exit.Errorf(exit.Usage, "%s has never served: there is no %s: run it once with Tahoe-LAFS, or make a node with sharefs serve --node in an empty directory", n.Dir, furlFile)
	}
	if err != nil {
		return err
	}
	n.FURL = strings.TrimSpace(string(furl))
	// pb://TUBID@LOCATION,LOCATION/SWISSNUM
	i := strings.LastIndex(n.FURL, "/")
	if n.Swissnum = n.FURL[i+1:]; !strings.HasPrefix(n.FURL, "pb://") || n.Swissnum == "" {
		return fmt.Errorf("%s has no FURL", n.path(furlFile))
	}
	return nil
}

func (n *Node) path(name string) string { return filepath.Join(n.Dir, name) }

// NURLs are what clients find the server by, one for each location.
func (n *Node) NURLs() ([]string, error) {
	found := make([]string, len(n.Locations))
	for i, location := range n.Locations {
		var err error
		if found[i], err = n.Identity.NURL(location, n.Swissnum); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// TempDir is where large messages are kept while they are read: the node's tmp, as Tahoe-LAFS has it.
func (n *Node) TempDir() (string, error) {
	dir := n.path("tmp")
	return dir, os.MkdirAll(dir, 0o700)
}

// base32Text is Tahoe-LAFS's and Foolscap's base 32: RFC 4648 in lower case without padding.
var base32Text = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

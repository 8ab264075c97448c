package nodedir

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/storage/httpapi"
)

// New says what a new node is to be.
type New struct {
	Dir      string
	Nickname string
	Listen   string // HOST:PORT, or :PORT
	Location string // HOST:PORT
	Store    string // the storage directory; empty: storage in Dir
}

const newConfig = `# Made by sharefs serve. Tahoe-LAFS's own node can be run with this directory too: docs/configuration.rst there explains it.
[node]
nickname = %s
web.port =
tub.port = %s
tub.location = %s

[client]

[storage]
enabled = true
storage_dir = %s
reserved_space = 1G
`

// newType tells "tahoe run" what kind of node this is.
const newType = `# This file tells "tahoe run" what kind of node this is. It is not executed.
raise SystemExit("use: tahoe run")
`

// Create makes a node directory in an empty or missing directory, and opens it. The secrets are made first and the configuration
// last: it is what makes the directory one of a node.
func Create(n New) (*Node, error) {
	if err := none(n.Dir); !errors.Is(err, ErrNone) {
		if err == nil {
			err = os.ErrExist
		}
		return nil, err
	}
	config, err := n.config()
	if err != nil {
		return nil, err
	}
	key, err := httpapi.NewIdentity(time.Now())
	if err != nil {
		return nil, err
	}
	furl, id, err := n.furl(key)
	if err != nil {
		return nil, err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	verify := base32Text.EncodeToString(public)
	if err := os.MkdirAll(filepath.Join(n.Dir, privateDir), 0o700); err != nil {
		return nil, err
	}
	for _, file := range []struct{ name, text string }{
		{keyFile, string(key)},
		{furlFile, furl + "\n"},
		{signingFile, "priv-v0-" + base32Text.EncodeToString(private.Seed()) + "\n"},
		{verifyFile, "pub-v0-" + verify + "\n"},
		{seedFile, base32Text.EncodeToString([]byte(verify)) + "\n"}, // of its text: so does Tahoe-LAFS
		{idFile, id + "\n"},
		{typeFile, newType},
		{configFile, config},
	} {
		if err := writeFile(filepath.Join(n.Dir, file.name), file.text); err != nil {
			return nil, err
		}
	}
	return Open(n.Dir)
}

// config is the text of tahoe.cfg.
func (n New) config() (string, error) {
	host, port, err := net.SplitHostPort(n.Listen)
	if err != nil {
		return "", exit.Errorf(exit.Usage, "where to listen: %w", err)
	}
	endpoint := "tcp:" + port
	if strings.Contains(host, ":") {
		endpoint = "tcp6:" + port
	}
	if host != "" {
		endpoint += ":interface=" + strings.ReplaceAll(host, ":", `\:`)
	}
	for what, text := range map[string]string{"nickname": n.Nickname, "location": n.Location, "store": n.Store} {
		if strings.ContainsAny(text, "\r\n") {
			return "", exit.Errorf(exit.Usage, "the %s has more than one line", what)
		}
	}
	store := n.Store
	if store == "" {
		store = "storage"
	}
	return fmt.Sprintf(newConfig, n.Nickname, endpoint, "tcp:"+n.Location, store), nil
}

// furl makes the FURL, with a new swissnum, and the node's id.
func (n New) furl(key []byte) (furl, id string, err error) {
	if _, _, err := net.SplitHostPort(n.Location); err != nil {
		return "", "", exit.Errorf(exit.Usage, "where clients connect to: %w", err)
	}
	identity, err := httpapi.ParseIdentity(key)
	if err != nil {
		return "", "", err
	}
	swissnum := make([]byte, 20) // as many as Foolscap's have
	if _, err := io.ReadFull(rand.Reader, swissnum); err != nil {
		return "", "", err
	}
	sum := sha1.Sum(identity.Certificate())
	id = base32Text.EncodeToString(sum[:])
	return "pb://" + id + "@tcp:" + n.Location + "/" + base32Text.EncodeToString(swissnum), id, nil
}

// writeFile writes a new file that its owner alone can read, and makes it durable.
func writeFile(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

package nodedir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"sharefs/cmd/sharefs/internal/exit"
)

// Announcement is the node's entry for private/servers.yaml of a client ("Static Server Definitions" in docs/configuration.rst). The FURL is
// there because clients take the node's id from it, for the secrets of leases; they connect to the NURLs.
func (n *Node) Announcement() (string, error) {
	id, err := n.serverID()
	if err != nil {
		return "", err
	}
	seed, err := n.permutationSeed()
	if err != nil {
		return "", err
	}
	nurls, err := n.NURLs()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "storage:\n  %s:\n    ann:\n      nickname: %s\n", id, strconv.Quote(n.Nickname))
	fmt.Fprintf(&b, "      anonymous-storage-FURL: %s\n", strconv.Quote(n.FURL))
	fmt.Fprintf(&b, "      permutation-seed-base32: %s\n", strconv.Quote(seed))
	fmt.Fprintf(&b, "      anonymous-storage-NURLs:\n")
	for _, nurl := range nurls {
		fmt.Fprintf(&b, "      - %s\n", strconv.Quote(nurl))
	}
	return b.String(), nil
}

// serverID is what clients know the node by: v0- and its public key.
func (n *Node) serverID() (string, error) {
	text, err := os.ReadFile(n.path(verifyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", exit.Errorf(exit.Usage, "%s has no %s, which names the node in an announcement: run it once with Tahoe-LAFS", n.Dir, verifyFile)
	}
	if err != nil {
		return "", err
	}
	id, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "pub-")
	if !ok {
		return "", fmt.Errorf("%s has no public key", n.path(verifyFile))
	}
	return id, nil
}

// permutationSeed is where the node stands among those that a client chooses from. Without a seed of its own a node has been there since
// before there were any, and clients use its id.
func (n *Node) permutationSeed() (string, error) {
	text, err := os.ReadFile(n.path(seedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return n.ID.String(), nil
	}
	return strings.TrimSpace(string(text)), err
}

package tahoe

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSoakANodeIsTakenOverAndGivenBack changes between Tahoe-LAFS's own node and ours on one node directory. A client goes on meanwhile,
// and nothing of its own is changed.
func TestSoakANodeIsTakenOverAndGivenBack(t *testing.T) {
	root := debian(t)
	base := t.TempDir()
	theirs := &node{t: t, root: root, base: base, name: "node", stop: func() {}}
	theirs.tahoe("create-node", "--hostname=127.0.0.1", "/mnt/node")
	dir := filepath.Join(base, "node")
	port, web := freePort(t), freePort(t)
	theirs.web = "http://127.0.0.1:" + web
	config := bytes.Replace(fmt.Appendf(nil, nodeConfig, port, web, "storage"), []byte("/mnt/storage"), []byte("storage"), 1)
	theirs.check(os.WriteFile(filepath.Join(dir, "tahoe.cfg"), config, 0o600))
	theirs.start() // makes its keys
	theirs.end()
	key, err := os.ReadFile(filepath.Join(dir, "private", "node.pem"))
	theirs.check(err)

	ours := newServing(t, dir)
	client := newClient(t, root, base, ours.announcement)
	client.start()
	kept := map[string][]byte{} // by capability
	var slot string
	for round := range 4 {
		if round%2 == 1 {
			ours.stop()
			theirs.start()
		} else if round > 0 {
			theirs.end()
			before := ours.announcement
			ours.start()
			if ours.announcement != before {
				t.Errorf("the node is another one now:\n%s\n%s", before, ours.announcement)
			}
		}
		client.awaitConnected(1)
		for c, want := range kept {
			client.holds(c, want)
			client.healthy(c)
		}
		file := bytes.Repeat(fmt.Appendf(nil, "file of round %d ", round), 20_000)
		kept[client.put("", file)] = file
		changing := bytes.Repeat(fmt.Appendf(nil, "slot of round %d ", round), 1000+round)
		if slot == "" {
			slot = client.put("?format=sdmf", changing)
		} else {
			client.ask("PUT", "/uri/"+slot, changing)
		}
		kept[slot] = changing
		for c, want := range kept {
			client.holds(c, want)
		}
	}
	client.end()
	theirs.end()
	if after, err := os.ReadFile(filepath.Join(dir, "private", "node.pem")); err != nil || !bytes.Equal(after, key) {
		t.Errorf("the key has changed, %v", err)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "tahoe.cfg")); err != nil || !bytes.Equal(after, config) {
		t.Errorf("tahoe.cfg has changed, %v", err)
	}
}

// TestSoakAnAnnouncedNodeIsNotTakenOver: its clients learn of it from an introducer, which ours does not speak to.
func TestSoakAnAnnouncedNodeIsNotTakenOver(t *testing.T) {
	root := debian(t)
	base := t.TempDir()
	theirs := &node{t: t, root: root, base: base, name: "node", stop: func() {}}
	theirs.tahoe("create-node", "--hostname=127.0.0.1", "--introducer=pb://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@tcp:127.0.0.1:1/introducer", "/mnt/node")
	web := freePort(t)
	theirs.web = "http://127.0.0.1:" + web
	cfg := filepath.Join(base, "node", "tahoe.cfg")
	config, err := os.ReadFile(cfg)
	theirs.check(err)
	theirs.check(os.WriteFile(cfg, []byte(strings.Replace(string(config), "web.port = tcp:3456", "web.port = tcp:"+web, 1)), 0o600))
	theirs.start()
	theirs.end()
	if out, err := try(t, "serve", "--node", filepath.Join(base, "node")); err == nil || !strings.Contains(out, "--http-only") {
		t.Errorf("it is taken over: %v, %s", err, out)
	}
	newServing(t, filepath.Join(base, "node"), "--http-only")
}

package file_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"sharefs/provider"
	"sharefs/provider/file"
)

// crashRoot tells a child process in which directory to store until it is killed.
const crashRoot = "SHAREFS_FILE_TEST_CRASH_ROOT"

func TestAKilledWriterLeavesWholeObjects(t *testing.T) {
	if root := os.Getenv(crashRoot); root != "" {
		storeUntilKilled(t, root)
	}
	root := t.TempDir()
	for round := range 6 {
		killWriter(t, root, 2+3*round)
		f := &fixture{T: t, root: root}
		f.open(file.Options{})
		got := []byte(f.get("d/k"))
		if len(got) != crashSizes[got[0]] || bytes.Count(got, got[:1]) != len(got) {
			t.Errorf("round %d: %d bytes, %d of them %q", round, len(got), bytes.Count(got, got[:1]), got[0])
		}
		if md := f.stat("d/k").Metadata; md["letter"] != string(got[0]) {
			t.Errorf("round %d: the metadata are those of %q, the bytes of %q", round, md["letter"], got[0])
		}
		f.wantListed("", "d/", "d/k")
		if left := tree(t, f.path(".sharefs")); len(left) != 2 { // tmp, and the directory of this process
			t.Errorf("round %d: left behind: %q", round, left)
		}
		f.do(f.store.Close())
	}
}

var crashSizes = map[byte]int{'a': 3 << 20, 'b': 1 << 20}

func storeUntilKilled(t *testing.T, root string) {
	f := &fixture{T: t, root: root}
	f.open(file.Options{})
	for i := 0; ; i++ {
		letter := "ab"[i%2]
		f.put("d/k", string(bytes.Repeat([]byte{letter}, crashSizes[letter])), provider.Metadata{"letter": string(letter)})
		fmt.Println("stored")
	}
}

// killWriter starts a process that stores, and kills it in the middle of its work.
func killWriter(t *testing.T, root string, puts int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), crashRoot+"="+root)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range puts {
		if !lines.Scan() {
			t.Fatalf("the writer ended: %v", lines.Err())
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("the writer ended by itself: %v", err)
	}
}

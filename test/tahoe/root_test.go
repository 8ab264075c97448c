package tahoe

import (
	"bufio"
	"fmt"
	"testing"

	"sharefs/test/harness"
)

// TestAProgramInTheRootKeepsNoMount: other tests mount and unmount while one runs for long.
func TestAProgramInTheRootKeepsNoMount(t *testing.T) {
	root := debian(t)
	m := harness.NewMount(t, harness.NewStore(t, harness.File))
	program := Command(t.Context(), root, t.TempDir(), "cat")
	in, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(in, "it runs")
	if said, err := bufio.NewReader(out).ReadString('\n'); said != "it runs\n" {
		t.Errorf("it says %q, %v", said, err)
	}
	m.Unmount()
	in.Close()
	if err := program.Wait(); err != nil {
		t.Error(err)
	}
}

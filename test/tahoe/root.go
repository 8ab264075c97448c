// Package tahoe runs Tahoe-LAFS's own storage server, unmodified, on mounts: the program of Debian trixie, in a root of its own.
// It needs root, debootstrap and a Debian mirror.
package tahoe

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"sharefs/test/cached"
)

var (
	//go:embed root.sh
	rootScript string
	//go:embed run.sh
	runScript string
)

// Root returns a directory with a Debian that has Tahoe-LAFS 1.20 and what its tests need. It is below the user's cache
// directory, and made when it is missing, which takes one or two minutes and 400 MiB.
func Root(ctx context.Context) (string, error) {
	name := fmt.Sprintf("tahoe-1.20-%.4x", sha256.Sum256([]byte(rootScript)))
	return cached.Dir(ctx, name, func(dir string) error {
		out, err := exec.CommandContext(ctx, "unshare", "--mount", "bash", "-c", rootScript, "bash", dir).CombinedOutput()
		if err != nil {
			return fmt.Errorf("making a Debian root with Tahoe-LAFS in %s: %w\n%s", dir, err, lastLines(out))
		}
		return nil
	})
}

// Command returns a program that runs in a root with its working directory, HOME and TMPDIR (which is its subdirectory tmp) in
// a directory of this machine. When it ends or is killed everything that it started ends.
func Command(ctx context.Context, root, dir string, args ...string) *exec.Cmd {
	args = append([]string{"--mount", "--pid", "--fork", "--kill-child", "bash", "-c", runScript, "bash", root, dir}, args...)
	cmd := exec.CommandContext(ctx, "unshare", args...)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// lastLines returns the end of what a program said.
func lastLines(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-100):], "\n")
}

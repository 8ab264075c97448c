package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// helperNames are the set-user-id programs that mount for users: of fuse3, and of its predecessor.
var helperNames = []string{"fusermount3", "fusermount"}

// mountHelper returns the path of the program that mounts for users.
func mountHelper() (string, error) {
	for _, name := range helperNames {
		for _, file := range []string{name, "/bin/" + name} {
			if path, err := exec.LookPath(file); err == nil {
				return path, nil
			}
		}
	}
	return "", errors.New("mounting as a user needs fusermount3: install the package fuse3, or mount as root")
}

// detach unmounts dir, with flags of umount2(2): 0 or MNT_DETACH.
func detach(dir string, flags int) error {
	if os.Geteuid() == 0 {
		return unix.Unmount(dir, flags|unix.UMOUNT_NOFOLLOW)
	}
	helper, err := mountHelper()
	if err != nil {
		return err
	}
	args := []string{"-u"}
	if flags&unix.MNT_DETACH != 0 {
		args = append(args, "-z")
	}
	cmd := exec.Command(helper, append(args, "--", dir)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", helper, err, strings.TrimSpace(said.String()))
	}
	return nil
}

// unmountError says what to do about a mount that cannot be unmounted.
func unmountError(dir string, err error) error {
	if errors.Is(err, unix.EBUSY) || os.Geteuid() != 0 && inUse(dir) {
		return fmt.Errorf("cannot unmount %s: it is in use; close the files and leave the directories in it (fuser -vm %s shows who uses it): %w", dir, dir, unix.EBUSY)
	}
	return fmt.Errorf("cannot unmount %s: %w", dir, err)
}

// inUse reports whether dir is still mounted: a failed fusermount3 says no more than that it failed.
func inUse(dir string) bool {
	at, err := mountedAt(dir)
	return err == nil && len(at) > 0
}

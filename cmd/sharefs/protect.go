package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// keepSecret keeps what is in the memory of this process, credentials among it, from core dumps and from other processes of
// the same user. The limit is for kernels that write cores to files; the other is for those that pipe them to a
// program, which do not heed the limit, and closes /proc/PID/environ and ptrace, too.
func keepSecret() error {
	return errors.Join(
		os.NewSyscallError("setrlimit", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})),
		os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)))
}

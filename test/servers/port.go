package servers

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reserved holds a lock for each port that this process was given: an abstract UNIX socket, which ends with the process.
var reserved struct {
	mu    sync.Mutex
	locks []net.Listener
}

// FreePort returns an address of 127.0.0.1 that nothing listens on, and that FreePort gives to nobody else until this process
// ends. It is none of the ports that the kernel gives to outgoing connections, of which tests make thousands: one
// of those may be taken before it is listened on, or while a proxy has gone away.
func FreePort() (string, error) {
	const least, most = 10_000, 32_000
	var err error
	for range 1000 {
		port := least + rand.IntN(most-least)
		var lock net.Listener
		if lock, err = net.Listen("unix", fmt.Sprintf("@sharefs-test-port-%d", port)); err != nil {
			continue // another one's
		}
		if err = probePort(port); err != nil {
			err = errors.Join(err, lock.Close())
			continue
		}
		reserved.mu.Lock()
		defer reserved.mu.Unlock()
		reserved.locks = append(reserved.locks, lock)
		return fmt.Sprintf("127.0.0.1:%d", port), nil
	}
	return "", fmt.Errorf("there is no free port from %d to %d: %w", least, most, err)
}

// probePort fails when something listens on a port. It does not listen itself: a program that this process starts at
// the same moment has the listener, too, until it begins, and keeps the port.
func probePort(port int) (err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	return unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
}

// listenAgain listens where this process has listened before. A program that it was just starting when the last listener
// was closed may have that one a moment longer.
func listenAgain(addr string) (net.Listener, error) {
	for try := 0; ; try++ {
		l, err := net.Listen("tcp", addr)
		if !errors.Is(err, syscall.EADDRINUSE) || try >= 1000 {
			return l, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

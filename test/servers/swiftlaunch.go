package servers

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sys/unix"
)

// python is Debian's own: its packages are not to be found by another one.
const python = "/usr/bin/python3"

const (
	swiftRegion = "us-east-1"
	aDay        = 24 * time.Hour

	// usualUpdate is Swift's own timeout for the update of a listing, in seconds.
	usualUpdate   = 1
	patientUpdate = 60
)

//go:embed swift
var swiftFiles embed.FS

var swiftTemplates = template.Must(template.ParseFS(swiftFiles, "swift/*.conf"))

// swiftConf is what the configuration files are made of.
type swiftConf struct {
	Dir, Devices, Role, IP, Port, User, Memcached, Region string
	Salt                                                  string
	Account, Name, Key, OperatorKey                       string
	MaxFileSize                                           int64
	TokenLife                                             int64 // seconds
	UpdateTimeout                                         int   // seconds that an object server waits for a listing's update
}

// launch writes the configuration, starts the processes, and waits until an object can be stored.
func (s *SwiftServer) launch(ctx context.Context) error {
	if err := s.configure(); err != nil {
		return err
	}
	if err := s.startMemcached(ctx); err != nil {
		return err
	}
	me, err := user.Current()
	if err != nil {
		return err
	}
	ip, _, err := net.SplitHostPort(s.addr[SwiftProxy])
	if err != nil {
		return err
	}
	args := []string{filepath.Join(s.dir, "swiftd.py"), s.dir, me.Username, ip}
	for _, name := range []string{SwiftAccount, SwiftContainer, SwiftObject} {
		args = append(args, portOf(s.addr[name]))
	}
	if err := os.RemoveAll(s.pidsPath()); err != nil {
		return err
	}
	p, err := s.startLogged(python, args...)
	if err != nil {
		return fmt.Errorf("%w; it is of the package python3, and python3-swift is needed with it", err)
	}
	s.mu.Lock()
	s.swift = p
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err = await(ctx, p, func() error { return s.client.try(ctx) })
	if err != nil {
		return fmt.Errorf("%w; its last lines:\n%s", err, s.log())
	}
	return nil
}

func (s *SwiftServer) startLogged(path string, args ...string) (*process, error) {
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	return startProcess(path, args, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "TMPDIR=" + s.dir}, log)
}

func (s *SwiftServer) configure() error {
	me, err := user.Current()
	if err != nil {
		return err
	}
	account, name, _ := strings.Cut(s.User, ":")
	conf := swiftConf{
		Dir: s.dir, Devices: s.devices(), User: me.Username, Memcached: s.addr[swiftMemcached], Region: swiftRegion, Salt: s.salt,
		Account: account, Name: name, Key: s.Key, OperatorKey: s.operatorKey, MaxFileSize: s.opts.MaxFileSize,
		TokenLife: int64(aDay / time.Second), UpdateTimeout: patientUpdate,
	}
	if s.opts.LateListings {
		conf.UpdateTimeout = usualUpdate
	}
	if s.opts.TokenLife > 0 {
		conf.TokenLife = int64(s.opts.TokenLife / time.Second)
	}
	if err := s.write("swift.conf", "swift.conf", conf); err != nil {
		return err
	}
	for _, role := range []string{SwiftProxy, SwiftAccount, SwiftContainer, SwiftObject} {
		from := "backend-server.conf"
		if role == SwiftProxy {
			from = "proxy-server.conf"
		}
		conf.Role = role
		conf.IP, conf.Port, _ = net.SplitHostPort(s.addr[role]) // by FreePort
		if err := s.write(role+"-server.conf", from, conf); err != nil {
			return err
		}
	}
	program, err := swiftFiles.ReadFile("swift/swiftd.py")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, "swiftd.py"), program, 0o644)
}

func (s *SwiftServer) write(name, from string, conf swiftConf) error {
	var text bytes.Buffer
	if err := swiftTemplates.ExecuteTemplate(&text, from, conf); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, name), text.Bytes(), 0o600)
}

func (s *SwiftServer) startMemcached(ctx context.Context) error {
	path, err := exec.LookPath("memcached")
	if err != nil {
		return fmt.Errorf("%w: install the package memcached", err)
	}
	me, err := user.Current()
	if err != nil {
		return err
	}
	addr := s.addr[swiftMemcached]
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	p, err := s.startLogged(path, "-l", host, "-p", port, "-U", "0", "-u", me.Username, "-m", "16", "-t", "1")
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.memcached = p
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return await(ctx, p, func() error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr) // by FreePort
	return port
}

func (s *SwiftServer) pidsPath() string { return filepath.Join(s.dir, "pids") }

// pid returns the process of one of the servers.
func (s *SwiftServer) pid(server string) (int, error) {
	text, err := os.ReadFile(s.pidsPath())
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if name, pid, _ := strings.Cut(strings.TrimSpace(line), " "); name == server {
			return strconv.Atoi(pid)
		}
	}
	return 0, fmt.Errorf("Swift has no server %q", server)
}

func (s *SwiftServer) pause(server string) error {
	pid, err := s.pid(server)
	if err != nil {
		return err
	}
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		return err
	}
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(time.Millisecond) {
		stopped, err := allStopped(pid)
		if err != nil || stopped {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the %s server, process %d, does not stop", server, pid)
		}
	}
}

func (s *SwiftServer) resume(server string) error {
	pid, err := s.pid(server)
	if err != nil {
		return err
	}
	return unix.Kill(pid, unix.SIGCONT)
}

// allStopped reports whether every thread of a process that is not our child has stopped.
func allStopped(pid int) (bool, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return false, err
	}
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // it ended
		}
		if err != nil {
			return false, err
		}
		_, after, _ := bytes.Cut(stat, []byte(") "))
		if len(after) == 0 || after[0] != 'T' {
			return false, nil
		}
	}
	return len(threads) > 0, nil
}

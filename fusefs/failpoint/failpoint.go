// Package failpoint ends this process, as SIGKILL does, at a place that a test has chosen: to see that what is left on disk
// and in the store is always something that the next process can go on from.
//
// A place calls Hit with its name. Nothing happens unless the environment asks for it when the process starts:
//
//	SHAREFS_FAILPOINT=name#n     the process kills itself at the n-th hit of the name, counted from 1
//	SHAREFS_FAILPOINT_LOG=file   every hit appends a line name#n to the file, so that a test learns which there are
//
// Names are package, then what has just been done, or is about to be: "catalog.commit" is before the commit,
// "catalog.committed" behind it.
package failpoint

import (
	"fmt"
	"os"
	"sync"
	"syscall"
)

// The environment variables.
const (
	EnvKill = "SHAREFS_FAILPOINT"
	EnvLog  = "SHAREFS_FAILPOINT_LOG"
)

// armed is what the environment asks for; nil, as nearly always: nothing.
var armed = fromEnvironment(os.Getenv(EnvKill), os.Getenv(EnvLog))

type points struct {
	kill string // name#n
	log  string // a file; empty: none

	mu   sync.Mutex
	hits map[string]int
	end  func() // kills the process
}

func fromEnvironment(kill, log string) *points {
	if kill == "" && log == "" {
		return nil
	}
	return &points{kill: kill, log: log, hits: map[string]int{}, end: killSelf}
}

// Hit is a place of the name.
func Hit(name string) {
	if armed != nil {
		armed.hit(name)
	}
}

func (p *points) hit(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hits[name]++
	this := fmt.Sprintf("%s#%d", name, p.hits[name])
	if p.log != "" {
		if err := appendLine(p.log, this); err != nil {
			panic(err) // a test that does not learn of all places proves nothing
		}
	}
	if this == p.kill {
		p.end()
	}
}

func appendLine(file, line string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("failpoint: %w", err)
	}
	_, err = f.WriteString(line + "\n")
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// killSelf does not return: nothing of this process runs on.
func killSelf() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

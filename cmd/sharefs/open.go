package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sharefs/cmd/sharefs/internal/config"
	"sharefs/cmd/sharefs/internal/control"
	life "sharefs/cmd/sharefs/internal/daemon"
	"sharefs/cmd/sharefs/internal/exit"
	"sharefs/cmd/sharefs/internal/stores"
	"sharefs/fusefs"
	"sharefs/fusefs/claim"
	"sharefs/fusefs/commit/pathrule"
	"sharefs/fusefs/tree"
	"sharefs/provider"
	"sharefs/provider/stack"
)

// bootEnv is for tests: it names the boot that the daemon believes to run under, in the form of
// /proc/sys/kernel/random/boot_id. Another one than the last mount's is a system that went down meanwhile.
const bootEnv = "SHAREFS_TEST_BOOT_ID"

// open opens the store and mounts it. When it fails it takes back what it made.
func (j *job) open(ctx context.Context, h life.Host) (_ life.Opened, err error) {
	made := &directories{}
	defer func() {
		if err != nil {
			made.takeBack()
		}
	}()
	store, err := j.openStore(ctx, h, made)
	if err != nil {
		return life.Opened{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, store.Close())
		}
	}()
	id, err := j.store.ID(ctx)
	if err != nil {
		return life.Opened{}, j.store.Error(err)
	}
	cacheDir, err := j.cacheDir(id, made)
	if err != nil {
		return life.Opened{}, err
	}
	sameCache := func(other control.Entry) bool { return other.CacheDir == cacheDir && other.PID != os.Getpid() }
	if err := life.AwaitFree(ctx, j.runtime, h, sameCache); err != nil {
		return life.Opened{}, exit.Errorf(exit.Busy, "the cache directory %s is in use: %w", cacheDir, err)
	}
	options, err := j.mountOptions(store, id, cacheDir, h)
	if err != nil {
		return life.Opened{}, err
	}
	mounted, err := fusefs.Mount(ctx, options)
	if err != nil {
		return life.Opened{}, mountError(err)
	}
	a := &adapter{mounted: mounted, store: store, counts: store.Snapshot, log: h.Log}
	if j.store.Location.Scheme() == "mem" && j.settings.CacheDir == "" {
		a.scratch = cacheDir
	}
	return life.Opened{Mount: a, Store: store.String(), CacheDir: cacheDir, ReadOnly: j.settings.ReadOnly}, nil
}

// openStore opens the store, and makes sure that it answers.
func (j *job) openStore(ctx context.Context, h life.Host, made *directories) (*stack.Stack, error) {
	if j.embedded {
		if err := made.make(j.store.Location.Dir()); err != nil {
			return nil, exit.Errorf(exit.Store, "embedded default store: %w", err)
		}
	}
	return j.store.Open(ctx, stores.Options{ReadOnly: j.settings.ReadOnly, OpenTimeout: j.settings.OpenTimeout,
		IOTimeout: j.settings.IOTimeout, Logger: h.Log})
}

// mountError gives an error of fusefs.Mount its exit code.
func mountError(err error) error {
	var fromStore *provider.Error
	var held *claim.HeldError
	switch {
	case errors.Is(err, tree.ErrLocked), errors.As(err, &held):
		return exit.With(exit.Busy, err)
	case errors.As(err, &fromStore):
		return exit.With(exit.Store, err)
	}
	return exit.With(exit.Mountpoint, err)
}

// cacheDir returns the directory for what is local of the store with the id. That of a store in memory is as short-lived
// as the store.
func (j *job) cacheDir(id string, made *directories) (string, error) {
	if j.settings.CacheDir != "" {
		return j.settings.CacheDir, nil
	}
	if j.store.Location.Scheme() == "mem" {
		dir, err := os.MkdirTemp("", "sharefs-mem-")
		made.add(dir)
		return dir, err
	}
	dir, err := j.places.Cache(id)
	if err != nil {
		return "", exit.Errorf(exit.Usage, "cache directory: %w: give one with --cache-dir", err)
	}
	return dir, nil
}

func (j *job) mountOptions(store *stack.Stack, id, cacheDir string, h life.Host) (fusefs.Options, error) {
	s := j.settings
	rules, err := pathrule.Parse(s.Scratch, s.Lazy)
	if err != nil {
		return fusefs.Options{}, exit.With(exit.Usage, err)
	}
	fileMode, dirMode := s.Modes()
	held, err := j.claimOptions(h)
	if err != nil {
		return fusefs.Options{}, err
	}
	attributes := tree.AttributesFull
	if s.Attributes == config.AttributesListed {
		attributes = tree.AttributesListed
	}
	return fusefs.Options{
		Store:      store,
		StoreName:  id,
		Dir:        j.dir,
		CacheDir:   cacheDir,
		AllowOther: s.AllowOther,
		Debug:      s.DebugFUSE,
		Logger:     h.Log,
		Tree: tree.Options{
			UID: s.UID, GID: s.GID, FileMode: fileMode, DirMode: dirMode,
			Attributes: attributes,
			ReadOnly:   s.ReadOnly,
			Shared:     s.Shared,
			CommitSync: s.Commit == config.CommitSync,

			CheckForeign: s.Foreign == config.ForeignCheck,
			BootID:       os.Getenv(bootEnv),
			Writeback:    s.Writeback,
			// The tree's own bound, unless that would cut short what was asked for.
			WritebackMax: max(s.Writeback, 30*time.Second),
			IOTimeout:    s.IOTimeout,
			CacheSize:    s.CacheSize,
			StageSize:    s.StageSize,
			KeepFree:     keepFree(s.KeepFree),
			Capacity:     max(s.Capacity, 0),
			StallTimeout: s.StallTimeout,
			MemorySize:   s.Memory,
			Parallel:     s.Parallel,
			Rules:        rules,
			Claim:        held,
		},
	}, nil
}

// keepFree returns the setting as the tree has it.
func keepFree(n int64) int64 {
	switch n {
	case config.Auto:
		return 0
	case 0:
		return -1
	}
	return n
}

// directories are those that a mount has made, to be taken back when it fails. Only empty ones are.
type directories struct{ made []string }

// make makes a directory and those above it, for this user alone.
func (d *directories) make(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := d.make(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make it: %w", err)
	}
	d.add(dir)
	return nil
}

func (d *directories) add(dir string) { d.made = append(d.made, dir) }

func (d *directories) takeBack() {
	for i := len(d.made) - 1; i >= 0; i-- {
		_ = os.Remove(d.made[i]) // one that is not empty is somebody's
	}
}

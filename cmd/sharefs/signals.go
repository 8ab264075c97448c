package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// This file is the one place for signals.

// untilInterrupted returns a context that ends at the first SIGINT or SIGTERM; a second one kills the process.
func untilInterrupted() (context.Context, context.CancelFunc) {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel)
	return ctx, cancel
}

// daemonSignals returns contexts that end at the first and at the second signal to end. SIGHUP calls reopen; in the
// foreground, where it says that the terminal is gone, reopen is nil and it is a signal to end as the others.
func daemonSignals(reopen func()) (stop, hurry context.Context, cancel context.CancelFunc) {
	stop, stopNow := context.WithCancel(context.Background())
	hurry, hurryNow := context.WithCancel(context.Background())
	got := make(chan os.Signal, 4)
	signal.Notify(got, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case s := <-got:
				switch {
				case s == syscall.SIGHUP && reopen != nil:
					reopen()
				case stop.Err() == nil:
					stopNow()
				default:
					hurryNow()
				}
			}
		}
	}()
	return stop, hurry, func() {
		signal.Stop(got)
		close(done)
		stopNow()
		hurryNow()
	}
}

// Command build builds the servers that the tests start, so that the first test run need not. It prints their paths.
//
//	go run ./test/servers/build
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"sharefs/test/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	paths, err := servers.Build(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
	for _, path := range paths {
		fmt.Println(path)
	}
}

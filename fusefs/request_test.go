package fusefs

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func testFS(limit time.Duration) *rawFS {
	return newRawFS(newModel(), config{ioTimeout: limit, log: slog.New(slog.DiscardHandler)})
}

func TestRequestEndsAfterTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		req := testFS(time.Minute).begin(opRead, nil, &fuse.InHeader{})
		start := time.Now()
		<-req.Done()
		if took := time.Since(start); took != time.Minute || req.Err() != context.DeadlineExceeded {
			t.Errorf("ended after %v with %v, want 1m with DeadlineExceeded", took, req.Err())
		}
	})
}

func TestStoringHasNoLimitHere(t *testing.T) {
	for _, op := range []operation{opFsync, opFsyncDir, opFlush} {
		req := testFS(time.Minute).begin(op, nil, &fuse.InHeader{})
		if deadline, limited := req.Deadline(); limited {
			t.Errorf("%s ends at %v", op.name, deadline)
		}
	}
}

func TestContextsOfARequestEndWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		req := testFS(time.Minute).begin(opRead, nil, &fuse.InHeader{})
		child, cancel := context.WithCancel(req)
		defer cancel()
		req.end()
		synctest.Wait()
		if child.Err() != context.Canceled {
			t.Errorf("a context derived from an ended request says %v", child.Err())
		}
	})
}

func TestRequestThatNobodyWaitedForIsEndedToo(t *testing.T) {
	req := testFS(time.Minute).begin(opRead, nil, &fuse.InHeader{})
	if req.Err() != nil {
		t.Fatalf("a new request says %v", req.Err())
	}
	req.end()
	select {
	case <-req.Done():
	default:
		t.Error("an ended request is not done")
	}
}

package storage

import "sync"

// locks has a lock for each storage index that somebody is at work on.
type locks struct {
	mu   sync.Mutex
	held map[Index]*indexLock // guarded by mu
}

type indexLock struct {
	sync.RWMutex
	users int // who has or waits for it; guarded by locks.mu
}

func (l *locks) init() { l.held = map[Index]*indexLock{} }

// lock waits until nobody else is at work on an index, and returns what ends the work.
func (l *locks) lock(i Index) (unlock func()) {
	e := l.enter(i)
	e.Lock()
	return func() {
		e.Unlock()
		l.leave(i)
	}
}

// rlock waits until nobody changes anything of an index, and returns what ends the work.
func (l *locks) rlock(i Index) (unlock func()) {
	e := l.enter(i)
	e.RLock()
	return func() {
		e.RUnlock()
		l.leave(i)
	}
}

func (l *locks) enter(i Index) *indexLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.held[i]
	if e == nil {
		e = &indexLock{}
		l.held[i] = e
	}
	e.users++
	return e
}

func (l *locks) leave(i Index) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.held[i]; e.users > 1 {
		e.users--
		return
	}
	delete(l.held, i)
}

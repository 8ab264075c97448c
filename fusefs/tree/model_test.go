package tree

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sharefs/provider"
	"sharefs/provider/mem"
	"sharefs/test/soak"
)

// model is a filesystem as everybody knows it: "path/" for directories, "path" and its content for files.
type model map[string]string

func (m model) isDir(p string) bool  { _, ok := m[p+"/"]; return ok || p == "" }
func (m model) isFile(p string) bool { _, ok := m[p]; return ok && p != "" }

func parentOf(p string) string {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i]
	}
	return ""
}

// notThere is the error of a path whose parent is no directory.
func (m model) parentErr(p string) error {
	for up := parentOf(p); up != ""; up = parentOf(up) {
		if m.isFile(up) {
			return syscall.ENOTDIR
		}
	}
	if !m.isDir(parentOf(p)) {
		return syscall.ENOENT
	}
	return nil
}

func (m model) children(p string) int {
	n := 0
	for k := range m {
		if k != p+"/" && strings.HasPrefix(k, p+"/") {
			n++
		}
	}
	return n
}

func (m model) write(p, content string) error {
	if err := m.parentErr(p); err != nil {
		return err
	}
	if m.isDir(p) {
		return syscall.EISDIR
	}
	m[p] = content
	return nil
}

func (m model) mkdir(p string) error {
	if err := m.parentErr(p); err != nil {
		return err
	}
	if m.isDir(p) || m.isFile(p) {
		return syscall.EEXIST
	}
	m[p+"/"] = ""
	return nil
}

func (m model) rm(p string) error {
	if err := m.parentErr(p); err != nil {
		return err
	}
	if m.isDir(p) {
		return syscall.EISDIR
	}
	if !m.isFile(p) {
		return syscall.ENOENT
	}
	delete(m, p)
	return nil
}

func (m model) rmdir(p string) error {
	if err := m.parentErr(p); err != nil {
		return err
	}
	switch {
	case m.isFile(p):
		return syscall.ENOTDIR
	case !m.isDir(p):
		return syscall.ENOENT
	case m.children(p) > 0:
		return syscall.ENOTEMPTY
	}
	delete(m, p+"/")
	return nil
}

func (m model) mv(a, b string) error {
	if err := m.parentErr(a); err != nil {
		return err
	}
	if err := m.parentErr(b); err != nil {
		return err
	}
	switch {
	case !m.isFile(a) && !m.isDir(a):
		return syscall.ENOENT
	case m.isDir(a) && strings.HasPrefix(b+"/", a+"/") && a != b:
		return syscall.EINVAL
	case a == b:
		return nil
	case m.isDir(a) && m.isFile(b):
		return syscall.ENOTDIR
	case m.isFile(a) && m.isDir(b):
		return syscall.EISDIR
	case m.isDir(a) && m.isDir(b) && m.children(b) > 0:
		return syscall.ENOTEMPTY
	}
	if m.isFile(a) {
		m[b] = m[a]
		delete(m, a)
		return nil
	}
	for k, v := range m {
		if strings.HasPrefix(k, a+"/") {
			delete(m, k)
			m[b+"/"+k[len(a)+1:]] = v
		}
	}
	return nil
}

// inStore is what the store must hold when everything is stored: the files, and markers of the empty directories.
func (m model) inStore() map[string]string {
	want := map[string]string{}
	for k, v := range m {
		if !strings.HasSuffix(k, "/") || m.children(strings.TrimSuffix(k, "/")) == 0 {
			want[k] = v
		}
	}
	return want
}

// checkStore compares the store with what it must hold; markers of directories that are not empty may be there too.
func (m model) checkStore(t testing.TB, p provider.Provider) error {
	got := objects(t, p)
	for k := range got {
		if _, ok := m[k]; ok && strings.HasSuffix(k, "/") && m.children(strings.TrimSuffix(k, "/")) > 0 {
			delete(got, k)
		}
	}
	return same(got, m.inStore())
}

var paths = func() (list []string) {
	for _, a := range []string{"a", "b", "c"} {
		list = append(list, a)
		for _, b := range []string{"x", "y"} {
			list = append(list, a+"/"+b)
			for _, c := range []string{"1", "2"} {
				list = append(list, a+"/"+b+"/"+c)
			}
		}
	}
	return list
}()

// modelStores are the kinds of stores that the model test runs over.
var modelStores = map[string]func(*provider.Capabilities){
	"moves":      func(*provider.Capabilities) {},
	"conditions": func(c *provider.Capabilities) { c.AtomicMove, c.ListMetadata = false, false },
	"weak":       func(c *provider.Capabilities) { *c = mem.Weak(); c.Consistent = true },
	"no copies":  func(c *provider.Capabilities) { *c = mem.Weak(); c.Consistent, c.Copy = true, false },
}

func newModelStore(change func(*provider.Capabilities)) provider.Provider {
	caps := mem.Full()
	change(&caps)
	return strict{mem.New(mem.Options{Capabilities: caps})}
}

// TestSoakTreeIsAFilesystem does random operations on a tree and on a plain model, and compares them after every step; and
// compares the store with the model after every flush, crash and remount.
func TestSoakTreeIsAFilesystem(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	if checks.Value.String() == checks.DefValue {
		if err := checks.Value.Set(strconv.Itoa(soak.Count(10, 300))); err != nil {
			t.Fatal(err)
		}
		defer checks.Value.Set(checks.DefValue)
	}
	soak.Record(t, "random runs for each kind of store, with crashes and remounts", checks.Value)
	for name, caps := range modelStores {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				store := newModelStore(caps)
				faults, failing := failingStore(store)
				// A request that got no answer is waited for so long as a third of the timeout.
				m := openTree(t, failing, Options{IOTimeout: 1500 * time.Millisecond})
				m.t = rt
				defer func() { m.end() }()
				want := model{}
				serial := 0
				path := rapid.SampledFrom(paths)
				compare := func(what string, got, want error) {
					if !errors.Is(got, want) {
						rt.Fatalf("%s: %v, want %v", what, got, want)
					}
				}
				steps := map[string]func(*rapid.T){
					"write": func(rt *rapid.T) {
						p := path.Draw(rt, "path")
						serial++
						content := fmt.Sprintf("%s #%d", p, serial)
						compare("write "+p, m.write(p, content), want.write(p, content))
					},
					"mkdir": func(rt *rapid.T) {
						p := path.Draw(rt, "path")
						compare("mkdir "+p, m.mkdir(p), want.mkdir(p))
					},
					"rm": func(rt *rapid.T) {
						p := path.Draw(rt, "path")
						compare("rm "+p, m.rm(p), want.rm(p))
					},
					"rmdir": func(rt *rapid.T) {
						p := path.Draw(rt, "path")
						compare("rmdir "+p, m.rmdir(p), want.rmdir(p))
					},
					"mv": func(rt *rapid.T) {
						a, b := path.Draw(rt, "from"), path.Draw(rt, "to")
						compare("mv "+a+" "+b, m.mv(a, b), want.mv(a, b))
					},
					"flush": func(rt *rapid.T) {
						m.flushAnyway()
						if err := want.checkStore(t, store); err != nil {
							rt.Fatalf("store: %v", err)
						}
					},
					"reconcile": func(rt *rapid.T) { // nobody else writes: it changes nothing, whatever is pending or under way
						ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
						defer cancel()
						_, err := m.Reconcile(ctx, nil)
						if err != nil && ctx.Err() == nil && !provider.Is(err, provider.KindUnavailable) {
							rt.Fatalf("reconcile: %v", err)
						}
					},
					"crash":   func(rt *rapid.T) { m = m.crash() },
					"remount": func(rt *rapid.T) { m.close(); m = m.again(m.opts) },
					"new machine": func(rt *rapid.T) {
						m.flushAnyway()
						if len(want)%2 == 0 {
							_ = m.Checkpoint(ctx, true) // the store may fail
						}
						m.close()
						o := m.opts
						o.CacheDir = ""
						m = m.again(o)
					},
					"": func(rt *rapid.T) {
						if err := same(m.show(), want); err != nil {
							rt.Fatalf("mount: %v", err)
						}
						if got, bytes := m.counted(), want.bytes(); got.Used != bytes || !got.Counted {
							rt.Fatalf("%+v are taken, want %d bytes, and all counted", got, bytes)
						}
					},
				}
				maps.Copy(steps, moreSteps(t, &m, want, store, faults, &serial, compare))
				maps.Copy(steps, posixSteps(&m, want, &serial, compare))
				rt.Repeat(steps)
				m.flushAnyway()
				if err := want.checkStore(t, store); err != nil {
					rt.Fatalf("store at the end: %v", err)
				}
			})
		})
	}
}

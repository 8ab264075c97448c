package test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sharefs/test/harness"
)

// tools are what people do in a directory. Each gets an empty one in a mount, and the path of a small source tree.
var tools = []struct {
	name string
	use  func(t *testing.T, dir, source string)
}{
	{"find and du count files and bytes", findAndDu},
	{"tar packs and unpacks", tarTree},
	{"rsync has nothing to do the second time", rsyncTwice},
	{"git keeps a repository", gitRepository},
	{"sqlite keeps a database", sqliteDatabase},
	{"dd writes into the middle of a file", script(`
		head -c 3000000 /dev/urandom >"$TMPDIR/dd.$$" && trap 'rm "$TMPDIR/dd.$$"' EXIT
		cp "$TMPDIR/dd.$$" file
		for f in file "$TMPDIR/dd.$$"; do
			echo 'in the middle' | dd of="$f" bs=1 seek=1234567 conv=notrunc status=none
			head -c 70000 /dev/zero | dd of="$f" bs=7k seek=99 conv=notrunc status=none
		done
		cmp file "$TMPDIR/dd.$$"`)},
	{"sed -i edits in place", script(`
		seq 1 10000 >file
		sed -i 's/^77$/seventy-seven/' file
		test "$(grep -n seventy file)" = 77:seventy-seven
		test "$(wc -l <file)" = 10000; test "$(ls -A)" = file`)},
	{"mv renames files over others, and directories", script(`
		mkdir -p a/b/c; echo 1 >a/b/c/one; echo 2 >a/two; echo 3 >three
		mv a moved; test "$(cat moved/b/c/one)" = 1; test ! -e a
		mv three moved/two; test "$(cat moved/two)" = 3; test ! -e three
		mv moved/b/c/one moved/b; rmdir moved/b/c; mkdir empty; mv -T moved/b empty; test "$(cat empty/one)" = 1
		echo kept >x; echo other >y; mv -n x y; test "$(cat x y)" = $'kept\nother'
		mkdir full; touch full/file; refuse mv -T empty full; refuse mv -T x full`)},
	{"files grow, shrink and are appended to", script(`
		echo start >file; for i in $(seq 200); do echo "line $i" >>file; done
		test "$(tail -n 1 file)" = 'line 200'; test "$(wc -l <file)" = 201
		truncate -s 3 file; test "$(cat file)" = sta
		truncate -s 1M file; test "$(stat -c %s file)" = 1048576; test "$(tr -d '\0' <file)" = sta
		: >file; test ! -s file; echo again >>file; test "$(cat file)" = again`)},
	{"rm -r removes a thousand files", script(`
		mkdir -p d/{1..10}; for i in {1..10}; do touch d/$i/{1..100}; done
		test "$(find d -type f | wc -l)" = 1000; rm -r d; test -z "$(ls -A)"
		mkdir d; test -z "$(ls -A d)"`)},
	{"ln -s links, ln is refused", script(`
		echo content >file; ln -s file link; test "$(readlink link)" = file; test "$(cat link)" = content
		ln -sfn elsewhere link; test "$(readlink link)" = elsewhere
		refuse ln file hard; (ln file hard 2>&1 || true) | grep 'not permitted'; test ! -e hard`)},
	{"chmod and touch are kept", script(`
		touch file; mkdir d; chmod 4751 file; chmod 1777 d
		touch -d '2001-02-03 04:05:06.123456789 UTC' file
		test "$(stat -c '%a %Y' file)" = '4751 981173106'; test "$(stat -c %a d)" = 1777
		touch -d @1000000000 file; test "$(stat -c %Y file)" = 1000000000; chown 12:34 file; test "$(stat -c %u:%g file)" = 12:34`)},
	{"grep, md5sum and cmp read what was written", func(t *testing.T, dir, source string) {
		harness.Script(t, dir, `
			cp -r "$1" copy; (cd "$1" && find . -type f -exec md5sum {} + | sort) >sums.want
			(cd copy && find . -type f -exec md5sum {} + | sort) >sums; cmp sums sums.want
			test "$(grep -rl package copy | wc -l)" = "$(grep -rl package "$1" | wc -l)"`, source)
	}},
	{"memory-mapped files are read and written", mapFile},
	{"setfattr and getfattr keep attributes", script(`
		touch file; mkdir d
		setfattr -n user.comment -v 'a comment' file; setfattr -n user.empty file; setfattr -n user.bytes -v 0x00ff10 d
		test "$(getfattr --only-values -n user.comment file)" = 'a comment'
		test "$(getfattr -e hex --only-values -n user.bytes d | od -An -tx1 | tr -d ' ')" = 00ff10
		test "$(getfattr -m - file | grep -c ^user)" = 2
		setfattr -x user.empty file; test "$(getfattr -m - file | grep -c ^user)" = 1
		refuse setfattr -n trusted.no -v x file`)},
	{"flock keeps processes apart", script(`
		echo 0 >n; for i in $(seq 20); do flock lock sh -c 'echo $(($(cat n) + 1)) >n.new; mv n.new n' & done; wait
		test "$(cat n)" = 20`)},
}

// script is a tool that is a script of bash.
func script(text string) func(*testing.T, string, string) {
	return func(t *testing.T, dir, _ string) {
		t.Helper()
		harness.Script(t, dir, text)
	}
}

func TestShellToolsWorkAndTheirWorkIsStored(t *testing.T) {
	t.Parallel()
	source := sourceTree(t, 40)
	harness.OnEach(t, func(t *testing.T, s *harness.Store) {
		useTools(t, harness.NewMount(t, s), source, func(string) bool { return true })
	})
}

// useTools uses the tools whose names are wanted, and looks that a mount with an empty cache shows what they have left behind.
func useTools(t *testing.T, m *harness.Mount, source string, wanted func(name string) bool) {
	t.Helper()
	for _, tool := range tools {
		if !wanted(tool.name) {
			continue
		}
		t.Run(tool.name, func(t *testing.T) {
			dir := m.Path(strings.ReplaceAll(tool.name, " ", "-"))
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			tool.use(t, dir, source)
		})
	}
	want := harness.ReadTree(t, m.Dir)
	attributes := harness.Script(t, m.Dir, listXattrs)
	m.Unmount()
	m.RemountEmpty()
	harness.MustEqual(t, "a mount with an empty cache", want, harness.ReadTree(t, m.Dir))
	if again := harness.Script(t, m.Dir, listXattrs); again != attributes {
		t.Errorf("extended attributes were\n%s\nand are\n%s", attributes, again)
	}
}

// listXattrs prints all extended attributes.
const listXattrs = `find . -not -type l -print0 | sort -z | xargs -0 getfattr -h -d -m - -e base64`

func findAndDu(t *testing.T, dir, source string) {
	harness.Run(t, "/", "cp", "-a", source, filepath.Join(dir, "copy"))
	for _, count := range []string{
		`find "$1" -type f | wc -l`,
		`find "$1" -type d -printf '%P\n' | sort`,
		`find "$1" -type l -printf '%P %l\n' | sort`,
		`find "$1" -type f -newermt 2000-01-01 -size +4k -printf '%P %s\n' | sort`,
		`find "$1" -type f -print0 | du -b --files0-from=- -c | tail -n 1`,
		`find "$1" -perm -100 -type f | wc -l`,
	} {
		want := harness.Script(t, "/", count, source)
		if got := harness.Script(t, "/", count, filepath.Join(dir, "copy")); got != want {
			t.Errorf("%s says %q in the mount, and %q in the original", count, got, want)
		}
	}
	if blocks := harness.Script(t, "/", `du -s --block-size=1 "$1" | cut -f1`, filepath.Join(dir, "copy")); len(strings.TrimSpace(blocks)) < 6 {
		t.Errorf("du counts %s bytes of blocks", blocks)
	}
}

func tarTree(t *testing.T, dir, source string) {
	harness.Script(t, dir, `
		tar -C "$1" --format=posix -cf - . | (mkdir one && tar -C one -xpf -)
		tar --format=posix -cf packed.tar -C one . && mkdir two && tar -C two -xpf packed.tar && tar -df packed.tar -C two
		rm packed.tar`, source)
	want := harness.ReadTree(t, source)
	harness.MustEqual(t, "unpacked", want, harness.ReadTree(t, filepath.Join(dir, "one")))
	harness.MustEqual(t, "unpacked twice", want, harness.ReadTree(t, filepath.Join(dir, "two")))
}

func rsyncTwice(t *testing.T, dir, source string) {
	copied := harness.Run(t, dir, "rsync", "-a", "--delete", "--itemize-changes", source+"/", "copy/")
	if copied == "" {
		t.Fatal("rsync copied nothing")
	}
	if again := harness.Run(t, dir, "rsync", "-a", "--delete", "--itemize-changes", source+"/", "copy/"); again != "" {
		t.Errorf("the second time rsync changes:\n%s", again)
	}
	harness.MustEqual(t, "the copy", harness.ReadTree(t, source), harness.ReadTree(t, filepath.Join(dir, "copy")))
	harness.Script(t, dir, `
		rsync -a copy/ less/; rm -r less/odd; echo new >less/new
		rsync -a --delete less/ copy/; diff -r --no-dereference less copy; rsync -a --delete --checksum "$1"/ less/; test ! -e less/new`, source)
}

func gitRepository(t *testing.T, dir, source string) {
	harness.Script(t, dir, `
		git init -q repo; cp -r "$1"/. repo; cd repo; chmod -R u+rwX .; find . -type d -empty -not -path './.git/*' -delete
		git add -A; git commit -qm first; git fsck --strict; test -z "$(git status --porcelain)"
		for i in $(seq 5); do echo "$i" >>file; git add file; git commit -qm "change $i"; done
		git checkout -qb side HEAD~3; git mv file other; git commit -qm moved; git checkout -q -; git merge -q -m merged side
		git gc -q --prune=now; git fsck --strict; test "$(git log --oneline | wc -l)" = 8
		cd ..; git clone -q repo clone; diff -r --no-dereference -x .git repo clone; git -C clone fsck --strict
		git -C clone reset -q --hard HEAD~2; test -z "$(git -C clone status --porcelain)"`, source)
}

func sqliteDatabase(t *testing.T, dir, _ string) {
	for _, mode := range []string{"delete", "wal"} {
		harness.Script(t, dir, `
			test "$(sqlite3 $1.db "PRAGMA journal_mode=$1")" = $1
			sqlite3 $1.db 'CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); CREATE INDEX i ON t (text)'
			for batch in $(seq 6); do
				(echo 'BEGIN;'; for i in $(seq 500); do echo "INSERT INTO t (text) VALUES ('row $batch $i ' || hex(randomblob(40)));"; done; echo 'COMMIT;') | sqlite3 $1.db
			done
			for i in $(seq 10); do echo "INSERT INTO t (text) VALUES ('single $i');"; done | sqlite3 $1.db
			sqlite3 $1.db "UPDATE t SET text = 'changed' WHERE id % 10 = 0; DELETE FROM t WHERE id % 7 = 0"
			test "$(sqlite3 $1.db 'PRAGMA integrity_check')" = ok
			test "$(sqlite3 $1.db 'SELECT count(*) FROM t')" = 2580
			sqlite3 $1.db VACUUM; test "$(sqlite3 $1.db 'PRAGMA integrity_check')" = ok`, mode)
	}
}

// mapFile changes a file through a shared mapping, and reads it through another and by read(2).
func mapFile(t *testing.T, dir, _ string) {
	path := filepath.Join(dir, "mapped")
	const size = 1 << 20
	if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < size; i += 5000 {
		m[i] = byte(i)
	}
	if err := errors.Join(syscall.Munmap(m), f.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < size; i += 5000 {
		if got[i] != byte(i) {
			t.Fatalf("byte %d is %d, and %d was written through a mapping", i, got[i], byte(i))
		}
	}
}

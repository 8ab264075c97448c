#!/bin/bash
# What "make run" shows: mounts the embedded default store with all its data below the checkout (.run/), writes and
# reads a file through the mount, and finds it in the store. Leaves it mounted; may be run again.
set -eu
cd "$(dirname "$0")/../.."

sharefs=$PWD/bin/sharefs
run=$PWD/.run
mnt=$run/mnt
export XDG_DATA_HOME=$run/data XDG_CACHE_HOME=$run/cache XDG_STATE_HOME=$run/state SHAREFS_CONFIG=/dev/null

bold='' plain=''
if [ -t 1 ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() {
	printf '$ %s\n' "$*"
	"$@"
}
fail() {
	printf 'demo: %s\n' "$*" >&2
	exit 1
}

# As root sharefs mounts by itself; a user needs the helper of Debian's fuse3.
if [ "$(id -u)" -ne 0 ] && ! command -v fusermount3 >/dev/null; then
	command -v apt-get >/dev/null || fail 'mounting as a user needs fusermount3: install the package fuse3'
	say 'Installing fuse3, which users need to mount'
	sudo apt-get install -y fuse3 || fail 'fuse3 could not be installed: let root run apt-get install fuse3, or run make run as root'
fi

mkdir -p "$run"
status=0
"$sharefs" status "$mnt" >/dev/null 2>&1 || status=$?
if [ $status -ne 7 ]; then # 7: no mount there, or its daemon is gone; mount then takes it away
	say 'It is mounted already; once more with the program just built'
	show "$sharefs" umount "$mnt"
fi
mkdir -p "$mnt" 2>/dev/null || true # one whose daemon is gone cannot be looked at

say "Mounting the embedded store on $mnt"
show "$sharefs" mount "$mnt"

say 'Writing a file through the mount, and reading it back'
printf '$ echo ... >%s/hello.txt\n' "$mnt"
echo "Hello from sharefs, $(date)." >"$mnt/hello.txt"
show cat "$mnt/hello.txt"

say 'The same file in the store: one file, one object, same name'
show "$sharefs" flush "$mnt"
show ls -l "$XDG_DATA_HOME/sharefs"
show cat "$XDG_DATA_HOME/sharefs/hello.txt"

say 'How the mount is'
show "$sharefs" status "$mnt"

say 'It stays mounted. How to go on:'
cat <<END
  cp -r docs $mnt    # use it like any directory
  $sharefs status         # what waits to be stored, the cache, requests, errors
  $sharefs mount --help   # a real bucket, and all settings
and how to stop:
  $sharefs umount $mnt    # returns when everything is stored
END

#!/bin/bash
# Installs what the tests need and this machine lacks (test/packages), with apt-get. Does nothing when all is there.
set -eu
cd "$(dirname "$0")"

missing=()
while read -r package command _; do
	case $package in '' | '#'*) continue ;; esac
	if [ "$command" = - ]; then
		# no command to look for: ask dpkg, where there is one
		if command -v dpkg >/dev/null && ! dpkg -s "$package" >/dev/null 2>&1; then missing+=("$package"); fi
	elif ! command -v "$command" >/dev/null; then
		missing+=("$package")
	fi
done <packages

if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

if ! command -v apt-get >/dev/null; then
	echo "setup: the tests need ${missing[*]} (test/packages says why); there is no apt-get here, install them yourself" >&2
	exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "setup: the tests need ${missing[*]} (test/packages says why); as root: apt-get update && apt-get install ${missing[*]}" >&2
	exit 1
fi
echo "setup: installing ${missing[*]}"
# Tests start the servers among them, on ports of their own; the system does not.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap 'rm -f $policy' EXIT
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null

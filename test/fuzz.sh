#!/bin/bash
# Runs every fuzz target of the repository for a time: FUZZTIME, as go test -fuzztime has it. Goes on after a failure.
set -eu
cd "$(dirname "$0")/.."

failed=0
while IFS=: read -r file target; do
	echo "fuzz: $target in $(dirname "$file") for $FUZZTIME"
	# Without a limit most of the time goes into making inputs smaller.
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 2s "./$(dirname "$file")" || failed=1
done < <(grep -ro --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's/func //')
exit $failed

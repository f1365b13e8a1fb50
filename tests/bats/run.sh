#!/bin/sh
# Runs the .bats files (all, or those given) and ends with "bats: N passed, N failed". RV_BIN: where the programs are.
here=$(cd "$(dirname "$0")" && pwd)
: "${RV_BIN:=$(cd "$here/../.." && pwd)/build/bin}"
: "${RV_SLOWER:=1}"
: "${BATS_TEST_TIMEOUT:=$((300 * RV_SLOWER))}"
export RV_BIN RV_SLOWER BATS_TEST_TIMEOUT
if [ ! -c /dev/fuse ]; then
    echo "bats: there is no /dev/fuse here, so nothing can be mounted" >&2
    echo "bats: 0 passed, 1 failed"
    exit 1
fi
if [ ! -x "$RV_BIN/ruvectorfs" ]; then
    echo "bats: there is no $RV_BIN/ruvectorfs" >&2
    echo "bats: 0 passed, 1 failed"
    exit 1
fi
[ $# -gt 0 ] || set -- "$here"/*.bats
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT

failed=0
for file in "$@"; do
    case $file in */*) ;; *) file=$here/$file ;; esac
    expected=$(bats --count "$file") || expected=0
    echo "# ${file##*/}: $expected tests"
    timeout -k 10 "${BATS_FILE_TIMEOUT:-$((900 * RV_SLOWER))}" bats --tap "$file" 2>&1 | tee "$out.tap" | grep --line-buffered -v '^1\.\.'
    cat "$out.tap" >> "$out"
    ran=$(grep -cE '^(not )?ok ' "$out.tap")
    rm -f "$out.tap"
    if [ "$expected" -eq 0 ] || [ "$ran" -ne "$expected" ]; then
        echo "not ok ${file##*/}: $ran of $expected tests ended"
        failed=$((failed + 1))
    fi
done
passed=$(grep -cE '^ok ' "$out")
failed=$((failed + $(grep -cE '^not ok ' "$out")))
skipped=$(grep -cE '^ok .* # skip' "$out")
if [ "$skipped" -gt 0 ]; then
    passed=$((passed - skipped))
    echo "# $skipped skipped"
    [ -z "${CI:-}" ] || failed=$((failed + skipped))
fi
echo "bats: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]

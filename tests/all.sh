#!/bin/sh
# Builds, runs every test, and ends with one line "N passed, N failed". Usage: all.sh MAKE-COMMAND...
jobs=-j$(nproc)
case " ${MAKEFLAGS:-} " in *" -j"* | *jobserver*) jobs= ;; esac
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
passed=0
failed=0

# Runs a target that ends with "SUITE: N passed, N failed", and adds them up. A suite without that line did not end.
suite() { # NAME MAKE...
    name=$1
    shift
    "$@" "check-$name" 2>&1 | tee "$log"
    line=$(grep -E "^$name: [0-9]+ passed, [0-9]+ failed\$" "$log" | tail -n 1)
    if [ -z "$line" ]; then
        failed=$((failed + 1))
        return
    fi
    passed=$((passed + $(echo "$line" | awk '{ print $2 }')))
    failed=$((failed + $(echo "$line" | awk '{ print $4 }')))
}

if ! "$@" $jobs all unit-programs crash-programs; then
    echo "0 passed, 1 failed (the build)"
    exit 1
fi
suite unit "$@"
suite bats "$@"
suite crash "$@"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]

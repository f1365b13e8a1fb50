#!/bin/sh
# Runs each unit test binary under a time limit; the last line is "N passed, N failed".
passed=0
failed=0
for t in "$@"; do
    out=$(timeout -k 5 "${UNIT_TIMEOUT:-120}" "$t" 2>&1)
    status=$?
    n=$(printf '%s\n' "$out" | grep -c '^\[       OK \]')
    bad=$(printf '%s\n' "$out" | grep -c '^\[  FAILED  \] [a-z_0-9]*$')
    passed=$((passed + n))
    if [ "$status" -ne 0 ]; then
        [ "$bad" -gt 0 ] || bad=1
        failed=$((failed + bad))
        printf '%s\n' "$out" | grep -v '^\[ RUN\|^\[       OK'
        echo "not ok ${t##*/} (exit $status)"
    elif [ "$n" -eq 0 ]; then
        failed=$((failed + 1))
        echo "not ok ${t##*/} (ran no test)"
    else
        echo "ok ${t##*/} ($n tests)"
    fi
done
echo "unit: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]

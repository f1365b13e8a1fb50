#!/bin/sh
# Runs each crash program. ROUNDS: of kills, default 50; CUTS: of the power in each of two runs, default 8, in five ways each;
# FLIPS: of bytes, default 42; STRIDE: about every
# how manieth call for memory fails, default 40; SEED: of all, default the clock. The last line is "crash: N passed, N failed".
passed=0
failed=0
seed=${SEED:-$(date +%s)}
for t in "$@"; do
    case ${t##*/} in
    crash_kill) set -- -r "${ROUNDS:-50}" ;;
    crash_power) set -- -r 2 -n 40 -c "${CUTS:-8}" ;;
    crash_flip) set -- -n "${FLIPS:-42}" ;;
    crash_fail) set -- -q "${STRIDE:-40}" ;;
    *) set -- ;;
    esac
    echo "# ${t##*/} $* -s $seed"
    if "$t" "$@" -s "$seed"; then
        passed=$((passed + 1))
        echo "ok ${t##*/}"
    else
        failed=$((failed + 1))
        echo "not ok ${t##*/}: SEED=$seed repeats it"
    fi
done
echo "crash: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]

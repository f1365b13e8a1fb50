#!/bin/sh
# Runs each crash program, repair.py on the programs in BIN and the ruvectorctl in FAULTS, and mount.sh with the ruvectorfs that is given. The last line is "crash: N passed, N failed".
#
#   ROUNDS  of kills, 50            CUTS    of the power in each of two runs, in five ways each, 8
#   MOUNTS  of these in a mount, 4  FLIPS   of bytes, 42
#   DAMAGES to be repaired, 12
#   SEED    of all, the clock       STRIDE  about every how manieth call for memory fails, 40
passed=0
failed=0
seed=${SEED:-$(date +%s)}
here=$(dirname "$0")
for t in "$@"; do
    name=${t##*/}
    case $name in
    crash_kill) set -- "$t" -r "${ROUNDS:-50}" -s "$seed" ;;
    crash_power) set -- "$t" -r 2 -n 40 -c "${CUTS:-8}" -s "$seed" ;;
    crash_flip) set -- "$t" -n "${FLIPS:-42}" -s "$seed" ;;
    crash_fail) set -- "$t" -q "${STRIDE:-40}" -s "$seed" ;;
    repair.py) set -- "$t" "$BIN" --rounds "${DAMAGES:-12}" --seed "$seed" --faults "$FAULTS/ruvectorctl" ;;
    ruvectorfs) set -- "$here/mount.sh" "$t" "${MOUNTS:-4}" ;;
    *) set -- "$t" ;;
    esac
    echo "# $*"
    if "$@"; then
        passed=$((passed + 1))
        echo "ok $name"
    else
        failed=$((failed + 1))
        echo "not ok $name: SEED=$seed repeats it"
    fi
done
echo "crash: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]

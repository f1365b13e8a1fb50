#!/bin/sh
# Runs each unit test binary under a time limit, those of the index with each instruction set; the last line is "N passed, N
# failed". A set that the processor has not is the best one it has once more.
passed=0
failed=0

run() { # BINARY [ISA]
    t=$1
    isa=$2
    out=$(${isa:+env RUVECTORFS_ISA="$isa"} timeout -k 5 "${UNIT_TIMEOUT:-$((120 * ${RV_SLOWER:-1}))}" "$t" 2>&1)
    status=$?
    n=$(printf '%s\n' "$out" | grep -c '^\[       OK \]')
    bad=$(printf '%s\n' "$out" | grep -c '^\[  FAILED  \] [a-z_0-9]*$')
    passed=$((passed + n))
    if [ "$status" -ne 0 ]; then
        [ "$bad" -gt 0 ] || bad=1
        failed=$((failed + bad))
        printf '%s\n' "$out" | grep -v '^\[ RUN\|^\[       OK'
        echo "not ok ${t##*/}${isa:+ with $isa} (exit $status)"
    elif [ "$out" = "no test with threads" ]; then
        echo "ok ${t##*/}${isa:+ with $isa} ($out)"
    elif [ "$n" -eq 0 ]; then
        failed=$((failed + 1))
        echo "not ok ${t##*/} (ran no test)"
    else
        echo "ok ${t##*/}${isa:+ with $isa} ($n tests)"
    fi
}

for t in "$@"; do
    case ${t##*/} in
    test_hnsw | test_hnsw_codes | test_hnsw_delete | test_hnsw_edges | test_hnsw_recall | test_flat | test_rows)
        case $(uname -m) in
        x86_64) sets='avx512 avx2 scalar' ;;
        aarch64) sets='neon scalar' ;;
        *) sets=scalar ;;
        esac
        for set in $sets; do run "$t" "$set"; done ;;
    *) run "$t" ;;
    esac
done
echo "unit: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]

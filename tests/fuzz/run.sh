#!/bin/sh
# One fuzzer for some seconds, from its corpus; fails when it found something. What it learnt stays beside the program.
seconds=$1
program=$2
corpus=$(dirname "$0")/corpus/${program##*/fuzz_}
mkdir -p "$program.corpus"
"$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$program." -print_final_stats=1 \
    "$program.corpus" "$corpus" > "$program.log" 2>&1
status=$?
if [ $status -ne 0 ]; then
    tail -n 40 "$program.log"
    echo "not ok ${program##*/}"
    exit 1
fi
echo "ok ${program##*/}: $(sed -n 's/^stat::number_of_executed_units: *//p' "$program.log") executions"

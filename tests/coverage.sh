#!/bin/sh
# Prints the share of lines reached in each room from a COVERAGE=1 build directory.
cd "$(dirname "$0")/.." || exit 1
find "$1/src" "$1/mount" -name '*.gcda' | while IFS= read -r data; do
    gcov -n -o "${data%/*}" "$data" 2> /dev/null
done | awk -F"['%:]" '
    /^File / { split($2, p, "/"); room = $2 ~ /^src\/[a-z]*\/.*\.c$/ ? p[2] : $2 ~ /^mount\/.*\.c$/ ? "mount" : "" }
    /^Lines executed/ && room {
        n = $0; sub(/.* of /, "", n)
        lines[room] += n; hit[room] += n * $2 / 100; room = ""
    }
    END {
        for (r in lines) { printf "%-10s %6d lines %5.1f %%\n", r, lines[r], 100 * hit[r] / lines[r]; all += lines[r]; got += hit[r] }
        if (!all) { print "no coverage data"; exit 1 }
        printf "%-10s %6d lines %5.1f %%\n", "all", all, 100 * got / all
    }'

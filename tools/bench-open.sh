#!/bin/sh
# `make bench-open`: how long the first answer of a tenant of N vectors takes in a daemon that was just started, with its
# files in the page cache and without them, and what the tenant takes in memory. Work is kept in BENCH_OPEN_WORK=DIR when
# that is given, and used again: loading takes much longer than opening.
set -eu

n=${1:-1000000}
dim=${2:-256}
work=${BENCH_OPEN_WORK:-$(mktemp -d)}
mnt=$work/mnt
tenant=$mnt/tenants/open
mkdir -p "$mnt"

unmount() {
    server=$(sed -n 's/^server_pid //p' "$mnt/stats" 2>/dev/null) || :
    umount "$mnt" 2>/dev/null || fusermount3 -u "$mnt" 2>/dev/null || :
    tries=0
    while [ -n "$server" ] && [ -d "/proc/$server" ] && [ "$tries" -lt 600 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
}
clean_up() {
    unmount
    [ -n "${BENCH_OPEN_WORK:-}" ] || rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Takes a file's pages out of the cache, and only these.
forget() {
    for file in "$work"/data/registry.db "$work"/data/stores/*/*; do
        dd of="$file" oflag=nocache conv=notrunc,fdatasync count=0 2>/dev/null
    done
}

now_ms() {
    echo $(($(date +%s%N) / 1000000))
}

measure() {
    from=$(now_ms)
    "$RV_BIN/ruvectorfs" "$work/data" "$mnt"
    echo "like=base:0" > "$tenant/query"
    read -r _ < "$tenant/results"
    first=$(($(now_ms) - from))
    from=$(now_ms)
    echo "like=base:1" > "$tenant/query"
    read -r _ < "$tenant/results"
    printf '%s\t%s\t%s\n' "$1" "$first" "$(($(now_ms) - from))"
    pid=$(sed -n 's/^server_pid //p' "$mnt/stats")
}

if [ ! -d "$work/data" ]; then
    "$RV_BIN/ruvector-bench" synth --n "$n" --dim "$dim" --queries 1 --k 1 --out "$work/synth"
    "$RV_BIN/ruvectorfs" "$work/data" "$mnt"
    mkdir "$tenant"
    echo "loading $n vectors" >&2
    cp "$work/synth/base.fvecs" "$tenant/ingest/"
    rm -r "$work/synth"
    unmount
fi
printf 'files\tfirst_answer_ms\tsecond_answer_ms\n'
for round in 1 2 3 4 5; do
    measure cached
    unmount
    forget
    measure on_disk
    [ "$round" = 5 ] || unmount
done
sed -n '/^vectors\|^resident_bytes\|^mapped_bytes/s/ /\t/p' "$tenant/stats"
awk '/^(Rss|Anonymous):/ { printf "smaps_%s_bytes\t%.0f\n", tolower(substr($1, 1, length($1) - 1)), $2 * 1024 }' \
    "/proc/$pid/smaps_rollup"

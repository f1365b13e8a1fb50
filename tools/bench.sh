#!/bin/sh
# `make bench`: the figures of docs/BENCHMARKS.md on the vectors in DIR, or on synthetic ones when it has none: the index
# alone, the mount by every way of asking, and a held descriptor with client and server on one core.
set -eu

data=${1:-}
work=$(mktemp -d)
mnt=$work/mnt
mkdir "$mnt"
# Waits for the server's end: unmounting returns before it has closed its files.
unmount() {
    server=$(sed -n 's/^server_pid //p' "$mnt/stats" 2>/dev/null) || :
    umount "$mnt" 2>/dev/null || fusermount3 -u "$mnt" 2>/dev/null || :
    tries=0
    while [ -n "$server" ] && [ -d "/proc/$server" ] && [ "$tries" -lt 300 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
}
clean_up() {
    unmount
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

if [ ! -r "$data/base.fvecs" ]; then
    echo "# no vectors in '$data': 50,000 synthetic ones of 256 dimensions" >&2
    data=$work/synth
    "$RV_BIN/ruvector-bench" synth --n 50000 --dim 256 --out "$data"
fi
queries="--query $data/query.fvecs --truth $data/gt.ivecs"

echo "# the index alone, two threads build, one asks"
"$RV_BIN/ruvector-bench" index --base "$data/base.fvecs" $queries --metric cosine --ef 16,32,64,128,256 --threads 2

echo "# through the mount"
"$RV_BIN/ruvectorfs" "$work/data" "$mnt"
mkdir "$mnt/tenants/bench"
"$RV_BIN/ruvector-bench" mount --root "$mnt/tenants/bench" --base "$data/base.fvecs" $queries \
    --distance "$data/gt_distance.fvecs"

echo "# exact=1"
"$RV_BIN/ruvector-bench" mount --root "$mnt/tenants/bench" $queries --distance "$data/gt_distance.fvecs" \
    --form held --options exact=1

echo "# a held descriptor, client and server on one core; query_us is the core's own time"
unmount
"$RV_BIN/ruvectorfs" "$work/data" "$mnt"
"$RV_BIN/ruvector-bench" mount --root "$mnt/tenants/bench" $queries --distance "$data/gt_distance.fvecs" \
    --form held --pin 0 --server "$(sed -n 's/^server_pid //p' "$mnt/stats")"
sed -n '/^query_us/p' "$mnt/tenants/bench/stats"

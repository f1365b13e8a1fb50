#!/bin/bash
# Servers of a real mount end at named steps, again and again, while two writers go on: nothing that they were told is done may be
# missing, no batch half there. Usage: mount.sh RUVECTORFS [ROUNDS], RUVECTORFS being one with RV_FAULT_POINTS.
set -u
bin=$1
rounds=${2:-3}
dir=$(mktemp -d) || exit 1
data=$dir/data mnt=$dir/mnt t=$dir/mnt/tenants/t
steps=(commit.applied txn.committed segment.written commit.sealed txn.witnessed move.sealed segment.sync txn.saved commit.published
    image.synced commit.extents-synced move.committed)
mkdir "$mnt"

start() { # [NAME=VALUE]
    (cd / && exec env "$@" "$bin" -f "$data" "$mnt" >> "$dir/log" 2>&1) &
    daemon=$!
    for _ in $(seq 400); do
        timeout -k 1 5 cat "$mnt/version" > /dev/null 2>&1 && return
        sleep 0.05
    done
    fail "the mount does not answer"
}

stop() {
    umount "$mnt" 2> /dev/null || fusermount3 -u "$mnt" || fail "it cannot be unmounted"
    wait "$daemon"
}

fail() {
    echo "mount: $*; the log ends with"
    tail -n 5 "$dir/log"
    umount -l "$mnt" 2> /dev/null
    kill -9 "$daemon" 2> /dev/null
    exit 1
}

# Single vectors, and batches of 70 that go through the segment.
write_some() { # ROUND WRITER
    for i in $(seq 30); do
        timeout -k 1 30 bash -c "echo '$i 1 $2' > '$t/ingest/s$1-$2-$i'" 2>> "$dir/errors" && echo "s$1-$2-$i" >> "$dir/done.$2"
    done
    for i in $(seq 4); do
        for k in $(seq 70); do printf 'b%s-%s-%s-%s\t%s %s 2\n' "$1" "$2" "$i" "$k" "$k" "$i"; done > "$dir/batch.$2"
        timeout -k 1 30 cp "$dir/batch.$2" "$t/ingest/b$1-$2-$i.txt" 2>> "$dir/errors" && echo "b$1-$2-$i" >> "$dir/batches.$2"
    done
}

there() {
    ls "$t/vectors" > "$dir/names" || fail "vectors/ cannot be read"
    sort -o "$dir/names" "$dir/names"
    cat "$dir"/done.? 2> /dev/null | sort | comm -23 - "$dir/names" | grep . && fail "these were acknowledged and are lost"
    sed -n 's/^\(b.*\)-[0-9]*$/\1/p' "$dir/names" | uniq -c | awk '$1 != 70' | grep . && fail "these batches are half there"
    cat "$dir"/batches.? | while read -r b; do grep -q "^$b-70$" "$dir/names" || echo "$b"; done | grep . &&
        fail "these batches were acknowledged and are lost"
    echo verify > "$t/integrity"
    for _ in $(seq 200); do
        grep -q '^verifying 1\|^state verifying' "$t/integrity" || break
        sleep 0.05
    done
    grep -q '^state healthy' "$t/integrity" || fail "$(cat "$t/integrity")"
}

start RV_FAULT=
mkdir "$t" || fail "mkdir"
stop
killed=0
for round in $(seq "$rounds"); do
    step=${steps[$(((round - 1) % ${#steps[@]}))]}
    start "RV_FAULT=$step:$((15 + RANDOM % 20))"
    write_some "$round" 1 & one=$!
    write_some "$round" 2 & two=$!
    wait $one $two
    there
    stop
    start RV_FAULT=
    there
    stop
done
# A request whose thread crashes the server is answered with EIO after the third; the mount and all else in it go on.
start RV_FAULT=collection.numbered RV_FAULT_SIGNAL=11
before=$(grep -c 'starting another' "$dir/log")
timeout -k 1 30 mkdir "$t/collections/poison" 2> "$dir/poison" && fail "mkdir succeeded in a server that crashes at it"
grep -q 'Input/output error' "$dir/poison" || fail "mkdir: $(cat "$dir/poison")"
[ $(($(grep -c 'starting another' "$dir/log") - before)) -eq 3 ] || fail "not three servers ended"
grep -q 'ended 3 servers: it is answered with EIO' "$dir/log" || fail "the log does not say why"
there
stop
killed=$(grep -c 'starting another' "$dir/log")
echo "mount: $rounds rounds, $(cat "$dir"/done.? "$dir"/batches.? | wc -l) acknowledged, $killed servers ended," \
    "$(wc -l < "$dir/errors") errors to clients; nothing lost or half"
rm -rf "$dir"
